"""What `repghost-run --classify` prints, and what it should print."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compile.bundle.host_model import load
from tests.support.fake_network import HEIGHT, WIDTH
from tests.support.image_files import encoded, scene


def classify(bundle: Path, *arguments: str | Path, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [*prefix, str(bundle / "repghost-run"), "--classify", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def written(folder: Path) -> dict[str, Path]:
    """Images of every kind, larger and smaller than the network's."""
    exif = Image.Exif()
    exif[0x0112] = 6
    contents = {
        "wide.jpg": encoded(scene(90, 40), "JPEG", quality=85),
        "tall.JPEG": encoded(scene(40, 90), "JPEG", progressive=True),
        "turned.jpg": encoded(scene(60, 33), "JPEG", exif=exif),
        "tiny.png": encoded(scene(3, 5), "PNG"),
        "clear.png": encoded(scene(20, 31).convert("LA"), "PNG"),
        "exact.png": encoded(scene(WIDTH, HEIGHT), "PNG"),
        "odd.ppm": encoded(scene(31, 47), "PPM"),
        "grey.pgm": encoded(scene(31, 47).convert("L"), "PPM"),
        "-dash and space é.png": encoded(scene(50, 50), "PNG"),
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return {name: folder / name for name in contents}


def expected(bundle: Path, path: Path) -> NDArray[np.float32]:
    """What Python says about a file."""
    from repghost.data import read_image

    model = load(bundle)
    return np.asarray(model.logits(model.preprocess.apply(read_image(path))[None])[0])


def scores(line: str) -> dict[int, float]:
    """The logits of a line; nine digits give a float32 back."""
    return {entry["class"]: float(np.float32(entry["logit"])) for entry in json.loads(line)["top"]}
