"""From objects to model.dylib and repghost-run for macOS: the same C and the same kernels as model.so.

zig's linker signs both ad hoc, as macOS demands of code for Apple's processors. Numbers are those of Apple's headers
mach-o/loader.h and mach-o/nlist.h.
"""

from __future__ import annotations

import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compile.ir.compiled_network import CompiledNetwork
from compile.link import toolchain
from compile.link.promises import API, SMALLEST_PAGE
from compile.link.zig import run_zig
from compile.targets.table import Target
from repghost.errors import UsageError

MAGIC, ARM64_CPU = 0xFEEDFACF, 0x0100000C  # of 64 bits, little-endian
EXECUTABLE, LIBRARY = 2, 6  # kinds of files
SEGMENT, SYMBOLS, BUILD_VERSION, SIGNATURE = 0x19, 0x2, 0x32, 0x1D  # load commands
NEEDED = (0xC, 0x80000018, 0x8000001F)  # libraries: usual, weak, re-exported
MACOS, WRITE, EXECUTE = 1, 2, 4  # the platform, and rights of a segment
EXTERNAL, KIND, PRIVATE = 0x01, 0x0E, 0x10  # bits of a symbol
SYSTEM = "/usr/lib/libSystem.B.dylib"
OF_SYSTEM = {"dyld_stub_binder", "__extendhfsf2", "__truncsfhf2"}  # TVM refers to two of them in every object
OF_LINKER = ("__dso_handle", "_mh_dylib_header")
HEADER, SYMBOL = struct.Struct("<8I"), struct.Struct("<IBBHQ")
MOST_COMMANDS = 256


@dataclass(frozen=True)
class MachoFile:
    """The promises of a linked file, as read back from its bytes."""

    kind: int
    needed: tuple[str, ...]
    exported: tuple[str, ...]
    undefined: tuple[str, ...]
    oldest_system: tuple[int, int]
    signed: bool
    writable_code: bool
    aligned: bool  # whether every segment begins at a page of macOS


def link_library(network: CompiledNetwork, target: Target, info: dict[str, Any]) -> bytes:
    """Link the compiled steps, the weights and the functions of repghost.h into model.dylib.

    Args:
        network: what the compiler made.
        target: what it was made for.
        info: the object `rg_info` returns; ASCII after JSON encoding.

    Returns:
        The bytes of model.dylib, already checked with `check_library`.
    """
    with tempfile.TemporaryDirectory(prefix="repghost-link-") as temporary:
        folder = Path(temporary)
        objects = toolchain.write_parts(folder, network, target, info)
        sources = [str(toolchain.RUNNER_SOURCES / unit) for unit in (*toolchain.MODEL_UNITS, *toolchain.NETWORK_UNITS)]
        flags = [*target.zig_target(), *toolchain.REPRODUCIBLE, "-std=c23", "-I.", f"-I{toolchain.RUNNER_SOURCES}"]
        flags += [f"-ffile-prefix-map={folder}=.", "-ffreestanding", "-fno-builtin", "-fvisibility=hidden", "-fPIC"]
        link = ["-shared", "-nostdlib", "-Wl,-dead_strip", "-Wl,-install_name,@rpath/model.dylib", "-s"]
        run_zig(["cc", *flags, *sources, "weights.c", *objects, *link, "-o", target.form.model], cwd=folder)
        data = toolchain.read_output(folder / target.form.model)
    check_library(data, target)
    return data


def build_runner(target: Target) -> bytes:
    """Compile repghost-run for macOS."""
    with tempfile.TemporaryDirectory(prefix="repghost-runner-") as name:
        folder, sources = Path(name), toolchain.RUNNER_SOURCES
        units = [*toolchain.RUNNER_UNITS, toolchain.DECODER, "inference/loader_system.c"]
        flags = [*target.zig_target(), *toolchain.REPRODUCIBLE, f"-I{sources}", "-D_DARWIN_C_SOURCE"]
        flags += ["-fstack-protector-strong", f"-ffile-prefix-map={folder}=.", "-Wl,-dead_strip", "-s"]
        run_zig(["cc", *flags, *(str(sources / unit) for unit in units), "-o", target.form.runner], cwd=folder)
        data = toolchain.read_output(folder / target.form.runner)
    check_runner(data, target)
    return data


def check_library(data: bytes, target: Target) -> MachoFile:
    """Check what model.dylib promises: it needs libSystem at most and exports the functions of repghost.h.

    zig's linker takes no list of what is exported, so the kernels are exported, too; each has a name of ours.

    Raises:
        UsageError: naming the promise that is broken.
    """
    file = _checked(data, target, LIBRARY)
    foreign = [name for name in file.needed if name != SYSTEM] + sorted({*file.undefined} - OF_SYSTEM)
    if foreign:
        raise UsageError(f"model.dylib needs {', '.join(foreign)}; it must need nothing.")
    others = [name for name in file.exported if not name.startswith("rg_") and name not in OF_LINKER]
    if others or not {*API} <= {*file.exported}:
        found = ", ".join(others or file.exported) or "nothing"
        raise UsageError(f"model.dylib exports {found}; it must export {', '.join(API)}.")
    return file


def check_runner(data: bytes, target: Target) -> MachoFile:
    """Check that repghost-run is a program for the target that needs libSystem alone.

    Raises:
        UsageError: naming the promise that is broken.
    """
    file = _checked(data, target, EXECUTABLE)
    if file.needed != (SYSTEM,):
        raise UsageError(f"repghost-run needs {', '.join(file.needed) or 'nothing'}; it must need {SYSTEM} alone.")
    return file


def _checked(data: bytes, target: Target, kind: int) -> MachoFile:
    name = target.form.model if kind == LIBRARY else target.form.runner
    try:
        file = read_macho(data)
    except (struct.error, ValueError, IndexError) as error:
        raise UsageError(f"{name} is no Mach-O file for Apple's processors, or is damaged: {error}.") from error
    oldest = tuple(int(part) for part in target.zig_triple.partition(".")[2].split("."))
    if file.kind != kind:
        raise UsageError(f"{name} is a Mach-O file of kind {file.kind}, not {kind}.")
    if file.oldest_system > oldest:
        raise UsageError(f"{name} needs macOS {file.oldest_system}; it must start on {oldest}.")
    if not file.signed:
        raise UsageError(f"{name} is not signed; macOS starts no unsigned code on Apple's processors.")
    if file.writable_code or not file.aligned:
        raise UsageError(f"{name} has writable code, or segments that begin within a page; macOS refuses that.")
    return file


def read_macho(data: bytes) -> MachoFile:
    """Read a linked Mach-O file; raises ValueError, IndexError or struct.error for anything else."""
    magic, cpu, _, kind, count, *_ = HEADER.unpack_from(data)
    if magic != MAGIC or cpu != ARM64_CPU or count > MOST_COMMANDS:
        raise ValueError("its first bytes are wrong")
    at, needed, oldest, signed, rights, starts = HEADER.size, [], (0, 0), False, [], []
    symbols: list[tuple[str, int]] = []
    for _ in range(count):
        command, size = struct.unpack_from("<2I", data, at)
        if size < 8 or at + size > len(data):
            raise ValueError("a load command ends beyond the file")
        if command in NEEDED:
            needed.append(_text(data, at + struct.unpack_from("<I", data, at + 8)[0]))
        elif command == BUILD_VERSION:
            platform, version = struct.unpack_from("<2I", data, at + 8)
            if platform != MACOS:
                raise ValueError(f"its platform is {platform}")
            oldest = (version >> 16, version >> 8 & 255)
        elif command == SEGMENT:
            starts.append(struct.unpack_from("<Q", data, at + 24)[0])
            rights.append(struct.unpack_from("<I", data, at + 60)[0])
        elif command == SYMBOLS:
            symbols = list(_symbols(data, *struct.unpack_from("<3I", data, at + 8)))
        signed |= command == SIGNATURE
        at += size
    visible = [(name.removeprefix("_"), kind) for name, kind in symbols if kind & EXTERNAL and not kind & PRIVATE]
    return MachoFile(
        kind, tuple(needed), tuple(sorted(name for name, kind in visible if kind & KIND)),
        tuple(sorted(name for name, kind in visible if not kind & KIND)), oldest, signed,
        any(right & WRITE and right & EXECUTE for right in rights), not any(start % SMALLEST_PAGE for start in starts),
    )  # fmt: skip


def _symbols(data: bytes, start: int, count: int, names: int) -> list[tuple[str, int]]:
    if count * SYMBOL.size > len(data):
        raise ValueError("its table of symbols ends beyond the file")
    found = []
    for number in range(count):
        name, kind, *_ = SYMBOL.unpack_from(data, start + number * SYMBOL.size)
        found.append((_text(data, names + name), kind))
    return found


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode("ascii", "replace")
