"""What a run takes from its images where nobody chose it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repghost.data import open_dataset
from repghost.data.sides import short_sides
from repghost.training.recipe import RECIPES
from repghost.training.suit_set import notes_on_few, random_start, suit_held_out, suit_size, usual_workers


def make_set(root: Path, sides: list[tuple[int, int]]) -> Path:
    for name in ("ant", "bee"):
        (root / name).mkdir(parents=True)
        for number, size in enumerate(sides):
            Image.new("1", size).save(root / name / f"{number}.png")
    return root


@pytest.mark.parametrize(
    ("side", "size"), [(20, 64), (64, 64), (95, 64), (96, 96), (150, 128), (223, 192), (224, 224), (900, 224)]
)
def test_the_input_is_as_large_as_the_images(tmp_path: Path, side: int, size: int) -> None:
    images = open_dataset(make_set(tmp_path / "set", [(side, side + 30)] * 5), "train")
    recipe, note = suit_size(RECIPES["finetune"], images, ())
    assert (recipe.preprocess.size, recipe.preprocess.resize) == (size, size * 8 // 7) and note == ""
    assert suit_size(RECIPES["finetune"], images, ("img_size",))[0] == RECIPES["finetune"]
    assert suit_size(RECIPES["demo"], images, ())[0] == RECIPES["demo"]


def test_images_of_20_and_8000_pixels_are_told(tmp_path: Path) -> None:
    sizes = [(300, 400)] * 10 + [(20, 20), (8000, 8000)]
    images = open_dataset(make_set(tmp_path / "set", sizes), "train")
    found = short_sides(images)
    assert len(found) == len(images) and set(found.tolist()) <= {300, 20, 8000}
    recipe, note = suit_size(RECIPES["finetune"], images, ())
    assert recipe.preprocess.size == 224
    small, large = np.count_nonzero(found == 20), np.count_nonzero(found == 8000)
    assert f"the short sides of the pictures are {found.min()} to {found.max()} px, and the input has 224" in note
    assert (f"{small} of {len(found)} are enlarged 4 times or more" in note) == bool(small)
    assert (f"{large} of {len(found)} have 4096 px or more to decode" in note) == bool(large)
    assert small and large


def test_what_is_no_image_has_no_size(tmp_path: Path) -> None:
    root = make_set(tmp_path / "set", [(30, 30)] * 4)
    for path in root.glob("*/*.png"):
        path.write_bytes(b"no picture")
    images = open_dataset(root, "train")
    assert len(short_sides(images)) == 0
    assert suit_size(RECIPES["finetune"], images, ()) == (RECIPES["finetune"], "")


def test_few_images_are_held_out_of_few() -> None:
    assert suit_held_out(RECIPES["cifar"], 120, ()).held_out == 24
    assert suit_held_out(RECIPES["cifar"], 50_000, ()).held_out == 5000
    assert suit_held_out(RECIPES["cifar"], 120, ("held_out",)).held_out == 5000
    assert suit_held_out(RECIPES["finetune"], 120, ()).held_out == 0


def test_processes_decode_where_there_is_enough_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    assert [usual_workers(images) for images in (96, 500, 1_000_000)] == [0, 2, 4]


def test_classes_with_few_images_are_named(tmp_path: Path) -> None:
    images = open_dataset(make_set(tmp_path / "set", [(9, 9)] * 2), "train")
    assert notes_on_few(images).startswith("fewer than 10 pictures to train on of 'ant', 'bee' (the fewest: 1); ")
    images = open_dataset(make_set(tmp_path / "more", [(9, 9)] * 13), "train")
    assert notes_on_few(images) == ""


def test_random_weights_are_told_where_images_are_few() -> None:
    assert "pretrained=True" in random_start(RECIPES["finetune"], 96)
    assert "pretrained='bundled'" in random_start(RECIPES["finetune"], 96)
    assert random_start(RECIPES["finetune"], 1_281_167) == random_start(RECIPES["demo"], 96) == ""
