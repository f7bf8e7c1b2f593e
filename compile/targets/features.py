"""What a core may have besides its baseline: one row per CPU feature, read by everything that has to know it.

A row says which flags the compiler gets, which bits `compile/runner/library/hwcaps.c` asks for when the library starts,
what /proc/cpuinfo calls the feature when a board is looked at before anything is copied, and what reports name. The
bundle's manifest names variants, whose `requires` in `compile.targets.table` are rows of this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Feature:
    """One feature, or a level of several that LLVM only takes together."""

    name: str
    mattr: tuple[str, ...] = ()  # for LLVM, on top of the variant's `mcpu`
    bit: int = 0  # of RG_CPU_<name> in library/hwcaps.h of the runner; 0 where no code requires the feature
    # Macro of library/hwcaps.c -> numbers of the bits in it that have to be set: AT_HWCAP on ARM, cpuid on x86.
    asks_for: Mapping[str, tuple[int, ...]] = field(default_factory=dict, hash=False)
    cpuinfo: tuple[str, ...] = ()  # flags in /proc/cpuinfo that a board has to have, all of them
    tried_out: bool = False  # no bit says it: the code that starts the library looks at what the instructions give
    implied_by: tuple[str, ...] = ()  # flags in /proc/cpuinfo each of which says that it is there, too
    reported: tuple[str, ...] = ()  # flags in /proc/cpuinfo that reports name where the machine has them

    @property
    def macro(self) -> str:
        """The name of its bit in C."""
        return f"RG_CPU_{self.name}"

    def is_on(self, flags: frozenset[str]) -> bool:
        """Tell whether a machine with these flags in /proc/cpuinfo has the feature; one that has no flag never is."""
        stated = bool(self.cpuinfo) and flags.issuperset(self.cpuinfo)
        return stated or not flags.isdisjoint(self.implied_by)


AVX2 = Feature(
    "AVX2",  # everything LLVM may use for x86-64-v3
    bit=4,
    asks_for={
        "LEAF1_C": (0, 9, 12, 13, 19, 20, 22, 23, 27, 28, 29),
        "EXTENDED_C": (0, 5),
        "LEAF7_B": (3, 5, 8),
    },
    cpuinfo=("avx2", "fma", "bmi2"),
    reported=("avx2", "fma"),
)
AVXVNNI = Feature(
    "AVXVNNI",  # vpdpbusd, vpdpwssd of 128 and 256 bits
    mattr=("+avxvnni",),
    bit=64,
    asks_for={"LEAF7_1_A": (4,)},
    cpuinfo=("avx_vnni",),
    reported=("avx_vnni",),
)
AVX512VNNI = Feature(
    "AVX512VNNI",  # everything LLVM may use for x86-64-v4, and vpdpbusd, vpdpwssd
    mattr=("+avx512vnni",),
    bit=8,
    asks_for={"LEAF7_B_512": (16, 17, 28, 30, 31), "LEAF7_C_512": (11,)},
    cpuinfo=("avx512_vnni", "avx512bw", "avx512vl"),
    reported=("avx512f", "avx512bw", "avx512_vnni"),
)
NEON = Feature(
    "NEON",  # of 32-bit ARM, where cores before ARMv7 and some of ARMv7 lack it; every 64-bit core has it
    bit=128,
    asks_for={"HWCAP_NEON": (12,)},
    cpuinfo=("neon",),
    implied_by=("asimd",),  # of a 64-bit kernel
    reported=("neon",),
)
RVV = Feature(
    "RVV",  # vectors of RISC-V, version 1.0
    mattr=("+v",),
    bit=256,
    asks_for={"HWCAP_RVV": (21,)},
    cpuinfo=("v",),
    reported=("v",),
)
RDM = Feature(
    "RDM",  # sqrdmlah; every core with sdot has it, and is asked for both
    mattr=("+rdm",),
    bit=32,
    asks_for={"HWCAP_ASIMDRDM": (12,)},
    cpuinfo=("asimdrdm",),
)
RELAXED_MADD = Feature(
    "RELAXED_MADD",  # WebAssembly's relaxed SIMD: f32x4.relaxed_madd, rounded once or twice
    mattr=("+relaxed-simd",),
    bit=512,
    tried_out=True,
)
RELAXED_DOT = Feature(
    "RELAXED_DOT",  # the same, where its dot product multiplies signed bytes with unsigned ones exactly
    mattr=("+relaxed-simd",),
    bit=1024,
    tried_out=True,
)
DOTPROD = Feature(
    "DOTPROD",  # sdot, udot
    mattr=("+dotprod",),
    bit=1,
    asks_for={"HWCAP_ASIMDDP": (20,)},
    cpuinfo=("asimddp",),
    reported=("asimddp",),
)
I8MM = Feature(
    "I8MM",  # smmla
    mattr=("+i8mm",),
    bit=2,
    asks_for={"HWCAP2_I8MM": (13,)},
    cpuinfo=("i8mm",),
    reported=("i8mm",),
)
FULLFP16 = Feature(
    "FULLFP16",  # half-precision arithmetic, scalar and vector
    mattr=("+fullfp16",),
    bit=16,
    asks_for={"HWCAP_FPHP": (9,), "HWCAP_ASIMDHP": (10,)},
    cpuinfo=("fphp", "asimdhp"),
    reported=("fphp",),
)

# In the order in which reports name their flags. Rows made here are only reported: no code of ours requires them, but
# they explain why another runtime is faster.
FEATURES: tuple[Feature, ...] = (
    AVX2,
    AVXVNNI,
    AVX512VNNI,
    Feature("AVX512BF16", reported=("avx512_bf16",)),
    Feature("AMXINT8", reported=("amx_int8",)),
    NEON,
    RVV,
    RELAXED_MADD,
    RELAXED_DOT,
    Feature("ASIMD", reported=("asimd",)),
    RDM,
    DOTPROD,
    I8MM,
    FULLFP16,
    Feature("BF16", reported=("bf16",)),
)
