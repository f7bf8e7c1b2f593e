"""Networks of grey images and of four bands, from training to quantization; compiled, they are like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import repghost
from repghost.api.training.recipes import recipe_with
from repghost.checkpoints.checkpoint import read_checkpoint, write_checkpoint
from repghost.data.formats.arrays import ArraySet
from repghost.distributed.ranks import Ranks
from repghost.errors import UsageError
from repghost.network.model import RepGhostNet
from repghost.training.feeds.choose import open_feed
from repghost.training.feeds.loader import LoaderFeed, train_transform
from repghost.training.follow.hooks import Hooks
from repghost.training.options import Loading, Options
from repghost.training.transfer import read_start
from tests.support.training_sets import made_set

SMALL = {"width": "0.25", "img_size": 32, "batch": 8}


def test_the_loader_gives_the_luma_of_each_image() -> None:
    recipe = recipe_with("imagenet", {**SMALL, "in_chans": 1, "no_aug": True})  # type: ignore[typeddict-item]
    assert recipe.preprocess.mean == (0.458971,) and recipe.preprocess.channels == 1
    feed = LoaderFeed(recipe, made_set(), made_set(12), 3, Loading(workers=0), Ranks())
    inputs, _, _ = next(feed.batches(0, 0))
    assert inputs.shape == (8, 1, 32, 32)
    images, _ = next(feed.evaluated())
    assert images.shape == (12, 32, 32, 1)
    assert np.array_equal(images[0], recipe.preprocess.apply(made_set(12)[0][0]))
    memory = recipe_with("demo", {**SMALL, "in_chans": 1, "held_out": 12})  # type: ignore[typeddict-item]
    inputs, _, _ = next(open_feed(memory, made_set(), None, 3, Hooks(), Options()).batches(0, 0))
    assert inputs.shape == (8, 1, 32, 32)
    policy = recipe_with("imagenet-wide", {**SMALL, "in_chans": 1})  # type: ignore[typeddict-item]
    next(LoaderFeed(policy, made_set(), made_set(12), 3, Loading(workers=0), Ranks()).batches(0, 0))


def test_weights_of_three_colours_begin_a_grey_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    colour = RepGhostNet(0.25, 3).eval()
    write_checkpoint(tmp_path / "rgb.safetensors", colour, labels=("a", "b", "c"))
    grey = RepGhostNet(0.25, 3, in_chans=1).eval()
    assert read_start(tmp_path / "rgb.safetensors", 0.25, 1).load_into(grey) == ()
    shown = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(grey(shown), colour(shown.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)
    four = RepGhostNet(0.25, 3, in_chans=4).eval()
    start = read_start(tmp_path / "rgb.safetensors", 0.25, 4)
    assert start.load_into(four) == () and "repeated for 4 channels" in start.notes[-1]
    of_rgb = colour.conv_stem.weight
    assert torch.equal(four.conv_stem.weight, torch.cat([of_rgb, of_rgb[:, :1]], dim=1) * 0.75)
    write_checkpoint(tmp_path / "grey.safetensors", grey)
    with pytest.raises(UsageError, match="takes 1 colour channels, the network 3"):
        read_start(tmp_path / "grey.safetensors", 0.25, 3)


def bands_set(count: int, channels: int) -> ArraySet:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 40, 44, channels), np.uint8)
    return ArraySet("made", ("a", "b", "c"), pixels, np.arange(count) % 3)


@pytest.mark.parametrize("channels", [2, 4])
def test_another_band_moves_with_the_colours_and_keeps_its_values(channels: int) -> None:
    still = {**SMALL, "in_chans": channels, "scale": (1.0, 1.0), "ratio": (1.0, 1.0), "hflip": 1.0, "reprob": 0.0}
    dataset, mean, std = bands_set(24, channels), (0.0,) * channels, (1 / 255,) * channels
    fed = []
    for jitter in (0.0, 0.9):
        values: Any = {**still, "color_jitter": jitter, "mean": mean, "std": std}
        feed = LoaderFeed(recipe_with("imagenet", values), dataset, dataset, 3, Loading(workers=0), Ranks())
        inputs, _, _ = next(feed.batches(0, 0))
        assert inputs.shape == (8, channels, 32, 32)
        fed.append(inputs)
    assert torch.equal(fed[0][:, -1], fed[1][:, -1])
    assert not torch.equal(fed[0][:, 0], fed[1][:, 0])
    for policy in ("rand-m9-n4-mstd0.5", "original", "3a"):
        values = {**still, "aa": policy, "train_crop_mode": "rkrc"}
        feed = LoaderFeed(recipe_with("imagenet", values), dataset, dataset, 3, Loading(workers=0), Ranks())
        assert all(inputs.shape[1] == channels for inputs, _, _ in feed.batches(0, 0))
    with pytest.raises(UsageError, match="augmix is for images of 1 or 3 channels"):
        train_transform(recipe_with("imagenet", {**SMALL, "in_chans": channels, "aa": "augmix-m5-w4-d2"}))  # type: ignore[typeddict-item]
    memory: Any = {**SMALL, "in_chans": channels, "held_out": 6}
    inputs, _, _ = next(open_feed(recipe_with("cifar", memory), dataset, None, 3, Hooks(), Options()).batches(0, 0))
    assert inputs.shape == (8, channels, 32, 32)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 4])
def test_images_are_trained_on_validated_and_quantized(tmp_path: Path, channels: int) -> None:
    random = np.random.default_rng(0)
    for split, count in (("train", 48), ("val", 12)):
        for index in range(count):
            folder = tmp_path / "set" / split / "abc"[index % 3]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = random.integers(0, 90, (36, 40, channels), np.uint8) + 80 * (index % 3)
            Image.fromarray(pixels.squeeze()).save(folder / f"{index}.png")
    trained = repghost.train(
        tmp_path / "set", "imagenet", output=tmp_path / "run", epochs=3, learning_rate=0.02, warmup_epochs=1,
        in_chans=channels, say=lambda note: None, workers=0, **SMALL,
    )  # fmt: skip
    assert read_checkpoint(trained.path).spec.in_chans == channels
    found = repghost.validate([trained.path, tmp_path / "run/state.pt"], tmp_path / "set")
    data = repghost.open_dataset(tmp_path / "set")
    q = repghost.quantize(trained.model, data.train, algorithm="percentile")
    assert q.compare(trained.model, data.test).change.pictures == 12
    assert len(found.measured.networks) >= 3
