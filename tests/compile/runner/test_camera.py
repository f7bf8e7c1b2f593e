"""`--camera`: what a camera sees gets the scores that Python gives it, and a camera that fails is named."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from compile.targets.table import Target
from repghost.data.images.decode import decode_image
from repghost_runtime import Model
from tests.support.camera import Camera, build_standin
from tests.support.fake_network import CLASSES
from tests.support.image_files import encoded, scene

WIDTH, HEIGHT = 16, 12
ALL = ("--top", str(CLASSES))
LIMITED, FULL, BT709 = "nv12", "nv12-full", "nv12-bt709"
# V4L2_YCBCR_ENC_* and V4L2_QUANTIZATION_*; 0: the driver leaves it open
COLOURS = {(0, 0): LIMITED, (1, 2): LIMITED, (1, 1): FULL, (0, 1): FULL, (2, 0): BT709, (2, 2): BT709}


@pytest.fixture(scope="module")
def library(host: Target, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_standin(host, tmp_path_factory.mktemp("camera"))


@pytest.fixture
def camera(host_bundle: Path, library: Path, tmp_path: Path) -> Camera:
    return Camera(host_bundle, library, tmp_path)


@pytest.fixture(scope="module")
def model(host_bundle: Path) -> Model:
    return Model(host_bundle)


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def results(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """The lines about frames; the first line is about the camera."""
    return [json.loads(line) for line in done.stdout.splitlines()][1:]


def logits(line: dict[str, Any]) -> list[float]:
    found = {entry["class"]: float(np.float32(entry["logit"])) for entry in line["top"]}
    return [found[index] for index in range(CLASSES)]


@pytest.mark.parametrize("colours", COLOURS)
@pytest.mark.parametrize("apart", [0, 5])
def test_nv12(camera: Camera, model: Model, colours: tuple[int, int], apart: int) -> None:
    frames = [noise(HEIGHT * 3 // 2, WIDTH + apart, seed=seed) for seed in range(3)]
    matrix, quantization = colours
    done = camera.run(
        [it.tobytes() for it in frames], "--count", "3", *ALL,
        format="NV12", stride=WIDTH + apart, matrix=matrix, range=quantization,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[0]) == {
        "command": "camera", "device": "/dev/video-standin", "width": WIDTH, "height": HEIGHT, "format": "NV12",
        "variant": model.variant,
    }  # fmt: skip
    expected = [model(it[:, :WIDTH], COLOURS[colours]).logits.tolist() for it in frames]
    assert [logits(line) for line in results(done)] == expected
    assert [line["frame"] for line in results(done)] == [0, 1, 2]


def from_yuyv(frame: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Luma, and of two rows the mean of their colours."""
    colours = frame[:, 1::2].astype(np.uint16)
    return frame[:, ::2], ((colours[::2] + colours[1::2] + 1) // 2).astype(np.uint8)


def test_yuyv(camera: Camera, model: Model) -> None:
    frame = noise(HEIGHT, WIDTH * 2 + 6)
    done = camera.run([frame.tobytes()], "--count", "1", *ALL, format="YUYV", stride=WIDTH * 2 + 6)
    assert logits(results(done)[0]) == model(from_yuyv(frame[:, : WIDTH * 2]), "nv12").logits.tolist()


@pytest.mark.parametrize(("name", "order"), [("RGB3", "rgb"), ("BGR3", "bgr")])
def test_colours_side_by_side(camera: Camera, model: Model, name: str, order: str) -> None:
    frame = noise(HEIGHT, WIDTH, 3)
    done = camera.run([frame.tobytes()], "--count", "1", *ALL, format=name)
    assert logits(results(done)[0]) == model(frame, order).logits.tolist()


def test_jpeg_with_and_without_its_tables(camera: Camera, model: Model) -> None:
    """Frames of different lengths; many cameras leave out the tables of Huffman that the standard proposes."""
    whole = encoded(scene(WIDTH, HEIGHT), "JPEG", quality=75)
    bare = whole
    while (at := bare.find(b"\xff\xc4")) > 0:
        bare = bare[:at] + bare[at + 2 + int.from_bytes(bare[at + 2 : at + 4], "big") :]
    assert len(bare) < len(whole)
    done = camera.run([whole.ljust(4096, b"\0"), bare.ljust(4096, b"\0")], "--count", "2", *ALL, format="MJPG")
    expected = model(np.asarray(decode_image(whole, "whole").convert("RGB"))).logits.tolist()
    assert [logits(line) for line in results(done)] == [expected, expected], done.stderr


def test_the_newest_frame_is_taken_and_all_are_given_back(camera: Camera, model: Model) -> None:
    frames = [noise(HEIGHT * 3 // 2, WIDTH, seed=seed) for seed in range(30)]
    done = camera.run([it.tobytes() for it in frames], "--count", "10", *ALL, format="NV12", burst=3)
    assert [line["frame"] for line in results(done)] == list(range(2, 30, 3)), done.stderr
    assert logits(results(done)[9]) == model(frames[29], "nv12").logits.tolist()


def test_after_a_rest_nothing_old_is_taken(camera: Camera) -> None:
    frames = [noise(HEIGHT * 3 // 2, WIDTH).tobytes()] * 6
    done = camera.run(frames, "--count", "3", "--interval", "10", format="NV12")
    assert [line["frame"] for line in results(done)] == [0, 1, 2], done.stderr


FAILURES = {
    "vanishes": ({"end": "vanish"}, 5, "vanished, or failed: No such device"),
    "gives nothing more": ({"end": "silence"}, 5, "gave no picture for 5 seconds: none came"),
    "gives damaged frames": ({"end": "damaged"}, 5, "gave no picture for 5 seconds: it is not whole"),
    "gives half frames": ({"lie": "short"}, 5, "gave no picture for 5 seconds"),
    "gives a frame it has not": ({"lie": "index"}, 5, "gave frame 7 of 4"),
    "has short buffers": ({"lie": "length"}, 5, "has memory of 287 bytes for a frame that takes 288"),
    "has no memory": ({"lie": "no memory"}, 5, "has no memory for frames"),
    "is busy": ({"lie": "busy"}, 5, "cannot be set up: another program uses it"),
    "streams for another": ({"lie": "stream"}, 5, "does not begin: another program uses it"),
    "is no camera": ({"lie": "none"}, 2, "does not speak Video4Linux2"),
    "is an encoder": ({"caps": 1 << 26}, 2, "gives no stream of pictures"),
    "has frames in pieces": ({"caps": 1 << 12 | 1 << 26}, 2, "lie in several pieces"),
    "gives another format": ({"format": "H264"}, 4, "gives frames in H264; NV12, YUYV"),
    "gives a format of nothing": ({"format": "\x01\x1b[m"}, 4, "gives frames in ??[m;"),
    "has rows that are too short": ({"stride": WIDTH - 1}, 4, "which cannot be"),
    "has rows that are too long": ({"stride": 1 << 30}, 4, "which cannot be"),
    "has no pixels": ({"width": 0}, 4, "which cannot be"),
    "has half a block": ({"height": 11}, 4, "which cannot be"),
    "is huge": ({"width": 1 << 30, "height": 1 << 30}, 4, "too large"),
    "has other colours": ({"matrix": 6}, 4, "neither BT.601 nor BT.709"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_camera_that_cannot_be_used_is_named(camera: Camera, name: str) -> None:
    settings, code, message = FAILURES[name]
    done = camera.run([noise(HEIGHT * 3 // 2, WIDTH).tobytes()], **{"format": "NV12", **settings})
    assert done.returncode == code, done.stderr
    assert message in done.stderr and "/dev/video-standin" in done.stderr
    assert done.stderr.count("\n") == 1
    assert len(results(done)) == (1 if "end" in settings else 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--camera",), "--camera needs a device, e.g. /dev/video0"),
        (("--watch",), "--watch needs a folder"),
        (("--camera", "/nonexistent"), "is no camera that can be used: No such file or directory; there are:"),
        (("--camera", "/dev/null"), "does not speak Video4Linux2"),
        (("--camera", "."), ". is no camera that can be used: "),
        (("--camera", "/dev/video0", "--frame", "640"), "--frame takes a size like 640x480"),
        (("--camera", "/dev/video0", "--frame", "640x"), "--frame takes a whole number"),
        (("--camera", "/dev/video0", "--frame", "x480"), "--frame takes a whole number"),
        (("--camera", "/dev/video0", "--frame", "640x99999"), "from 1 to 16384"),
        (("--camera", "/dev/video0", "photo.jpg"), "--camera takes no 'photo.jpg'"),
    ],
)  # fmt: skip
def test_wrong_usage(host_bundle: Path, arguments: tuple[str, ...], message: str) -> None:
    command = [str(host_bundle / "repghost-run"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_it_goes_on_until_it_is_ended(camera: Camera) -> None:
    frames = [noise(HEIGHT * 3 // 2, WIDTH).tobytes()] * 50_000
    environment = camera.environment(frames, format="NV12", end="silence")
    with subprocess.Popen(camera.command(), env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(3):
            json.loads(process.stdout.readline())
        process.terminate()
        process.stdout.read()
        assert process.wait(20) == 0
