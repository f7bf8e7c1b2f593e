"""WebAssembly's relaxed SIMD for floats: LLVM makes f32x4.relaxed_madd of a product and a sum.

Engines round it once or twice, as their processors do; scores of float32 are compared within a tolerance anyway.
"""

from __future__ import annotations

from compile.intrin.wasm.simd128 import Simd128


class RelaxedMadd(Simd128):
    """Chrome since 2023, Firefox since 2025, Node 22."""

    name = "madd"
