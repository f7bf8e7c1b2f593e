"""What can be compiled for: one row per target, one variant per instruction set. A new board is a row here."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace

from compile.targets.features import (
    AVX2,
    AVX512VNNI,
    AVXVNNI,
    DOTPROD,
    FULLFP16,
    I8MM,
    NEON,
    RDM,
    RELAXED_DOT,
    RELAXED_MADD,
    RVV,
    Feature,
)
from compile.targets.forms import ELF, MACHO, WASM, Form
from repghost.errors import UsageError, unknown_value


@dataclass(frozen=True)
class Variant:
    """One instruction set of a target."""

    name: str
    mcpu: str  # LLVM's name of the core, or its plainest one
    requires: tuple[Feature, ...]  # what the code may use on top; all must be there at run time
    emulated_cpu: str = ""  # the qemu core that has these features and as few others as possible
    elements: tuple[str, ...] = ("int8", "float32")  # whose code differs from that of the plainer variants


@dataclass(frozen=True)
class Emulation:
    """How programs of another architecture run here: qemu's user mode, with the C library of a Debian cross package."""

    qemu: str  # e.g. "aarch64": the program is qemu-aarch64, the libraries lie in usr/aarch64-linux-gnu
    debian: str  # Debian's name of the architecture, e.g. "arm64": the package is libc6-arm64-cross
    loader: str  # below the folder of the libraries
    abi: str = "gnu"  # the last part of Debian's name of the machine
    prctl: int = 167  # the number of this system call, by which a counted program sets its marks
    classes: str = "arm64"  # which rows of compile/bench/counter say what kind of work an instruction is

    @property
    def programs(self) -> tuple[str, ...]:
        """The names of the emulator; Debian's static package adds a suffix."""
        return f"qemu-{self.qemu}", f"qemu-{self.qemu}-static"

    @property
    def sysroot(self) -> str:
        """The folder of the libraries, below the root of the system."""
        return f"usr/{self.qemu}-linux-{self.abi}"

    @property
    def library_package(self) -> str:
        """Debian's package of the C library."""
        return f"libc6-{self.debian}-cross"


@dataclass(frozen=True)
class Container:
    """How a container image names a kind of machine, as OCI's platforms do, and what the runner in it is linked for."""

    architecture: str  # e.g. "amd64"
    runner_triple: str  # for the linker, of a static runner: an image from scratch has no C library
    variant: str = ""  # of the architecture, e.g. "v7" of "arm"


@dataclass(frozen=True)
class Target:
    """A kind of machine: how its code is made and which instruction sets it may have."""

    name: str
    triple: str  # for LLVM
    zig_triple: str  # for the linker; its suffix is the oldest glibc the runner starts on
    elf_machine: int  # e_machine of the ELF header
    variants: tuple[Variant, ...]  # from the plainest to the fastest; the last one whose needs are met is used
    bits: int = 64  # of its addresses
    mattr: tuple[str, ...] = ()  # for LLVM, of every variant, besides those of the features it requires
    mabi: str = ""  # for LLVM, where the triple does not say how floats are passed
    effort: int = 3  # LLVM's optimization level
    zig_cpu: str = ""  # for the C around the kernels; empty: the plainest of the triple
    zig_runtime: tuple[str, ...] = ()  # for the linker of model.so: what C calls where the core has no instruction
    runner_triple: str = ""  # for the linker, of a static runner that loads model.so itself; empty: a dynamic one
    emulation: Emulation | None = None  # how its programs run on another machine; None: they do not
    counted: bool = False  # whether executed instructions are counted under its emulation (compile/bench/counter)
    container: Container | None = None  # None: no container image is made for it
    form: Form = ELF  # of its program, and what its bundles hold
    board_target: str = ""  # the row that a board's `uname -m` leads to, where it is not this one
    with_32_bits: str = ""  # the row of a board that has this kernel and a system of 32 bits
    loaders: tuple[str, ...] = ()  # the files that start programs of such a system, by which it is known

    @property
    def oldest_glibc(self) -> tuple[int, ...]:
        """The oldest glibc the runner starts on, e.g. (2, 17); empty where it needs none."""
        abi, _, numbers = self.zig_triple.rpartition("-")[2].partition(".")
        numbers = numbers if abi.startswith("gnu") else ""
        return tuple(int(part) for part in numbers.split(".")) if numbers else ()

    def zig_target(self, triple: str = "") -> list[str]:
        """Return the words that tell zig's compiler what it compiles for.

        Args:
            triple: another one than that of model.so.
        """
        cpu = [f"-mcpu={self.zig_cpu}"] if self.zig_cpu else []
        return ["-target", triple or self.zig_triple, *cpu]

    @property
    def runs_here(self) -> bool:
        """Whether this machine starts programs of the target itself."""
        host = host_target()
        return host is not None and host.elf_machine == self.elf_machine

    def tvm_target(self, variant: Variant) -> dict[str, object]:
        """Return the description `tvm.target.Target` takes for one instruction set; a triple is always given."""
        return {
            "kind": "llvm",
            "mtriple": self.triple,
            "mcpu": variant.mcpu,
            **({"mabi": self.mabi} if self.mabi else {}),
            "mattr": [*self.mattr, *(flag for feature in variant.requires for flag in feature.mattr)],
            "opt-level": self.effort,
        }

    def variants_for(self, element: str) -> tuple[Variant, ...]:
        """Return the variants worth compiling for a program that keeps its activations as `element`; none may be."""
        return tuple(variant for variant in self.variants if element in variant.elements)

    def only_used(self, flags: frozenset[str], element: str) -> Target:
        """Return the target with no instruction set but the one that a machine uses for an element.

        Args:
            flags: of the machine's /proc/cpuinfo; where it names none all instruction sets stay.
            element: as `variants_for` takes it.
        """
        able = [it for it in self.variants_for(element) if all(feature.is_on(flags) for feature in it.requires)]
        return replace(self, variants=(able[-1],)) if flags and able else self

    def check_element(self, precision: str, element: str) -> None:
        """Refuse a precision that no instruction set of this target computes in.

        Raises:
            UsageError: naming the targets that do.
        """
        if self.variants_for(element):
            return
        able = [target.name for target in TARGETS.values() if target.variants_for(element)]
        raise UsageError(
            f"precision {precision!r} cannot be compiled for target {self.name!r}, which has no instructions for "
            f"{element}; allowed: {', '.join(able)}."
        )

    def variant(self, name: str) -> Variant:
        """Return the variant called `name`.

        Raises:
            UsageError: when the target has no such variant.
        """
        for variant in self.variants:
            if variant.name == name:
                return variant
        raise unknown_value(f"variant of target {self.name}", name, [variant.name for variant in self.variants])


# A core's name would let LLVM use more than what the variant requires, so it gets the baseline and the features alone.
ARM64 = Target(
    name="arm64",
    triple="aarch64-linux-gnu",
    zig_triple="aarch64-linux-gnu.2.17",
    elf_machine=183,
    variants=(
        Variant("neon", "generic", (), "cortex-a53"),
        Variant("dot", "generic", (RDM, DOTPROD), "cortex-a76", ("int8",)),
        Variant("i8mm", "generic", (RDM, DOTPROD, I8MM), "max", ("int8",)),
        Variant("half", "generic", (FULLFP16,), "cortex-a76", ("float16",)),
    ),
    mattr=("+neon",),
    emulation=Emulation("aarch64", "arm64", "lib/ld-linux-aarch64.so.1"),
    counted=True,
    container=Container("arm64", "aarch64-linux-musl"),
    with_32_bits="armv7",
)

# Android keeps a register for itself (x18) and has a C library of its own, bionic. model.so needs no library; the
# runner brings musl with it and depends on the kernel alone, so it also starts on boards with musl (Alpine, OpenWrt).
ANDROID = replace(
    ARM64,
    name="android",
    triple="aarch64-linux-android",
    zig_triple="aarch64-linux-android",
    runner_triple="aarch64-linux-musl",
    counted=False,
    board_target=ARM64.name,
)

# Built and checked by its headers; nobody of us has run it. macOS 11 is the first for these processors.
MACOS = replace(
    ARM64,
    name="macos",
    triple="arm64-apple-macos11",
    zig_triple="aarch64-macos.11.0",
    elf_machine=0,
    emulation=None,
    counted=False,
    container=None,
    form=MACHO,
    with_32_bits="",
)

ARMV7 = Target(
    name="armv7",
    triple="armv7a-linux-gnueabihf",
    zig_triple="arm-linux-gnueabihf.2.17",
    zig_cpu="arm1176jzf_s",  # that of the first Raspberry Pi, which has to get as far as being refused
    zig_runtime=("-rtlib=compiler-rt",),  # 64-bit division
    elf_machine=40,
    bits=32,
    variants=(Variant("neonv7", "generic", (NEON,), "cortex-a7"),),
    mattr=("+use-misched",),  # LLVM's other scheduler mixes steps of a product until the registers do not suffice
    effort=2,
    emulation=Emulation("arm", "armhf", "lib/ld-linux-armhf.so.3", abi="gnueabihf", prctl=172, classes="armv7"),
    counted=True,
    container=Container("arm", "arm-linux-musleabihf", "v7"),
    loaders=("ld-linux-armhf.so.3", "ld-musl-armhf.so.1"),
)

# For boards without glibc, or with an older one.
ARMV7_STATIC = replace(
    ARMV7,
    name="armv7-static",
    runner_triple="arm-linux-musleabihf",
    counted=False,
    container=None,
    board_target=ARMV7.name,
)

# The C around the kernels needs no vectors, so that a core without them gets as far as being refused.
RISCV64 = Target(
    name="riscv64",
    triple="riscv64-linux-gnu",
    zig_triple="riscv64-linux-gnu.2.27",  # the first for this machine
    elf_machine=243,
    variants=(Variant("rvv", "generic-rv64", (RVV,), "rv64,v=true,vlen=128"),),
    mattr=("+m", "+a", "+f", "+d", "+c"),
    mabi="lp64d",
    effort=2,
    emulation=Emulation("riscv64", "riscv64", "lib/ld-linux-riscv64-lp64d.so.1"),
)

X86_64 = Target(
    name="x86-64",
    triple="x86_64-linux-gnu",
    zig_triple="x86_64-linux-gnu.2.17",
    elf_machine=62,
    variants=(
        Variant("avx2", "x86-64-v3", (AVX2,), "Haswell"),
        Variant("avxvnni", "x86-64-v3", (AVX2, AVXVNNI), "max", ("int8",)),
        Variant("vnni", "x86-64-v4", (AVX2, AVX512VNNI), "Cascadelake-Server"),
    ),
    container=Container("amd64", "x86_64-linux-musl"),  # v3 is told by the runner: few engines look for a variant
    effort=2,  # at 3 the 0.5x is 2 % slower, 6 % larger, and takes a tenth longer to compile
)

# Every browser that has WebAssembly's 128-bit SIMD runs it, on any processor, and so does Node.js.
WEB = Target(
    name="web",
    triple="wasm32-unknown-unknown",
    zig_triple="wasm32-freestanding",
    elf_machine=0,
    variants=(
        Variant("simd128", "generic", ()),
        Variant("relaxed", "generic", (RELAXED_DOT,), elements=("int8",)),
        Variant("madd", "generic", (RELAXED_MADD,), elements=("float32",)),
    ),
    mattr=("+simd128",),
    form=WASM,
)

JETSON = Target(
    name="jetson",
    triple="aarch64-linux-gnu",
    zig_triple="aarch64-linux-gnu.2.17",
    elf_machine=183,
    variants=(),  # TensorRT builds an engine on the board, see compile/tensorrt
    board_target=ARM64.name,
)

TARGETS = {target.name: target for target in (ARM64, ANDROID, MACOS, ARMV7, ARMV7_STATIC, RISCV64, X86_64, WEB, JETSON)}
ALIASES = {"aarch64": "arm64", "armv7l": "armv7", "armv8l": "armv7", "x86_64": "x86-64", "amd64": "x86-64"}
# What is told about machines that nothing is compiled for, by `uname -m`.
REFUSED = {"armv6l": "32-bit ARM needs NEON, which ARMv6 lacks: the first Raspberry Pi and the first Pi Zero"}
EMULATED = next(target.emulation for target in TARGETS.values() if target.emulation)  # the usual one
COUNTED = next(target for target in TARGETS.values() if target.counted)
HOST = "host"


def host_target() -> Target | None:
    """Return the row of the machine this runs on, or None where no row fits (32-bit, another operating system)."""
    if platform.system() != "Linux":
        return None
    machine = platform.machine().lower()
    return TARGETS.get(ALIASES.get(machine, machine))


def static_target(name: str) -> Target | None:
    """Return the row whose runner needs no C library on boards of another row, or None where there is none."""
    return next((row for row in TARGETS.values() if row.runner_triple and row.board_target == name), None)


def find_target(name: str) -> Target:
    """Return the row called `name`; "host" means the machine this runs on.

    Args:
        name: a name of the table, "host", or the kernel's name of a machine such as "aarch64".

    Raises:
        UsageError: when there is no such row.
    """
    if name == HOST:
        found = host_target()
        if found is None:
            raise UsageError(
                f"no target fits this machine ({platform.system()} on {platform.machine()}); a host build needs Linux "
                f"on x86-64 or aarch64. Compile for another machine with one of: {', '.join(TARGETS)}."
            )
        return found
    target = TARGETS.get(ALIASES.get(name, name))
    if target is None:
        raise unknown_value("target", name, [*TARGETS, HOST])
    return target
