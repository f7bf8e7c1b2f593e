"""Pictures that are not square, grey ones, and any number of classes: from a QDQ file to the program on a device."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from calib.integer.reference import run
from compile.bundle.host_model import load
from compile.bundle.manifest import check_bundle
from compile.bundle.vectors import unpack_vectors
from compile.frontend.qdq_file import read_qdq
from compile.ir.float_from_integer import float_form
from compile.ir.float_reference import run_float
from compile.machine.emulator import Emulator
from compile.passes import lower
from compile.pipeline import run as run_pipeline
from compile.subject.request import Request
from compile.targets.precisions import parse_precisions
from repghost.channels import keeps_bands
from repghost.data import read_image
from repghost.data.images.chosen_preprocess import with_values
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError
from repghost.sizes import Size
from tests.support.agreement import check_steps
from tests.support.classify import classify, scores
from tests.support.image_files import encoded, noise, png, scene
from tests.support.programs import random_images
from tests.support.qdq_models import mini_net, preprocess, save

GREY = {"mean": (0.45,), "std": (0.22,)}


@dataclass(frozen=True)
class Shape:
    """A network and how its pictures are prepared."""

    preprocess: Preprocess
    classes: int

    def model(self) -> onnx.ModelProto:
        model = mini_net(self.preprocess.size, int16=False, classes=self.classes, channels=self.preprocess.channels)
        onnx.helper.set_model_props(model, {"repghost.preprocess": json.dumps(self.preprocess.to_dict())})
        return model


SHAPES = {
    "grey 24x40": Shape(Preprocess((24, 40), (27, 45), "bicubic", **GREY), 7),
    "tall, one class": Shape(Preprocess((41, 17), 44, "bilinear"), 1),
    "squashed, two classes": Shape(Preprocess((16, 24), (16, 24), "bicubic", squash=True), 2),
    "square and grey": Shape(Preprocess(28, 32, "bilinear", **GREY), 1001),
    "four bands": Shape(with_values(Preprocess((24, 40), (27, 45), "bicubic"), {"in_chans": 4}), 7),
    "21843 classes": Shape(Preprocess((9, 33), (9, 33), "bilinear"), 21843),
}


@pytest.mark.parametrize(("size", "channels"), [((24, 40), 1), ((9, 17), 3), ((40, 24), 4), (16, 2)])
@pytest.mark.parametrize("int16", [True, False])
def test_layers_are_those_of_onnx_runtime(tmp_path: Path, size: Size, channels: int, int16: bool) -> None:
    model = mini_net(size, int16=int16, channels=channels)
    program = lower(read_qdq(save(model, tmp_path)))
    prepare = preprocess(size, channels)
    assert (program.height, program.width, program.channels) == prepare.shape
    check_steps(model, program, random_images(3, *prepare.shape[:2], seed=4, channels=channels), prepare)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (Preprocess(16, 16), "makes pictures of 16 px, the network reads .24, 40."),
        (Preprocess((40, 24), (40, 24)), "makes pictures of 40x24 px"),
        (Preprocess((24, 40), (24, 40)), r"of 3 channel.s., the network reads 1"),
        (None, r"like .*\"size\": \[24, 40\].*\"mean\": \[0.5\]"),
    ],
)
def test_another_preprocess_is_refused(tmp_path: Path, given: Preprocess | None, words: str) -> None:
    model = mini_net((24, 40), channels=1)
    del model.metadata_props[:]
    with pytest.raises(UsageError, match=words):
        read_qdq(save(model, tmp_path), given)


def pictures(folder: Path, channels: int = 3) -> Iterator[Path]:
    """Files of every kind that the program reads."""
    exif = Image.Exif()
    exif[0x0112] = 6
    bands = {
        "four.png": png(8, 6),
        "deep four.png": png(16, 6),
        "turned four.png": encoded(Image.fromarray(noise(21, 52, 4)), "PNG", exif=exif),
        "small four.png": encoded(Image.fromarray(noise(24, 40, 4)), "PNG"),
    }
    files = (
        bands
        if keeps_bands(channels)
        else {
            "wide.jpg": encoded(scene(91, 41), "JPEG"),
            "turned.jpg": encoded(scene(61, 33), "JPEG", exif=exif),
            "grey.jpg": encoded(scene(33, 35).convert("L"), "JPEG"),
            "tiny.png": encoded(scene(1, 3), "PNG"),
            "alpha.png": png(8, 6),
            "deep.png": png(16, 0),
            "deep colours.png": png(16, 2),
            "palette.png": encoded(scene(37, 29).convert("P"), "PNG"),
            "plain.ppm": encoded(scene(31, 47), "PPM"),
            "plain.pgm": encoded(scene(47, 31).convert("L"), "PPM"),
        }
    )
    for name, data in files.items():
        (folder / name).write_bytes(data)
        yield folder / name


def check_classified(bundle: Path, files: list[Path], prefix: tuple[str, ...] = ()) -> None:
    """Compare what the program on a device says about pictures with what Python says."""
    manifest = check_bundle(bundle).manifest
    prepare = Preprocess.from_dict(manifest["preprocess"])
    program = lower(read_qdq(bundle.parent.parent / "model.qdq.onnx"))
    images = np.stack([prepare.apply(read_image(path, channels=prepare.channels)) for path in files])
    exact = manifest["precision"] == "int8"
    expected = run(program, images) if exact else run_float(float_form(program, prepare), images)
    done = classify(bundle, "--top", str(program.classes), *files, prefix=prefix)
    assert done.returncode == 0, done.stderr
    for line, path, logits in zip(done.stdout.splitlines(), files, expected, strict=True):
        said = scores(line)
        got = np.array([said[index] for index in range(program.classes)], np.float32)
        near = 0 if exact else 1e-4 * float(np.abs(logits).max())
        np.testing.assert_allclose(got, logits, rtol=0, atol=near, err_msg=path.name)
        assert json.loads(line)["top"][0]["class"] == int(np.argmax(got))


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_from_a_file_to_the_program_on_a_device(shape: Shape, tmp_path: Path) -> None:
    source = save(shape.model(), tmp_path)
    request = Request(
        "host", parse_precisions("int8,fp32"), weights=str(source), output=tmp_path / "build", fetch=False
    )
    report = run_pipeline(request, lambda line: None)
    (folder,) = (tmp_path / "build").glob("net-*px")
    prepare = shape.preprocess
    size = f"{prepare.height}x{prepare.width}" if prepare.height != prepare.width else str(prepare.height)
    assert folder.name == f"net-{size}px"
    assert all(build["verification"]["verified"] for build in report["builds"])
    files = list(pictures(tmp_path, prepare.channels))
    check_classified(folder / "host/int8", files)
    check_classified(folder / "host/fp32", files)
    model = load(folder / "host/int8")
    vectors = unpack_vectors(model.bundle.read("vectors.bin"))
    assert vectors.images.shape[1:] == prepare.shape
    np.testing.assert_array_equal(model.logits(vectors.images), vectors.logits)
    if keeps_bands(prepare.channels):
        refused = list(pictures(tmp_path))[:1]
        done = classify(folder / "host/int8", *refused)
        assert done.returncode == 2 and "takes pictures of 4 bands" in done.stderr
    raw = tmp_path / "prepared.rgb"
    raw.write_bytes(vectors.images[0].tobytes())
    done = classify(folder / "host/int8", "--top", str(shape.classes), raw)
    assert scores(done.stdout) == dict(enumerate(vectors.logits[0].tolist()))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [SHAPES["grey 24x40"], SHAPES["four bands"]], ids=["grey", "four bands"])
def test_arm64_gives_the_same_scores(emulator: Emulator, tmp_path: Path, shape: Shape) -> None:
    request = Request(
        "arm64", parse_precisions("int8,fp32"), weights=str(save(shape.model(), tmp_path)), output=tmp_path / "build",
        fetch=False, host=False,
    )  # fmt: skip
    report = run_pipeline(request, lambda line: None)
    assert all(build["verification"]["verified"] for build in report["builds"])
    (folder,) = (tmp_path / "build").glob("net-*px")
    prefix = tuple(emulator.command("cortex-a53"))
    files = list(pictures(tmp_path, shape.preprocess.channels))
    for precision in ("int8", "fp32"):
        check_classified(folder / "arm64" / precision, files, prefix)
