from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from repghost.data.images.augment import cutout, random_crop, random_flip

FILL = np.asarray([7, 8, 9], np.uint8)


def images(count: int = 64, side: int = 12) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(10, 256, (count, side, side, 3), np.uint8)


def test_random_crop_is_one_of_the_shifts_of_the_reflected_image() -> None:
    source, padding = images(), 2
    result = random_crop(source, padding, np.random.default_rng(1))
    padded = np.pad(source, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    seen = set()
    for before, after in zip(padded, result, strict=True):
        shifts = [(y, x) for y in range(5) for x in range(5) if np.array_equal(before[y : y + 12, x : x + 12], after)]
        assert len(shifts) == 1
        seen.update(shifts)
    assert len(seen) > 15  # of 25 possible ones


def test_random_flip_mirrors_about_half_and_nothing_else() -> None:
    source = images(400)
    result = random_flip(source, np.random.default_rng(2))
    same = (result == source).all((1, 2, 3))
    mirrored = (result == source[:, :, ::-1]).all((1, 2, 3))
    assert (same ^ mirrored).all()
    assert 150 < mirrored.sum() < 250


@pytest.mark.parametrize("side", [1, 4, 5])
def test_cutout_covers_one_square_and_nothing_else(side: int) -> None:
    source = images()
    result = cutout(source, side, FILL, np.random.default_rng(3))
    covered = (result == FILL).all(3)
    assert np.array_equal(result[~covered], source[~covered])
    for mask in covered:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert 1 <= len(rows) <= side
        assert 1 <= len(columns) <= side
    assert covered.sum((1, 2)).max() == side * side


def test_nothing_changes_the_source_and_a_seed_decides_everything() -> None:
    source = images()
    kept = source.copy()
    for change in (
        lambda random: random_crop(source, 3, random),
        lambda random: random_flip(source, random),
        lambda random: cutout(source, 4, FILL, random),
    ):
        first, second = change(np.random.default_rng(5)), change(np.random.default_rng(5))
        assert np.array_equal(first, second)
        assert not np.array_equal(first, change(np.random.default_rng(6)))
        assert np.array_equal(source, kept)


def test_zero_turns_a_change_off() -> None:
    source, random = images(), np.random.default_rng(0)
    assert np.array_equal(random_crop(source, 0, random), source)
    assert np.array_equal(cutout(source, 0, FILL, random), source)
