"""From objects to model.wasm, the same C and the same kernels as model.so, a WebAssembly module per instruction set.

An engine that lacks one instruction refuses the whole module, so each holds the kernels of one set.

It imports its memory and nothing else, so that threads can share one: the caller gives it and places images, scores and
scratch behind `__heap_base`. The section numbers are those of the WebAssembly core specification, 5.5.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from compile.ir.compiled_network import CompiledNetwork
from compile.link import toolchain
from compile.link.promises import API
from compile.link.zig import run_zig
from compile.targets.table import Target, Variant
from repghost.errors import UsageError

HEADER = b"\0asm\1\0\0\0"
IMPORTS, EXPORTS = 2, 7  # sections
FUNCTION, TABLE, MEMORY, GLOBAL = 0, 1, 2, 3  # kinds of imports and exports
STACK_BYTES = 2 << 20  # of one inference: the largest copy of a tile's pixels takes half of it
FOR_CALLERS = ("__heap_base", "__stack_pointer")  # where free memory begins; a thread sets a stack of its own
FUNCTIONS = "__indirect_function_table"  # a caller's pool is a function in it, and so are its tasks
FEATURES = ("-msimd128", "-mbulk-memory")


def link_module(network: CompiledNetwork, target: Target, info: dict[str, Any]) -> bytes:
    """Link the compiled steps, the weights and the functions of repghost.h into model.wasm.

    Args:
        network: what the compiler made.
        target: what it was made for.
        info: the object `rg_info` returns; ASCII after JSON encoding.

    Returns:
        The bytes of model.wasm, already checked with `check_module`.
    """
    with tempfile.TemporaryDirectory(prefix="repghost-link-") as temporary:
        folder = Path(temporary)
        objects = toolchain.write_parts(folder, network, target, info)
        units = [*toolchain.MODEL_UNITS, *toolchain.NETWORK_UNITS]
        sources = [str(toolchain.RUNNER_SOURCES / unit) for unit in units]
        features = features_of(target.variant(it.name) for it in network.variants)
        flags = ["-target", target.zig_triple, *features, *toolchain.REPRODUCIBLE, "-std=c23", "-I."]
        flags += [f"-I{toolchain.RUNNER_SOURCES}", "-ffreestanding", "-fno-builtin", "-nostdlib"]
        link = ["-Wl,--no-entry", "-Wl,--import-memory", "-Wl,--gc-sections", "-Wl,--strip-all"]
        link += ["-Wl,--export-table", "-Wl,--growable-table"]
        link += [f"-Wl,-z,stack-size={STACK_BYTES}", *(f"-Wl,--export={name}" for name in (*API, *FOR_CALLERS))]
        run_zig(["cc", *flags, *sources, "weights.c", *objects, *link, "-o", "model.wasm"], cwd=folder)
        data = toolchain.read_output(folder / "model.wasm")
    check_module(data, target)
    return data


def features_of(variants: Iterable[Variant]) -> list[str]:
    """Return what the C compiler is told of instruction sets: LLVM's "+relaxed-simd" is its "-mrelaxed-simd"."""
    flags = [flag for variant in variants for feature in variant.requires for flag in feature.mattr]
    return [*FEATURES, *(f"-m{flag.removeprefix('+')}" for flag in flags)]


def check_module(data: bytes, target: Target) -> None:
    """Check what model.wasm promises: it imports one memory, and exports the rg_* functions and two globals.

    Args:
        data: the file.
        target: what it was made for.

    Raises:
        UsageError: naming the promise that is broken.
    """
    sections = dict(read_sections(data))
    imports = list(read_names(sections.get(IMPORTS, b"\0"), pairs=True))
    if imports != [("env.memory", MEMORY)]:
        found = ", ".join(name for name, _ in imports) or "nothing"
        raise UsageError(f"model.wasm imports {found}; for {target.name} it must import env.memory alone.")
    exports = sorted(read_names(sections.get(EXPORTS, b"\0"), pairs=False))
    wanted = sorted(
        [*((name, FUNCTION) for name in API), *((name, GLOBAL) for name in FOR_CALLERS), (FUNCTIONS, TABLE)]
    )
    if exports != wanted:
        found = ", ".join(name for name, _ in exports) or "nothing"
        raise UsageError(f"model.wasm exports {found}; it must export {', '.join(name for name, _ in wanted)}.")


def check_runner(data: bytes, target: Target) -> None:
    """Accept any runner: it is the text of ours, and the digests of the bundle say so."""


def read_sections(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the content of each section.

    Raises:
        UsageError: when the file is no module or ends early.
    """
    if data[: len(HEADER)] != HEADER:
        raise UsageError("model.wasm is no WebAssembly module of version 1.")
    at = len(HEADER)
    while at < len(data):
        number, (size, at) = data[at], read_number(data, at + 1)
        if at + size > len(data):
            raise UsageError("model.wasm ends within a section; build or copy it again.")
        yield number, data[at : at + size]
        at += size


def read_names(content: bytes, pairs: bool) -> Iterator[tuple[str, int]]:
    """Yield the name and the kind of each import (`pairs` of module and name) or export of a section.

    Raises:
        UsageError: when the section ends early.
    """
    count, at = read_number(content, 0)
    for _ in range(count):
        parts = []
        for _ in range(2 if pairs else 1):
            size, at = read_number(content, at)
            parts.append(content[at : at + size].decode("utf-8", "replace"))
            at += size
        if at >= len(content):
            raise UsageError("model.wasm ends within a name; build or copy it again.")
        kind = content[at]
        yield ".".join(parts), kind
        at = _behind(content, at + 1, kind) if pairs else read_number(content, at + 1)[1]


def _behind(content: bytes, at: int, kind: int) -> int:
    """Return where the description of an import ends: a type, limits, or a global's type."""
    if kind == GLOBAL:
        return at + 2
    if kind == FUNCTION:
        return read_number(content, at)[1]
    at += kind == TABLE  # the type of its elements
    has_maximum = content[at : at + 1] != b"" and content[at] & 1
    at = read_number(content, at + 1)[1]
    return read_number(content, at)[1] if has_maximum else at


def read_number(data: bytes, at: int) -> tuple[int, int]:
    """Return an unsigned LEB128 number of at most 32 bits, and where the next byte is."""
    value = 0
    for shift in range(0, 35, 7):
        if at >= len(data):
            raise UsageError("model.wasm ends within a number; build or copy it again.")
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
    raise UsageError("model.wasm has a number of more than 32 bits; build or copy it again.")
