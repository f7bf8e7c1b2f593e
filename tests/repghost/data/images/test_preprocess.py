from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from repghost.data import ImageError
from repghost.data.images.chosen_preprocess import resized, resolve_preprocess
from repghost.data.images.preprocess import IMAGENET, Preprocess, read_preprocess
from repghost.errors import UsageError

SMALL = Preprocess(size=16, resize=20, interpolation="bilinear", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
CIFAR_AT_64 = Preprocess(size=64, resize=64, interpolation="bilinear")


def random_image(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("width", "height"), [(32, 32), (20, 20), (47, 31), (31, 47), (200, 61), (5, 9), (1, 1), (61, 59)]
)
def test_apply_equals_torchvision_on_pil_images(width: int, height: int, interpolation: str) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    mode = transforms.InterpolationMode(interpolation)
    image = random_image(width, height)
    sides = transforms.Resize(20, mode)(image).size
    # The width first, as Pillow did until it began to choose the order of the axes by the shape of the image.
    steps = [transforms.Resize((height, sides[0]), mode), transforms.Resize(sides[::-1], mode)]
    reference = transforms.Compose([*steps, transforms.CenterCrop(16)])
    ours = Preprocess(size=16, resize=20, interpolation=interpolation).apply(image)
    assert np.array_equal(ours, np.asarray(reference(image)))


def test_enlarging_equals_bilinear_without_antialias() -> None:
    torch = pytest.importorskip("torch")
    image = random_image(32, 32)
    planes = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None].float()
    exact = torch.nn.functional.interpolate(planes, size=64, mode="bilinear", align_corners=False, antialias=False)
    difference = CIFAR_AT_64.apply(image).astype(np.float32) - exact[0].permute(1, 2, 0).numpy()
    assert np.abs(difference).max() <= 1.0  # Pillow rounds to bytes after each axis


def test_apply_leaves_a_image_of_the_right_size_alone() -> None:
    image = random_image(64, 64)
    assert np.array_equal(CIFAR_AT_64.apply(image), np.asarray(image))


def test_apply_takes_grey() -> None:
    result = CIFAR_AT_64.apply(Image.fromarray(np.arange(784, dtype=np.uint16).reshape(28, 28).astype(np.uint8)))
    assert result.shape == (64, 64, 3)
    assert result.dtype == np.uint8
    assert np.array_equal(result[..., 0], result[..., 2])


def test_apply_refuses_a_thread() -> None:
    with pytest.raises(ImageError, match="1 x 60000 pixels"):
        IMAGENET.apply(Image.new("L", (1, 60000)))


def test_normalize_follows_the_written_formula_for_every_byte() -> None:
    images = np.broadcast_to(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), (1, 16, 16, 3)).copy()
    result = SMALL.normalize(images).reshape(3, 256)
    for colour in range(3):
        for byte in range(256):
            unit = np.float32(np.float32(byte) / np.float32(255))
            mean, std = np.float32(SMALL.mean[colour]), np.float32(SMALL.std[colour])
            assert result[colour, byte] == np.float32((unit - mean) / std)


def test_normalize_is_the_table_and_moves_the_colours_first() -> None:
    images = np.random.default_rng(3).integers(0, 256, (4, 5, 7, 3), np.uint8)
    result, table = SMALL.normalize(images), SMALL.table()
    assert result.shape == (4, 3, 5, 7)
    assert result.dtype == table.dtype == np.float32
    assert result.flags.c_contiguous
    for colour in range(3):
        assert np.array_equal(result[:, colour], table[colour][images[..., colour]])


@pytest.mark.parametrize(
    "array", [np.zeros((1, 4, 4, 3), np.float32), np.zeros((4, 4, 3), np.uint8), np.zeros((1, 3, 4, 4), np.uint8)]
)
def test_normalize_refuses_other_arrays(array: Any) -> None:
    with pytest.raises(UsageError, match="uint8"):
        SMALL.normalize(array)


@settings(max_examples=50, deadline=None)
@given(
    size=st.integers(1, 512),
    margin=st.integers(0, 64),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
    mean=st.tuples(*[st.floats(-1, 1)] * 3),
    std=st.tuples(*[st.floats(1e-3, 2)] * 3),
)
def test_round_trip_through_json(size: int, margin: int, interpolation: str, mean: Any, std: Any) -> None:
    original = Preprocess(size, size + margin, interpolation, mean, std)
    assert Preprocess.from_dict(json.loads(json.dumps(original.to_dict()))) == original


GREY = {"mean": (0.4,), "std": (0.3,)}
WIDE = Preprocess((24, 40), (27, 45), "bilinear", **GREY)


@pytest.mark.parametrize(
    ("preprocess", "written"),
    [
        (SMALL, {"size": 16, "resize": 20}),
        (WIDE, {"size": [24, 40], "resize": [27, 45]}),
        (Preprocess((24, 40), 48), {"size": [24, 40], "resize": 48}),
        (Preprocess((32, 32), (40, 40)), {"size": 32, "resize": 40}),  # one form for one size
        (Preprocess(32, (40, 48), squash=True), {"size": 32, "resize": [40, 48], "squash": True}),
    ],
)
def test_any_shape_survives_json_in_one_form(preprocess: Preprocess, written: dict[str, Any]) -> None:
    values = preprocess.to_dict()
    assert {key: value for key, value in values.items() if key in ("size", "resize", "squash")} == written
    assert set(values) == {"version", "size", "resize", "interpolation", "mean", "std", *written}
    assert Preprocess.from_dict(json.loads(json.dumps(values))) == preprocess
    assert preprocess.apply(random_image(61, 47)).shape == preprocess.shape


def test_grey_is_the_luma_of_what_lies_over_white() -> None:
    clear = Image.new("RGBA", (40, 24), (255, 0, 0, 0))
    assert (WIDE.apply(clear) == 255).all()
    red = Preprocess(8, 8, "bilinear", **GREY).apply(Image.new("RGB", (8, 8), (255, 0, 0)))
    assert set(red.ravel().tolist()) == {(19595 * 255 + 32768) >> 16}
    assert WIDE.normalize(WIDE.apply(clear)[None]).shape == (1, 1, 24, 40)
    with pytest.raises(UsageError, match=r"\[N, H, W, 1\]"):
        WIDE.normalize(np.zeros((1, 24, 40, 3), np.uint8))


@pytest.mark.parametrize(
    ("preprocess", "size", "expected"),
    [
        (SMALL, 32, (32, 40)),
        (SMALL, (16, 16), (16, 20)),
        (SMALL, (32, 48), ((32, 48), (40, 60))),
        (WIDE, (48, 80), ((48, 80), (54, 90))),
        (WIDE, 24, (24, 27)),
        (Preprocess((24, 40), 48), (12, 20), ((12, 20), 24)),  # the short side stays the rule
        (Preprocess((24, 40), 48), 20, (20, 24)),
        (Preprocess((24, 40), 48, squash=True), (12, 20), ((12, 20), 24)),
        (Preprocess((20, 40), (20, 44), squash=True), 20, (20, (20, 22))),
    ],
)
def test_another_size_keeps_the_share_that_is_cropped(preprocess: Preprocess, size: Any, expected: Any) -> None:
    changed = resized(preprocess, size)
    assert (changed.size, changed.resize) == expected
    assert (changed.squash, changed.mean) == (preprocess.squash, preprocess.mean)
    assert resized(preprocess, None) is resized(preprocess, preprocess.size) is preprocess


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": [24, 40]}, r"resize 20 is smaller than size \(24, 40\)"),
        ({"size": [16, 20, 3]}, "a whole number of pixels .* or a height and a width"),
        ({"size": [16, True]}, "whole number"),
        ({"size": [16, 20.0]}, "whole number"),
        ({"size": [16, 5000], "resize": 5000}, "from 1 to 4096"),
        ({"size": [8, 18], "resize": [20, 16]}, "smaller"),
        ({"size": "16x20"}, "whole number"),
        ({"mean": [0.5]}, "as many channels"),
        ({"mean": []}, "three numbers .* or one for grey"),
        ({"squash": 1}, "true or false"),
        ({"squash": None}, "true or false"),
        ({"size": 0}, "size"),
        ({"size": 64.0}, "size"),
        ({"size": True}, "size"),
        ({"size": 5000, "resize": 5000}, "4096"),
        ({"resize": 15}, "smaller"),
        ({"interpolation": "bilinaer"}, "Did you mean 'bilinear'"),
        ({"mean": [0.1, 0.2]}, "as many channels"),
        ({"mean": "abc"}, "three"),
        ({"mean": [0.1, 0.2, "0.3"]}, "finite"),
        ({"mean": [123.7, 116.3, 103.5]}, r"\[0, 1\]"),
        ({"std": [0.1, 0.0, 0.1]}, "above 0"),
        ({"std": [0.1, -0.2, 0.1]}, "above 0"),
        ({"std": [0.1, float("nan"), 0.1]}, "finite"),
        ({"version": 2}, "version 2"),
        ({"version": None}, "version None"),
        ({"crop": 3}, "crop"),
    ],
)
def test_wrong_values_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Preprocess.from_dict(SMALL.to_dict() | changes)


@pytest.mark.parametrize("key", ["size", "resize", "interpolation", "mean", "std", "version"])
def test_a_missing_key_is_not_guessed(key: str) -> None:
    values = SMALL.to_dict()
    del values[key]
    with pytest.raises(UsageError, match=key if key != "version" else '"version": 1 is missing; add it'):
        Preprocess.from_dict(values)


def test_from_dict_refuses_other_json() -> None:
    with pytest.raises(UsageError, match="list"):
        Preprocess.from_dict([1, 2])  # type: ignore[arg-type]


def test_resolving_prefers_file_then_checkpoint_then_imagenet(tmp_path: Path) -> None:
    path = tmp_path / "preprocess.json"
    path.write_text(json.dumps(SMALL.to_dict()))
    assert resolve_preprocess(CIFAR_AT_64.to_dict(), 10, path) == SMALL
    assert resolve_preprocess(CIFAR_AT_64.to_dict(), 10) == CIFAR_AT_64
    assert resolve_preprocess(None, 1000) == IMAGENET
    with pytest.raises(UsageError, match="preprocess=FILE"):
        resolve_preprocess(None, 10)


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "[]", "{}", '"text"'])
def test_a_broken_file_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"broken\.json"):
        read_preprocess(path)
    with pytest.raises(UsageError, match=r"absent\.json"):
        read_preprocess(tmp_path / "absent.json")
