"""A Preprocess made from what timm and torchvision say gives the bytes that they give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import timm
from PIL import Image

from repghost.data.images.preprocess import IMAGENET, Preprocess
from repghost.errors import UsageError
from repghost.sizes import MAX_SIDE, parse_size, reported, sides_text, size_text

WIDTHS_HEIGHTS = [(97, 61), (61, 97), (80, 80), (31, 200), (333, 45), (40, 24)]
ROUNDED = 0.5  # Pillow may take the axes in another order, and rounds to bytes after each; a crop elsewhere is far off


def image(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8))


def check_same(preprocess: Preprocess, transform: Any) -> None:
    for width, height in WIDTHS_HEIGHTS:
        given = image(width, height)
        theirs = np.asarray(transform(given.convert("L") if preprocess.channels == 1 else given))
        ours = preprocess.apply(given).transpose(2, 0, 1)
        assert theirs.shape == ours.shape
        assert np.abs(theirs.astype(int) - ours).mean() < ROUNDED, (width, height)


TIMM = {
    "square": {"input_size": (3, 32, 32), "crop_pct": 0.875},
    "squash": {"input_size": (3, 32, 32), "crop_pct": 0.9, "crop_mode": "squash"},
    "wide": {"input_size": (3, 24, 40), "crop_pct": 0.95, "interpolation": "bilinear"},
    "tall": {"input_size": (3, 41, 24), "crop_pct": 1.0},
    "wide squash": {"input_size": (3, 24, 40), "crop_pct": 0.9, "crop_mode": "squash"},
    "sides that become equal": {"input_size": (3, 23, 24), "crop_pct": 0.9},
    "grey": {"input_size": (1, 28, 28), "mean": (0.5,), "std": (0.3,)},
}


@pytest.mark.parametrize("config", TIMM.values(), ids=TIMM.keys())
def test_timm(config: dict[str, Any]) -> None:
    data = pytest.importorskip("timm.data")
    resolved = data.resolve_data_config(pretrained_cfg=config)
    transform = data.create_transform(**resolved, is_training=False, use_prefetcher=True)
    preprocess = Preprocess.from_timm(config)
    check_same(preprocess, transform)
    assert preprocess.mean == tuple(resolved["mean"])
    assert preprocess.std == tuple(resolved["std"])


def test_a_config_of_timm_as_it_is_kept() -> None:
    timm = pytest.importorskip("timm")
    config = timm.get_pretrained_cfg("mobilenetv2_100.ra_in1k")
    assert Preprocess.from_timm(config) == Preprocess.from_timm(config.to_dict()) == IMAGENET
    assert Preprocess.from_timm({}) == IMAGENET  # timm's defaults


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"crop_mode": "border"}, "unknown crop_mode of timm 'border'; allowed: center, squash"),
        ({"interpolation": "nearest"}, "unknown interpolation 'nearest'"),
        ({"interpolation": "random"}, "unknown interpolation 'random'"),
        ({"crop_pct": 1.15}, "crop_pct is a share .* not 1.15"),
        ({"crop_pct": float("nan")}, "crop_pct"),
        ({"crop_pct": "0.9"}, "crop_pct"),
        ({"input_size": (5, 32, 32)}, "1 to 4 channels, not .5, 32, 32."),
        ({"input_size": 224}, "input_size"),
        ({"input_size": (3, 0, 32)}, "input_size must be a whole number"),
        ({"input_size": (1, 32, 32)}, "numbers of 1 channel"),
        ({"mean": (0.1, 0.2)}, "numbers of 3 channel"),
        ("mobilenetv2_100", "a mapping, not str"),
    ],
)
def test_what_timm_says_and_is_not_known(config: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Preprocess.from_timm(config)


def test_weights_of_torchvision() -> None:
    models = pytest.importorskip("torchvision.models")
    weights = models.ResNet18_Weights.DEFAULT
    assert Preprocess.from_torchvision(weights.transforms()) == Preprocess(224, 256, "bilinear")
    assert Preprocess.from_torchvision(models.EfficientNet_B1_Weights.IMAGENET1K_V2.transforms()).resize == 255
    for given, name in ((weights.transforms, "partial"), (weights, "ResNet18_Weights"), (None, "NoneType")):
        with pytest.raises(UsageError, match=f"unknown transform of torchvision '{name}'"):
            Preprocess.from_torchvision(given)


@pytest.mark.parametrize("mode", ["center", "squash"])
def test_what_timm_makes_of_its_own_config(mode: str) -> None:
    config = {"input_size": (3, 64, 64), "interpolation": "bicubic", "crop_pct": 0.9, "crop_mode": mode}
    config |= {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    found, expected = Preprocess.from_torchvision(timm.data.create_transform(**config)), Preprocess.from_timm(config)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8))
    assert (found.mean, found.std) == (expected.mean, expected.std)
    assert np.array_equal(found.apply(image), expected.apply(image))


def test_other_presets_of_torchvision_are_named() -> None:
    models = pytest.importorskip("torchvision.models")
    with pytest.raises(UsageError, match="unknown transform of torchvision 'VideoClassification'"):
        Preprocess.from_torchvision(models.video.R3D_18_Weights.DEFAULT.transforms())


def steps_of(name: str) -> list[Any]:
    t = pytest.importorskip("torchvision.transforms")
    nearest = t.InterpolationMode.NEAREST
    normalize = t.Normalize([0.4, 0.5, 0.6], [0.2, 0.3, 0.4])
    return {
        "short side, wide crop": [t.Resize(41), t.CenterCrop((24, 40)), t.ToTensor(), normalize],
        "squash": [t.Resize((24, 40), t.InterpolationMode.BICUBIC), t.PILToTensor(), t.ConvertImageDtype(None)],
        "squash and crop": [t.Resize([30, 45]), t.CenterCrop([24, 40]), t.ToTensor(), normalize],
        "grey": [t.Grayscale(), t.Resize(32), t.CenterCrop(28), t.ToTensor(), t.Normalize(0.5, 0.25)],
        "nearest": [t.Resize((24, 40), nearest), t.ToTensor()],
        "many sizes": [t.Resize(32), t.ToTensor()],
        "order": [t.CenterCrop(28), t.Resize(32), t.ToTensor()],
        "twice": [t.Resize((40, 40)), t.Resize((32, 32)), t.ToTensor()],
        "random": [t.RandomResizedCrop(32), t.ToTensor()],
        "longest": [t.Resize(32, max_size=64), t.CenterCrop(28)],
        "aliasing": [t.Resize((24, 40), antialias=False)],
        "three greys": [t.Grayscale(3), t.Resize((24, 40))],
        "small": [t.Resize(20), t.CenterCrop(28)],
    }[name]


@pytest.mark.parametrize("name", ["short side, wide crop", "squash", "squash and crop", "grey"])
def test_steps_of_torchvision(name: str) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    steps = steps_of(name)
    preprocess = Preprocess.from_torchvision(transforms.Compose(steps))
    bytes_of = [step for step in steps if type(step).__name__ in ("Grayscale", "Resize", "CenterCrop")]
    check_same(preprocess, transforms.Compose([*bytes_of, transforms.PILToTensor()]))
    if name == "squash":
        assert (preprocess.mean, preprocess.std) == ((0.0,) * 3, (1.0,) * 3)
    given = image(40, 24)
    if name == "grey":
        theirs = transforms.Compose(steps)(given)
        assert np.abs(theirs.numpy() - preprocess.normalize(preprocess.apply(given)[None])[0]).max() < 0.05


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nearest", "unknown interpolation 'nearest'"),
        ("many sizes", "gives pictures of many sizes"),
        ("order", "transforms are CenterCrop, Resize, ToTensor; understood"),
        ("twice", "once each"),
        ("random", "unknown transform of torchvision 'RandomResizedCrop'"),
        ("longest", "max_size=64"),
        ("aliasing", "antialias=False"),
        ("three greys", "Grayscale to 3 channels"),
        ("small", "resize 20 is smaller than size 28"),
    ],
)
def test_steps_that_are_not_known(name: str, words: str) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    with pytest.raises(UsageError, match=words):
        Preprocess.from_torchvision(transforms.Compose(steps_of(name)))


@pytest.mark.parametrize(("text", "size"), [("64", 64), ("96x160", (96, 160)), ("96x96", 96), ("1x4096", (1, 4096))])
def test_sizes_are_written_as_they_are_read(text: str, size: Any) -> None:
    assert parse_size(text) == size
    assert parse_size(size_text(size)) == parse_size(sides_text(size)) == size
    assert reported(size) == (size if isinstance(size, int) else text)


@pytest.mark.parametrize(
    "text", ["", "x", "64x", "x64", "64X32", "64x32x3", "-5", "0", "0x5", "4097", "9" * 30, "٤٢x٢"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=rf"HEIGHTxWIDTH|from 1 to {MAX_SIDE}"):
        parse_size(text)
