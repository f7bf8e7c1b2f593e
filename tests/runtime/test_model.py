"""repghost-runtime: images and camera frames get the scores of repghost-run, to the bit."""

from __future__ import annotations

import json
import subprocess
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from compile.bundle.host_model import load
from repghost.data import read_image
from repghost_runtime import Model, UnsupportedError, UsageError
from repghost_runtime.frames import to_picture
from tests.support.classify import classify, scores, written
from tests.support.fake_bundle import LABELS
from tests.support.fake_network import CLASSES, HEIGHT, WIDTH, expected_logits, random_images
from tests.support.nv12 import STANDARDS, from_nv12, nv12


@pytest.fixture(scope="module")
def model(host_bundle: Path) -> Model:
    return Model(host_bundle)


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height * 1009 + width).integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_the_scores_are_those_of_the_runner(model: Model, host_bundle: Path, tmp_path: Path) -> None:
    files = written(tmp_path)
    done = classify(host_bundle, "--top", str(CLASSES), *files.values())
    for line, path in zip(done.stdout.splitlines(), files.values(), strict=True):
        image = np.asarray(read_image(path).convert("RGB"))
        prediction = model(image)
        assert dict(enumerate(prediction.logits.tolist())) == scores(line), path.name
        best = json.loads(line)["top"]
        assert [entry["class"] for entry in best] == prediction.top(CLASSES)
        assert (prediction.index, prediction.label) == (best[0]["class"], best[0]["label"])
        assert prediction.probability == pytest.approx(best[0]["probability"], rel=1e-5)


def test_what_it_says_of_itself(model: Model, host_bundle: Path) -> None:
    assert (model.labels, model.shape, model.classes) == (LABELS, (HEIGHT, WIDTH, 3), CLASSES)
    assert model.variant == load(host_bundle).variant
    assert model.bundle.digest == load(host_bundle).bundle.digest
    assert model.verify() == 12
    assert str(host_bundle) in repr(model)


def test_prepared_images_are_taken_as_they_are(model: Model) -> None:
    images = random_images(5)
    np.testing.assert_array_equal(model.logits(images), expected_logits(images))
    np.testing.assert_array_equal(model.logits(images[::-2]), expected_logits(images[::-2]))


def test_a_batch_is_the_same_on_any_number_of_threads(model: Model, host_bundle: Path) -> None:
    images = [noise(height, 20) for height in range(5, 25)]
    expected = [model(image).logits for image in images]
    for threads in (1, 3):
        several = Model(host_bundle, threads=threads)
        for _ in range(2):
            np.testing.assert_array_equal([it.logits for it in several.batch(iter(images))], expected)
        prepared = np.stack([model.prepare(image) for image in images])
        np.testing.assert_array_equal(several.logits(prepared), expected)
    assert model.batch([]) == []


@pytest.mark.parametrize("image", [noise(8, 8), noise(8, 8)[:, :, :1]])
def test_one_image_is_no_batch_of_its_rows(model: Model, image: NDArray[np.uint8]) -> None:
    with pytest.raises(UsageError, match=r"several images, and what was given is one; give \[image\]"):
        model.batch(image)
    assert len(model.batch([image])) == len(model.batch(image[None])) == 1
    assert len(model.batch(np.zeros((3, 8, 9), np.uint8))) == 3  # grey ones


def test_one_frame_is_no_batch_of_its_planes(model: Model) -> None:
    planes = nv12(8, 6)  # the heights of both would do for frames in one array
    with pytest.raises(UsageError, match="what was given is one"):
        model.batch(planes, "nv12")
    assert len(model.batch([planes], "nv12")) == 1
    assert len(model.batch((np.concatenate(planes),) * 2, "nv12")) == 2


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_forked_after_loading_has_threads_of_its_own(host_bundle: Path) -> None:
    several, images = Model(host_bundle, threads=2), [noise(9, 9)] * 4
    several.batch(images)
    child = get_context("fork").Process(target=several.batch, args=(images,))
    child.start()
    child.join(20)
    child.kill()  # it would wait forever
    child.join(20)
    assert child.exitcode == 0


def test_a_view_needs_no_copy_and_gives_the_same(model: Model) -> None:
    wide = noise(31, 60)
    for view in (wide[:, 5:50], wide[::-1], wide[::2, 3:40], wide[:, ::-1], wide[3:4], wide[:, 7:8]):
        np.testing.assert_array_equal(model.prepare(view), model.prepare(view.copy()))


def test_blue_may_come_first_and_grey_has_three_equal_colours(model: Model) -> None:
    image = noise(30, 41)
    np.testing.assert_array_equal(model.prepare(image[:, :, ::-1], "bgr"), model.prepare(image))
    grey = image[:, :, 0]
    expected = model.prepare(np.stack([grey] * 3, axis=2))
    for form in (grey, grey[:, :, None], Image.fromarray(grey)):
        np.testing.assert_array_equal(model.prepare(form), expected)


@pytest.mark.parametrize("order", ["nv12", "nv12-full", "nv12-bt709"])
def test_frames_of_cameras(model: Model, order: str) -> None:
    kind = [*STANDARDS][["nv12", "nv12-full", "nv12-bt709"].index(order)]
    luma, chroma = nv12(20, 14, apart=7)
    expected = model.prepare(from_nv12(luma, chroma, kind))
    np.testing.assert_array_equal(model.prepare((luma, chroma), order), expected)
    np.testing.assert_array_equal(model.prepare((luma, chroma.reshape(7, 10, 2)), order), expected)
    np.testing.assert_array_equal(model.prepare(np.concatenate([luma, chroma]), order), expected)
    odd = nv12(21, 15)
    np.testing.assert_array_equal(model.prepare(odd, order), model.prepare(from_nv12(*odd, kind)))


REFUSED = {
    "a path": ("photo.jpg", "rgb", "an array of uint8.*not str"),
    "a list": ([[1, 2, 3]], "rgb", "not list"),
    "floats": (np.zeros((8, 8, 3), np.float32), "rgb", "not float32"),
    "channels first": (np.zeros((3, 8, 9), np.uint8), "rgb", r"\(3, 8, 9\)"),
    "transparent": (np.zeros((8, 8, 4), np.uint8), "rgb", "laid over a colour"),
    "no pixels": (np.zeros((0, 8, 3), np.uint8), "rgb", r"\(0, 8, 3\)"),
    "no columns": (np.zeros((8, 0), np.uint8), "rgb", r"\(8, 0, 3\)"),
    "a number": (np.uint8(3), "rgb", r"\(\)"),
    "a batch": (np.zeros((2, 8, 8, 3), np.uint8), "rgb", r"\(2, 8, 8, 3\)"),
    "a palette": (Image.new("P", (8, 8)), "rgb", "convert"),
    "another order": (np.zeros((8, 8, 3), np.uint8), "rbg", "known are rgb, bgr, nv12"),
    "long and thin": (np.zeros((1, 1_500_000, 3), np.uint8), "rgb", "too long and thin"),
    "nv12 of rgb": (np.zeros((9, 8, 3), np.uint8), "nv12", "an NV12 frame"),
    "nv12 of odd width": (np.zeros((9, 7), np.uint8), "nv12", "an NV12 frame"),
    "nv12 without chroma": (np.zeros((1, 8), np.uint8), "nv12", "an NV12 frame"),
    "nv12 of empty rows": (np.zeros((9, 0), np.uint8), "nv12", "an NV12 frame"),
    "nv12 of other planes": ((np.zeros((8, 8), np.uint8), np.zeros((3, 8), np.uint8)), "nv12", "an NV12 frame"),
    "nv12 of short chroma": ((np.zeros((8, 8), np.uint8), np.zeros((4, 6), np.uint8)), "nv12", "an NV12 frame"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_image_is_refused(model: Model, name: str) -> None:
    image, order, message = REFUSED[name]
    with pytest.raises(UsageError, match=message) as refused:
        model(image, order)
    assert "\n" not in str(refused.value)


def test_an_image_that_lies_on_its_side_is_refused(model: Model, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(8, 9)).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image, pytest.raises(UsageError, match="exif_transpose"):
        model(image)


@pytest.mark.parametrize(
    "images", [np.zeros((8, 8, 3), np.uint8), np.zeros((1, 8, 8, 3)), np.zeros((1, 8, 9, 3), np.uint8), [1]]
)
def test_logits_take_what_was_prepared(model: Model, images: NDArray[np.uint8]) -> None:
    with pytest.raises(UsageError, match=r"this network takes uint8 \(N, 8, 8, 3\)"):
        model.logits(images)


def test_an_instruction_set_by_name(host_bundle: Path) -> None:
    variants = json.loads((host_bundle / "manifest.json").read_text())["variants"]
    assert Model(host_bundle, variant=variants[0]).variant == variants[0]
    with pytest.raises(UsageError, match=f"no instruction set 'neon9'; the bundle has {variants[0]}"):
        Model(host_bundle, variant="neon9")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"threads": 0}, "threads"), ({"digest": None}, "digest is a text, not None"),
        ({"variant": 9}, "variant is a text, not 9"),
    ]  # fmt: skip
    for given, words in wrong:
        with pytest.raises(UsageError, match=words):
            Model(host_bundle, **given)


def test_a_bundle_for_another_machine_is_named(arm64_bundle: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"is for 'arm64': 64-bit ARM, 64 bits. This Python is for"):
        Model(arm64_bundle)


def test_the_runner_names_it_too(host_bundle: Path, arm64_bundle: Path) -> None:
    command = [host_bundle / "repghost-run", "--info", "--bundle", arm64_bundle]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4 and "model.so: it is no library for this machine" in done.stderr


@pytest.mark.parametrize(("channels", "mode"), [(2, "LA"), (4, "RGBA")])
def test_a_network_of_other_bands_takes_images_that_have_them(channels: int, mode: str) -> None:
    pixels = np.arange(5 * 7 * channels, dtype=np.uint8).reshape(5, 7, channels)
    for image in (pixels, Image.fromarray(pixels)):
        picture, held = to_picture(image, "rgb", channels)
        assert (picture.width, picture.height, picture.order, picture.stride) == (7, 5, channels // 2 + 4, 7 * channels)
        assert np.array_equal(held[0], pixels)
    for other, words in ((pixels[..., :1], "of . bands"), (Image.new("RGB", (3, 3)), f"images of mode {mode}")):
        with pytest.raises(UsageError, match=words):
            to_picture(other, "rgb", channels)
    with pytest.raises(UsageError, match="in the order 'bgr'"):
        to_picture(pixels, "bgr", channels)


@pytest.mark.parametrize("loaded", [Model, load])
def test_a_model_that_is_no_longer_used_gives_back_what_it_took(host_bundle: Path, loaded: Any) -> None:
    images, opened = random_images(1), Path("/proc/self/fd")
    models = [loaded(host_bundle) for _ in range(2)]
    before = len(list(opened.iterdir()))
    for number in range(6):
        models[number % 2] = loaded(host_bundle)
        np.testing.assert_array_equal(models[number % 2].logits(images), expected_logits(images))
    assert len(list(opened.iterdir())) == before
