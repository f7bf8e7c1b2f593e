"""The instructions that WebAssembly runs for each step of a matrix product."""

from __future__ import annotations

import re
from dataclasses import replace

from tvm import ir

from compile.intrin.base import GemmShape, GemmTile, InstructionSet
from compile.ir import tir
from compile.ir.build_object import build_object
from compile.ir.tir import Kernel
from compile.targets.table import WEB

SHAPE = GemmShape(segments=1, length=160, segment_stride=0, pixel_stride=160)


def product_loop(isa: InstructionSet, tile: GemmTile, product: str) -> list[str]:
    """Return the instructions of the innermost loop of a product of 160 channels."""
    kernel = Kernel("product")
    pixels, weights, sums = (kernel.pointer(name, "int8") for name in ("pixels", "weights", "sums"))
    steps = kernel.scalar("steps")
    operand = isa.prepare(kernel, SHAPE, pixels, [row * 160 for row in range(tile.rows)])
    zero = [[tir.splat(0, "int32x4")] * (tile.columns // 4)] * tile.rows
    acc = isa.accumulate(kernel, tile, SHAPE, replace(operand, whole_steps=steps), weights, 64, zero)
    for place, value in enumerate(value for row in acc for value in row):
        kernel.store(sums, place * 16, tir.reinterpret(value, "int8x16"))
    module = build_object({ir.GlobalVar("product"): kernel.finish()}, WEB.tvm_target(WEB.variant(isa.name)))
    loops = re.split(r"^\s+(?:end_)?loop\b", module.inspect_source("asm"), flags=re.MULTILINE)
    (loop,) = (it for it in loops if product in it)
    return [" ".join(line.split()) for line in loop.splitlines() if line.startswith("\t") and ".loc" not in line]
