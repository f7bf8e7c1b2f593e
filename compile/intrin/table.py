"""The table of instruction sets; a new one is a file and a row."""

from __future__ import annotations

from compile.intrin.avx2 import Avx2
from compile.intrin.avxvnni import AvxVnni
from compile.intrin.base import InstructionSet
from compile.intrin.dot import Dot
from compile.intrin.half import Half
from compile.intrin.i8mm import I8mm
from compile.intrin.neon import Neon
from compile.intrin.neonv7 import NeonV7
from compile.intrin.rvv import Rvv
from compile.intrin.vnni import Vnni
from compile.intrin.wasm.relaxed_dot import RelaxedDot
from compile.intrin.wasm.relaxed_madd import RelaxedMadd
from compile.intrin.wasm.simd128 import Simd128
from repghost.errors import unknown_value

INSTRUCTION_SETS: dict[str, type[InstructionSet]] = {
    isa.name: isa for isa in (Neon, Dot, I8mm, Half, NeonV7, Rvv, Avx2, AvxVnni, Vnni, Simd128, RelaxedDot, RelaxedMadd)
}


def find_instruction_set(name: str) -> InstructionSet:
    """Return the instruction set called `name`.

    Raises:
        UsageError: when there is none of this name.
    """
    if name not in INSTRUCTION_SETS:
        raise unknown_value("instruction set", name, INSTRUCTION_SETS)
    return INSTRUCTION_SETS[name]()
