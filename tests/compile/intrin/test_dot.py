from __future__ import annotations

import re

from tvm import ir

from compile.intrin.base import GemmShape, GemmTile
from compile.intrin.dot import Dot
from compile.ir import tir
from compile.ir.build_object import build_object
from compile.ir.tir import Kernel
from compile.targets.table import ARM64

TILE, SHAPE = GemmTile(7, 12), GemmShape(segments=1, length=160, segment_stride=0, pixel_stride=160)


def product_loop() -> list[str]:
    """Return the instructions of the loop over the steps of a product by sdot."""
    isa, kernel = Dot(), Kernel("product")
    pixels, weights, sums = (kernel.pointer(name, "int8") for name in ("pixels", "weights", "sums"))
    steps = kernel.scalar("steps")
    operand = isa.prepare(kernel, SHAPE, pixels, [row * 160 for row in range(TILE.rows)])
    operand = type(operand)(operand.pointer, 0, operand.row_stride, None, steps)
    zero = [[tir.splat(0, "int32x4")] * (TILE.columns // 4)] * TILE.rows
    acc = isa.accumulate(kernel, TILE, SHAPE, operand, weights, 0, zero)
    for place, value in enumerate(value for row in acc for value in row):
        kernel.store(sums, place * 16, tir.reinterpret(value, "int8x16"))
    described = isa.tuning(SHAPE).describe(ARM64.tvm_target(ARM64.variant("dot")))
    assembly = build_object({ir.GlobalVar("product"): kernel.finish()}, described).inspect_source("asm")
    blocks = re.split(r"^\.LBB\w+:", assembly, flags=re.MULTILINE)
    (loop,) = (block for block in blocks if "b.ne" in block.split("sdot")[-1] and block.count("sdot") == 84)
    return [line.strip() for line in loop.splitlines() if re.match(r"\t(sdot|ldp|ldu?r)\t", line)]


def test_each_load_of_a_product_stands_between_products_of_what_is_loaded() -> None:
    loop = product_loop()
    names = [line.split()[0].replace("ldur", "ldr") for line in loop]
    assert "ldp" not in names, "a Cortex-A55 starts nothing beside the second half of a pair"
    assert names.count("sdot") == 7 * 12
    assert sum(name != "sdot" for name in names) == 7 + 12  # no start value or weight is spilled
    assert names[0] == "sdot", "the first product waits for no load of this step"
    assert ["ldr"] * 4 not in [names[at : at + 4] for at in range(len(names))], "loads stand between products"


def test_straight_code_is_ordered_for_cores_that_wait_and_loops_are_left_to_the_variant() -> None:
    plain = ARM64.tvm_target(ARM64.variant("dot"))
    short = GemmShape(segments=1, length=36, segment_stride=0, pixel_stride=36)
    straight = Dot().tuning().describe(plain)
    assert straight["mcpu"] == "cortex-a53"
    assert straight["mattr"] == ["-crc", "-aes", "-sha2", *plain["mattr"]]  # type: ignore[misc]
    assert Dot().tuning(short).describe(plain)["mcpu"] == "cortex-a53"
    assert Dot().tuning(SHAPE).describe(plain)["mcpu"] == plain["mcpu"]
