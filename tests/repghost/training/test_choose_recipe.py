"""Which recipe a run takes that names none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repghost.data.formats.arrays import ArraySet
from repghost.errors import UsageError
from repghost.training.choose_recipe import choose_recipe, look_at, refuse_colours
from repghost.training.recipe import get_recipe


def images(side: int, grey: bool) -> ArraySet:
    pixels = np.random.default_rng(0).integers(0, 256, (20, side, side, 1 if grey else 3), np.uint8)
    return ArraySet("made", ("a", "b"), np.ascontiguousarray(np.broadcast_to(pixels, (20, side, side, 3))),
                    np.arange(20) % 2)  # fmt: skip


@pytest.mark.parametrize(
    ("side", "grey", "given", "width", "name"),
    [
        (28, True, (), None, "demo"),
        (32, False, (), "0.5", "cifar"),
        (65, True, (), None, "imagenet"),
        (65, False, (), "repghost.repghostnet_0_5x", "imagenet"),
        (65, False, (), "repghost.repghostnet_1_11x", "imagenet"),
        (65, False, (), "repghost.repghostnet_1_3x", "imagenet-wide"),
        (65, False, ("aa",), 2.0, "imagenet-wide"),
        (65, False, ("color_jitter",), 2.0, "imagenet"),
        (65, False, ("pretrained",), "1.0", "finetune"),
        (32, False, ("pretrained",), None, "cifar"),
        (32, False, ("reprob", "batch"), None, "imagenet"),
        (28, True, ("workers",), 1.5, "imagenet-wide"),
    ],
)
def test_images_and_what_else_is_given_decide(
    side: int, grey: bool, given: tuple[str, ...], width: str | None, name: str
) -> None:
    chosen, why = choose_recipe(images(side, grey), given, width)
    assert chosen == name
    assert "64" in why or "was given" in why


def test_the_demo_refuses_colours() -> None:
    refuse_colours(get_recipe("demo"), images(28, True))
    refuse_colours(get_recipe("cifar"), images(28, False))
    with pytest.raises(UsageError, match=r"these are in colour\. Give recipe='cifar'"):
        refuse_colours(get_recipe("demo"), images(28, False))
    with pytest.raises(UsageError, match="recipe='imagenet'"):
        refuse_colours(get_recipe("demo"), images(80, False))


def test_one_image_in_colour_among_grey_ones_is_colour_and_broken_ones_say_nothing(tmp_path: Path) -> None:
    from repghost.data import open_dataset

    for number in range(3):
        folder = tmp_path / "train" / f"class{number}"
        folder.mkdir(parents=True)
        Image.new("RGB", (30, 20), (9, 9, 9)).save(folder / "grey.png")
    found = look_at(open_dataset(tmp_path, "train"))
    assert found is not None and found.grey and found.long_side == 30
    Image.new("RGB", (30, 50), (9, 90, 9)).save(folder / "grey.png")
    found = look_at(open_dataset(tmp_path, "train"))
    assert found is not None and not found.grey and found.long_side == 50
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:40])
    assert look_at(open_dataset(tmp_path, "train")) is None
