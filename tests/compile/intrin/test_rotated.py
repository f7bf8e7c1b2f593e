from __future__ import annotations

import re
from dataclasses import replace

import pytest
from tvm import ir

from compile.intrin.base import GemmShape, GemmTile
from compile.intrin.wasm.relaxed_dot import RelaxedDot
from compile.intrin.wasm.rotated import Rotated
from compile.intrin.wasm.simd128 import Simd128
from compile.ir import tir
from compile.ir.tir import Kernel
from compile.targets.table import WEB

SHAPE = GemmShape(segments=1, length=160, segment_stride=0, pixel_stride=160)


def product_loop(isa: Rotated, tile: GemmTile, product: str) -> list[str]:
    """Return the instructions of the loop over the groups of a product, or over halves of them."""
    kernel = Kernel("product")
    pixels, weights, sums = (kernel.pointer(name, "int8") for name in ("pixels", "weights", "sums"))
    steps = kernel.scalar("steps")
    operand = isa.prepare(kernel, SHAPE, pixels, [row * 160 for row in range(tile.rows)])
    zero = [[tir.splat(0, "int32x4")]] * tile.rows
    acc = isa.accumulate(kernel, tile, SHAPE, replace(operand, whole_steps=steps), weights, 64, zero)
    for place, value in enumerate(value for row in acc for value in row):
        kernel.store(sums, place * 16, tir.reinterpret(value, "int8x16"))
    module = tir.build_object({ir.GlobalVar("product"): kernel.finish()}, WEB.tvm_target(WEB.variant(isa.name)))
    loops = re.split(r"^\s+(?:end_)?loop\b", module.inspect_source("asm"), flags=re.MULTILINE)
    (loop,) = (it for it in loops if product in it)
    return [" ".join(line.split()) for line in loop.splitlines() if line.startswith("\t") and ".loc" not in line]


def test_the_loop_over_groups_adds_no_constant_to_the_address_of_a_load() -> None:
    loop = product_loop(Simd128(), GemmTile(8, 4), "i32x4.dot_i16x8_s")
    names = [line.split()[0] for line in loop]
    assert names.count("i32x4.dot_i16x8_s") == names.count("i32x4.add") == 8 * 4
    assert names.count("v128.load") == 8 * 4, "a turn of a pixel is one load"
    assert names.count("i16x8.load8x8_s") == 4
    offsets = [int(line.split()[1].partition(":")[0]) for line in loop if line.startswith("v128.load ")]
    assert sorted(offsets) == [row * 160 * 4 + turn * 4 for row in range(8) for turn in range(4)]
    assert names.count("i32.add") <= 7, "an address, two pointers, a counter, and weights of three turns that widen"


def test_a_step_of_relaxed_products_keeps_sums_and_weights_in_sixteen_registers() -> None:
    product = "i32x4.relaxed_dot_i8x16_i7x16_add_s"
    loop = product_loop(RelaxedDot(), GemmTile(11, 4), product)
    names = [line.split()[0] for line in loop]
    assert names.count(product) == 11 * 2 and names.count("v128.load") == 11 * 2 + 2
    offsets = [int(line.split()[1].partition(":")[0]) for line in loop if line.startswith("v128.load ")]
    assert sorted(offsets)[2:] == [row * 160 * 2 + turn * 4 for row in range(11) for turn in range(2)]


@pytest.mark.parametrize(("pixels", "channels", "length", "rows"), [
    (196, 96, 576, 11), (12544, 96, 16, 11), (49, 320, 960, 10), (1, 1000, 1280, 1),
])  # fmt: skip
def test_tiles_of_relaxed_products_have_the_sums_that_hide_their_latency(
    pixels: int, channels: int, length: int, rows: int
) -> None:
    shape = GemmShape(segments=1, length=length, segment_stride=0, pixel_stride=length)
    assert RelaxedDot().choose_tile(pixels, channels, shape).rows == rows


@pytest.mark.parametrize(("pixels", "channels", "length", "tile"), [
    (196, 56, 120, GemmTile(7, 4)), (3136, 96, 16, GemmTile(8, 4)), (49, 240, 80, GemmTile(7, 4)),
    (1, 1000, 1280, GemmTile(1, 24)),
])  # fmt: skip
def test_tiles_hold_one_vector_of_channels_but_for_a_single_pixel(
    pixels: int, channels: int, length: int, tile: GemmTile
) -> None:
    shape = GemmShape(segments=1, length=length, segment_stride=0, pixel_stride=length)
    assert Simd128().choose_tile(pixels, channels, shape) == tile
