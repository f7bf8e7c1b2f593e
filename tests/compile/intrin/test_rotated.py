from __future__ import annotations

import pytest

from compile.intrin.base import GemmShape, GemmTile
from compile.intrin.wasm.simd128 import Simd128
from tests.support.product_loop import product_loop


def test_the_loop_over_groups_adds_no_constant_to_the_address_of_a_load() -> None:
    loop = product_loop(Simd128(), GemmTile(8, 4), "i32x4.dot_i16x8_s")
    names = [line.split()[0] for line in loop]
    assert names.count("i32x4.dot_i16x8_s") == names.count("i32x4.add") == 8 * 4
    assert names.count("v128.load") == 8 * 4, "a turn of a pixel is one load"
    assert names.count("i16x8.load8x8_s") == 4
    offsets = [int(line.split()[1].partition(":")[0]) for line in loop if line.startswith("v128.load ")]
    assert sorted(offsets) == [row * 160 * 4 + turn * 4 for row in range(8) for turn in range(4)]
    assert names.count("i32.add") <= 7, "an address, two pointers, a counter, and weights of three turns that widen"


@pytest.mark.parametrize(("pixels", "channels", "length", "tile"), [
    (196, 56, 120, GemmTile(7, 4)), (3136, 96, 16, GemmTile(8, 4)), (49, 240, 80, GemmTile(7, 4)),
    (1, 1000, 1280, GemmTile(1, 24)),
])  # fmt: skip
def test_tiles_hold_one_vector_of_channels_but_for_a_single_pixel(
    pixels: int, channels: int, length: int, tile: GemmTile
) -> None:
    shape = GemmShape(segments=1, length=length, segment_stride=0, pixel_stride=length)
    assert Simd128().choose_tile(pixels, channels, shape) == tile
