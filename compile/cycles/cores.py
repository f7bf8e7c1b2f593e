"""The cores that cycles are modelled for: one row each, with LLVM's name of the scheduling model that prices it."""

from __future__ import annotations

from dataclasses import dataclass

from repghost.errors import unknown_value


@dataclass(frozen=True)
class Core:
    """A core whose cycles are modelled.

    Attributes:
        name: its name in options and files.
        label: its name in tables.
        mcpu: the core of LLVM whose scheduling model prices it.
        code: the emulated cores (`compile.bench.count.CPUS`) whose code it runs, so that counts of them are priced.
        priced_as: regular expressions and replacements for instructions that LLVM's model gets wrong, see the row.
    """

    name: str
    label: str
    mcpu: str
    code: tuple[str, ...]
    priced_as: tuple[tuple[str, str], ...] = ()


PLAIN, DOT, MATRIX = ("cortex-a53", "cortex-a72"), ("cortex-a76",), ("max",)

# LLVM 19 lets a Cortex-A55 issue two multiply-adds of 128-bit floats in a cycle. Its two pipes have 64 bits each, and
# Arm's Cortex-A55 Software Optimization Guide says one. The integer form has that price.
WIDE_FLOATS_AS_INTEGERS = ((r"^f(ml[as]|mul)\t(v\d+\.(?:4s|8h),)", r"\1\t\2"),)

# Its loads bring 64 bits a cycle: LLVM 19 says so of ld1, but 1 cycle of an ldr of 128 bits and 6 of an ldp of 256.
WIDE_LOADS_AS_LD1 = (
    (r"^ldu?r\tq(\d+), \[(\w+).*$", r"ld1\t{ v\1.16b }, [\2]"),
    (r"^ldn?p\tq(\d+), q(\d+), \[(\w+).*$", r"ld1\t{ v\1.16b }, [\3]\nld1\t{ v\2.16b }, [\3]"),
)

CORES = {
    core.name: core
    for core in (
        Core("cortex-a53", "Cortex-A53", "cortex-a53", PLAIN),
        Core("cortex-a72", "Cortex-A72", "cortex-a72", PLAIN),  # LLVM has the model of the A57 for it
        Core(
            "cortex-a55",
            "Cortex-A55",
            "cortex-a55",
            DOT,
            priced_as=(*WIDE_FLOATS_AS_INTEGERS, *WIDE_LOADS_AS_LD1),
        ),
        # LLVM prices a Cortex-A76 as an A57; Neoverse N1 is the same core for servers and has a model of its own.
        Core("cortex-a76", "Cortex-A76, Neoverse N1", "neoverse-n1", DOT),
        Core("apple-m1", "Apple M1", "apple-m1", DOT),
        Core("cortex-a510", "Cortex-A510", "cortex-a510", MATRIX),
        Core("cortex-a710", "Cortex-A710, X2, Neoverse N2", "neoverse-n2", MATRIX),
    )
}


def find_core(name: str) -> Core:
    """Return the row called `name`.

    Raises:
        UsageError: when there is none.
    """
    if name not in CORES:
        raise unknown_value("core to model", name, CORES)
    return CORES[name]


def cores_running(code: str | None) -> list[Core]:
    """Return the cores that run the code of an emulated core, all of them for None; none for one not in the table."""
    return [core for core in CORES.values() if code is None or code in core.code]
