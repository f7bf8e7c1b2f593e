"""A network of grey images, from training to quantization; compiled, it is a network like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import repghost
from repghost.api.training.recipes import recipe_with
from repghost.checkpoints.checkpoint import read_checkpoint, write_checkpoint
from repghost.distributed.ranks import Ranks
from repghost.errors import UsageError
from repghost.network.model import RepGhostNet
from repghost.training.feeds.choose import open_feed
from repghost.training.feeds.loader import LoaderFeed
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
    write_checkpoint(tmp_path / "grey.safetensors", grey)
    with pytest.raises(UsageError, match="takes 1 colour channels, the network 3"):
        read_start(tmp_path / "grey.safetensors", 0.25, 3)


@pytest.mark.slow
def test_grey_images_are_trained_on_validated_and_quantized(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for split, count in (("train", 48), ("val", 12)):
        for index in range(count):
            folder = tmp_path / "set" / split / "abc"[index % 3]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = random.integers(0, 90, (36, 40), np.uint8) + 80 * (index % 3)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.png")
    trained = repghost.train(
        tmp_path / "set", "imagenet", output=tmp_path / "run", epochs=3, learning_rate=0.02, warmup_epochs=1,
        in_chans=1, say=lambda note: None, workers=0, **SMALL,
    )  # fmt: skip
    assert read_checkpoint(trained.path).spec.in_chans == 1
    found = repghost.validate([trained.path, tmp_path / "run/state.pt"], tmp_path / "set")
    data = repghost.open_dataset(tmp_path / "set")
    q = repghost.quantize(trained.model, data.train, algorithm="percentile")
    assert q.compare(trained.model, data.test).change.pictures == 12
    assert len(found.measured.networks) >= 3
