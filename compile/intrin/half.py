"""ARMv8.2 half precision: eight float16 in a register, for networks that are kept in 16 bits."""

from __future__ import annotations

from compile.intrin.neon import Neon


class Half(Neon):
    """Cortex-A55, A75, A76 and later, Neoverse, Apple: fmla of eight float16, by lane.

    The cores that have it add up in float16 alone: fmlal, which widens each product, came three years later (ARMv8.4)
    and is as slow as float32. So a sum is cut into short runs, and float32 adds the runs up: fcvtl twice, fadd twice
    and a new zero for eight sums of `products_in_half` products.
    """

    name = "half"
    float_lanes = 8
    float_step = 8
    products_in_half = 24  # 32 take 1 % fewer instructions over 0.5x at 224 px, 16 take 7 % more
