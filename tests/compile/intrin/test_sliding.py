from __future__ import annotations

import pytest

from compile.intrin.base import GemmShape, GemmTile
from compile.intrin.wasm.relaxed_dot import RelaxedDot
from compile.intrin.wasm.rotated import LANES
from compile.intrin.wasm.sliding import places_behind
from tests.support.product_loop import product_loop

PRODUCT = "i32x4.relaxed_dot_i8x16_i7x16_add_s"


def test_a_step_loads_a_pixel_only_after_the_products_of_the_one_before() -> None:
    loop = product_loop(RelaxedDot(), GemmTile(6, 8), PRODUCT)
    names = [line.split()[0] for line in loop if line.split()[0] in ("v128.load", PRODUCT)]
    pixel = ["v128.load", PRODUCT, PRODUCT]
    first = ["v128.load", "v128.load", PRODUCT, "v128.load", PRODUCT]  # both weights, too
    assert names == first + pixel * 5, "12 sums, 2 vectors of weights and a pixel are in 15 registers"
    offsets = [int(line.split()[1].partition(":")[0]) for line in loop if line.startswith("v128.load ")]
    copy = 160 + 16  # bytes of a pixel and of its first units
    assert sorted(offsets) == [0, 0, *(row * copy for row in range(6))]


@pytest.mark.parametrize(("pixels", "channels", "length", "tile"), [
    (196, 96, 576, GemmTile(6, 8)), (12544, 96, 16, GemmTile(6, 8)), (49, 320, 960, GemmTile(5, 8)),
    (1, 1000, 1280, GemmTile(1, 24)),
])  # fmt: skip
def test_tiles_have_the_sums_that_hide_the_latency_of_a_product(
    pixels: int, channels: int, length: int, tile: GemmTile
) -> None:
    shape = GemmShape(segments=1, length=length, segment_stride=0, pixel_stride=length)
    assert RelaxedDot().choose_tile(pixels, channels, shape) == tile


@pytest.mark.parametrize("units", range(1, 10))
def test_every_step_of_a_short_pixel_finds_units_in_its_lanes(units: int) -> None:
    copied = [*range(units), *["beyond"] * 16]
    first = copied[:LANES]
    for place in places_behind(units):
        copied[place : place + LANES] = first
    for step in range(units):
        assert copied[step : step + LANES] == [(step + lane) % units for lane in range(LANES)]
