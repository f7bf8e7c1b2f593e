"""The counter of executed instructions: a QEMU plugin, the program that runs under it, and what prices cycles."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from compile.cycles.llvm import Llvm, fetch_llvm
from compile.link.toolchain import REPRODUCIBLE, RUNNER_SOURCES, read_output, runner_sources
from compile.link.zig import run_zig
from compile.machine.emulator import TOOLS, Emulator, find_emulators
from compile.storage.code_key import files_digest
from compile.storage.stage_cache import StageCache, versions
from compile.targets.table import COUNTED, EMULATED, Emulation, Target, host_target
from repghost.errors import ToolMissingError
from repghost.processes import TOOL_LIMIT_S, run_limited

COUNTER_SOURCES = Path(__file__).parent / "counter"
PLUGIN_UNITS = ("counter.c", "classes.c", "reuse.c")
RUNNER_UNITS = (
    "bundle/bundle.c", "bundle/json.c", "inference/loader_system.c", "inference/model.c", "inference/pool.c",
    "bundle/sha256.c", "bundle/vectors.c",
)  # fmt: skip
PLUGIN, GUEST = "counter.so", "guest"
INTERFACES = (((9, 1), 3), ((9, 0), 2), ((0, 0), 1))  # since this version of QEMU: the version of its plugin interface


@dataclass(frozen=True)
class InstructionCounter:
    """What counting takes.

    Attributes:
        emulator: takes plugins.
        files: PLUGIN and GUEST.
        llvm: prices cycles; None: they are not modelled.
        why_not_modelled: a sentence where they are not.
        cache: keeps prices.
    """

    emulator: Emulator
    files: dict[str, bytes]
    llvm: Llvm | None
    why_not_modelled: str
    cache: StageCache


def start_counter(tools: Path | None = None, target: Target = COUNTED) -> InstructionCounter:
    """Return what counting takes, building and fetching what is not there; only LLVM may be missing.

    Args:
        tools: where fetched tools lie, `compile.machine.emulator.TOOLS` by default; their cache lies beside it.
        target: of the programs that are counted.

    Raises:
        ToolMissingError: when there is no QEMU with plugins.
    """
    tools = TOOLS if tools is None else tools
    emulation = target.emulation or EMULATED
    emulator, cache = find_counting_emulator(tools, emulation), StageCache(tools.parent / ".cache")
    files = build_counter(emulator, cache, target)
    if target is not COUNTED:
        return InstructionCounter(emulator, files, None, f"only those of {COUNTED.name} are", cache)
    try:
        return InstructionCounter(emulator, files, fetch_llvm(tools), "", cache)
    except ToolMissingError as error:
        return InstructionCounter(emulator, files, None, str(error), cache)


def find_counting_emulator(tools: Path = TOOLS, emulation: Emulation = EMULATED) -> Emulator:
    """Return an emulator that takes plugins, with the C library of its architecture.

    Raises:
        ToolMissingError: when there is none.
    """
    hint = f"apt install qemu-user {emulation.library_package}; the statically linked qemu-user-static has none"
    found = find_emulators(tools, emulation)
    for emulator in found:
        program = str(emulator.program)
        if "-plugin" in run_limited([program, "-h"], TOOL_LIMIT_S, name=program, advice=f"{hint}.").stdout:
            return emulator
    if found:
        raise ToolMissingError(
            f"{found[0].program} was built without plugins, which count instructions. Install one that has them: "
            f"{hint}."
        )
    program, library = emulation.programs[0], emulation.debian
    raise ToolMissingError(f"no {program} with an {library} C library was found. Install it: {hint}.")


def plugin_interface(version: str) -> int:
    """Return the version of the plugin interface to build for.

    Args:
        version: QEMU's version line, e.g. "qemu-aarch64 version 7.2.22 (Debian ...)".

    Raises:
        ToolMissingError: when the line names no version.
    """
    found = re.search(r"version (\d+)\.(\d+)", version)
    if not found:
        raise ToolMissingError(f"the emulator does not say which version of QEMU it is, but {version!r}.")
    number = (int(found[1]), int(found[2]))
    return next(interface for since, interface in INTERFACES if number >= since)


def build_counter(emulator: Emulator, cache: StageCache, target: Target = COUNTED) -> dict[str, bytes]:
    """Return the files PLUGIN and GUEST, which are kept in the cache.

    Args:
        emulator: decides which version of the interface the plugin has to have.
        cache: where they are kept.
        target: of the programs that are counted.

    Raises:
        ToolMissingError: when no plugin can be built for this machine, or the linker is not installed.
    """
    host = host_target()
    if host is None:
        raise ToolMissingError("instructions are counted on Linux on x86-64 or aarch64 only.")
    interface, emulation = plugin_interface(emulator.version()), target.emulation or EMULATED
    family = [f"-DPRCTL={emulation.prctl}", f'-DFAMILY_ROWS="classes_{emulation.classes}.h"']
    key = {
        "sources": files_digest([*COUNTER_SOURCES.glob("*.[ch]"), *runner_sources()]),
        "interface": interface,
        "host": host.zig_triple,
        "target": target.name,
        "tools": versions("ziglang"),
    }

    def make() -> dict[str, bytes]:
        with tempfile.TemporaryDirectory(prefix="repghost-counter-") as name:
            folder = Path(name)
            common = [*REPRODUCIBLE, *family, f"-I{COUNTER_SOURCES}", f"-I{RUNNER_SOURCES}", "-D_GNU_SOURCE"]
            plugin = ["-target", host.zig_triple, f"-DPLUGIN_INTERFACE={interface}", "-fPIC", "-fvisibility=hidden"]
            # QEMU itself has the functions that are missing.
            link = ["-shared", "-Wl,-z,undefs", "-lpthread", *(str(COUNTER_SOURCES / unit) for unit in PLUGIN_UNITS)]
            run_zig(["cc", *common, *plugin, *link, "-o", PLUGIN], cwd=folder)
            units = [str(RUNNER_SOURCES / unit) for unit in RUNNER_UNITS]
            guest = [*target.zig_target(), str(COUNTER_SOURCES / "guest.c"), *units, "-ldl", "-lpthread"]
            run_zig(["cc", *common, *guest, "-o", GUEST], cwd=folder)
            return {file: read_output(folder / file) for file in (PLUGIN, GUEST)}

    files, _ = cache.get("counter", key, make)
    return files
