"""Finds objects on photos with an engine of TensorRT; started by detect.sh, which chooses the engine.

For Python 3.8 with numpy and Pillow. trtexec loads the engine for each photo, which takes seconds, and writes its
numbers with six digits: an application keeps the engine loaded by TensorRT's own interface, prepares photos as
`prepare` does, and gives the numbers of all results to `find_boxes`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

try:
    import numpy as np
    from find_boxes import Rule, find_boxes
    from PIL import Image, ImageOps
except ImportError as missing:
    print(f"error: {missing}; apt install python3-numpy python3-pil", file=sys.stderr)
    sys.exit(4)

if TYPE_CHECKING:
    from numpy.typing import NDArray

USAGE, INTEGRITY = 2, 6  # exit codes, as those of repghost-run
FORMATS = ("JPEG", "PNG", "BMP", "PPM")
MOST_BYTES, MOST_PIXELS = 256 << 20, 89_478_485  # of a photo
MOST_OUTPUT = 1 << 30  # bytes of what trtexec writes
LIMIT_S = 300  # of one start of trtexec
INTERPOLATIONS = {"bilinear": 2, "bicubic": 3}  # as Pillow numbers them
COLOURS = ((230, 25, 75), (60, 180, 75), (0, 130, 200), (245, 130, 48), (145, 30, 180), (255, 225, 25))
DRAWN_SCORE = 0.3  # less likely boxes are listed and not drawn: they would hide what was found
THIN = 256  # a line is a pixel thick on photos of up to so many
OUTPUT = re.compile(r'"name"\s*:\s*"([^"]*)".*?"values"\s*:\s*\[([^\]]*)\]', re.DOTALL)
GPU_TIME = re.compile(r"GPU Compute Time: .*?median = ([0-9.]+) ms")


class PhotoError(Exception):
    """A photo that cannot be used; the others are."""


def stop(code: int, message: str) -> NoReturn:
    """Say why, and end."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


def read_photo(path: Path) -> Image.Image:
    """Return a photo as RGB, upright; what is transparent lies on white."""
    try:
        if not path.is_file() or path.stat().st_size > MOST_BYTES:
            raise PhotoError(f"no file of up to {MOST_BYTES} bytes")
        with warnings.catch_warnings(), Image.open(path, formats=FORMATS) as opened:
            warnings.simplefilter("error")
            if opened.width * opened.height > MOST_PIXELS:
                raise PhotoError(f"more than {MOST_PIXELS} pixels")
            opened.load()
            image = ImageOps.exif_transpose(opened)
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
        if image.mode[0] in "IF":
            raise PhotoError(f"pixels of mode {image.mode}; save it with 8 bits")
        return image.convert("RGB")
    except Exception as error:  # a decoder of foreign bytes may raise anything
        raise PhotoError(f"{path}: {error}") from error


def prepare(image: Image.Image, preprocess: dict[str, Any]) -> NDArray[np.float32]:
    """Return the input of the network, float32 [channels, height, width]: resized, the width first, and normalized."""
    size = preprocess["size"]
    height, width = (size, size) if isinstance(size, int) else size
    mean, std = (np.asarray(preprocess[key], np.float32)[:, None, None] for key in ("mean", "std"))
    if len(mean) == 1:
        image = image.convert("L")
    for sides in ((width, image.height), (width, height)):
        if sides != image.size:
            image = image.resize(sides, INTERPOLATIONS[preprocess["interpolation"]])
    pixels = np.asarray(image, np.uint8).reshape(height, width, -1).transpose(2, 0, 1)
    made: NDArray[np.float32] = (pixels.astype(np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(made, "<f4")


def run_engine(asked: argparse.Namespace, content: bytes, results: list[tuple[str, int]]) -> tuple[Any, Any]:
    """Return the numbers of all results, float32 [N], and the milliseconds of the GPU; None where it does not say."""
    with tempfile.TemporaryDirectory(prefix="repghost-") as name:
        given, written = Path(name) / "input.bin", Path(name) / "output.json"
        given.write_bytes(content)
        command = [asked.trtexec, f"--loadEngine={asked.engine}", f"--loadInputs=input:{given}",
                   f"--exportOutput={written}", "--iterations=1", "--warmUp=0", "--duration=0"]  # fmt: skip
        command += ["--includeDataTransfers"] if asked.includeDataTransfers else []
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S,
                check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            stop(INTEGRITY, f"trtexec does not run: {error}")
        said = done.stdout.decode("utf-8", "replace")
        if done.returncode or "&&&& PASSED" not in said:
            reasons = [line.partition("[E] ")[2] for line in said.splitlines() if "[E] " in line]
            stop(INTEGRITY, f"{asked.engine} does not run: {' '.join(reasons)[:500]}")
        if not written.is_file() or written.stat().st_size > MOST_OUTPUT:
            stop(INTEGRITY, f"trtexec wrote no output, or more than {MOST_OUTPUT} bytes.")
        time_found = GPU_TIME.search(said)
        return read_output(written.read_text(), results), float(time_found[1]) if time_found else None


def read_output(text: str, results: list[tuple[str, int]]) -> NDArray[np.float32]:
    """Return the numbers of all results in their order; those that are none, as "nan", are kept as what they are."""
    found = {name: values.split(",") for name, values in OUTPUT.findall(text)}
    parts = []
    for name, count in results:
        if len(found.get(name, ())) != count:
            stop(INTEGRITY, f"the engine gives {len(found.get(name, ()))} numbers of {name}, not {count}.")
        try:
            parts.append(np.asarray([float(word) for word in found[name]]).astype(np.float32))
        except ValueError as error:
            stop(INTEGRITY, f"the engine's output of {name} holds no numbers: {error}")
    return np.concatenate(parts)


def limited(value: float, most: int) -> int:
    """Return a whole number of pixels within a photo."""
    return 0 if not value > 0 else most if value >= most else int(value)


def draw_box(pixels: NDArray[np.uint8], edges: list[float], number: int) -> None:
    """Draw the frame of a box on uint8 [height, width, 3]."""
    height, width = pixels.shape[:2]
    left, top = limited(edges[0], width), limited(edges[1], height)
    right, bottom = limited(edges[2] + 0.999, width), limited(edges[3] + 0.999, height)
    line = 1 + max(width, height) // THIN
    low, high = min(top + line, bottom), max(bottom - line, top)
    near, far = min(left + line, right), max(right - line, left)
    for rows, columns in (
        (slice(top, low), slice(left, right)), (slice(high, bottom), slice(left, right)),
        (slice(top, bottom), slice(left, near)), (slice(top, bottom), slice(far, right)),
    ):  # fmt: skip
        pixels[rows, columns] = COLOURS[number % len(COLOURS)]


def write_ppm(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write a picture whole or not at all; nothing that lies beside it is overwritten."""
    part = path.with_name(f"{path.name}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(b"P6\n%d %d\n255\n" % (pixels.shape[1], pixels.shape[0]) + pixels.tobytes())
            part.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
    except OSError as error:
        raise PhotoError(f"cannot write {path}: {error.strerror}") from error


def rounded(value: Any) -> Any:
    """Return JSON values whose numbers have nine digits, as those of repghost-run."""
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [rounded(entry) for entry in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def detect(asked: argparse.Namespace, photo: str, rule: Rule) -> None:
    """Print the boxes of one photo, and draw them where that is asked for."""
    begun = time.perf_counter()
    image = read_photo(Path(asked.folder) / photo)
    content = prepare(image, json.loads(Path("preprocess.json").read_text())).tobytes()
    prepared_ms = (time.perf_counter() - begun) * 1e3
    lines = [line.split() for line in Path("results.txt").read_text().splitlines()]
    numbers, gpu_ms = run_engine(asked, content, [(name, int(count)) for name, count in lines])
    begun = time.perf_counter()
    found = find_boxes(rule, numbers)
    boxes_ms = (time.perf_counter() - begun) * 1e3
    labels = Path("labels.txt").read_text(encoding="utf-8").split("\n")
    listed = found.listed(labels, image.width, image.height)
    said = {
        "command": "detect", "picture": photo, "width": image.width, "height": image.height, "variant": asked.kind,
        "prepare_ms": round(prepared_ms, 3), "infer_ms": gpu_ms, "boxes_ms": round(boxes_ms, 3),
        "boxes": rounded(listed),
    }  # fmt: skip
    print(json.dumps(said, ensure_ascii=False, separators=(",", ":")), flush=True)
    if asked.draw:
        pixels = np.array(image)
        for box in reversed(listed):  # the best on top
            if box["score"] >= DRAWN_SCORE:
                draw_box(pixels, box["box"], box["class"] + 1)
        write_ppm(Path(asked.folder) / asked.draw, pixels)


def main() -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser("detect.sh", allow_abbrev=False)
    for name in ("--engine", "--kind", "--trtexec", "--folder"):
        parser.add_argument(name, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--includeDataTransfers", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--draw", metavar="FOUND.ppm", help="write the photo with its boxes")
    parser.add_argument("photos", nargs="+", metavar="PHOTO")
    asked = parser.parse_args()
    if asked.draw and len(asked.photos) > 1:
        stop(USAGE, f"--draw draws one picture, and {len(asked.photos)} photos are given.")
    try:
        rule = Rule.from_dict(json.loads(Path("detection.json").read_text()))
    except ValueError as error:
        stop(INTEGRITY, f"detection.json: {error} Copy the bundle again.")
    code = 0
    for photo in asked.photos:
        try:
            detect(asked, photo, rule)
        except PhotoError as error:
            print(f"error: {error}", file=sys.stderr)
            code = USAGE
    return code


if __name__ == "__main__":
    sys.exit(main())
