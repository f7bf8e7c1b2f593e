"""From objects to model.so and repghost-run: `zig cc` as the linker, and the checks of what it wrote.

The results depend on nothing but the inputs: no build ids, no paths, no dates; the same bytes on every machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from compile.archive import is_archive
from compile.elf import MACHINE_NAMES, ElfFile, read_elf
from compile.network import BLOB_ALIGNMENT, CompiledNetwork, CompiledVariant
from compile.targets import Target
from repghost.errors import ToolMissingError, UsageError

RUNNER_SOURCES = Path(__file__).parent / "runner"
MODEL_UNITS = ("hwcaps.c", "memory.c", "resample.c")
NETWORK_UNITS = ("entry.c", "prepare.c")  # those that rg_config.h ties to one network
RUNNER_UNITS = (
    "repghost_run.c", "bundle.c", "classify.c", "image.c", "json.c", "machine.c", "measure.c", "model.c",
    "orientation.c", "pool.c", "sha256.c", "text.c", "vectors.c", "watch.c",
)  # fmt: skip
DECODER = "decode.c"  # with Wuffs in it, which takes longer to compile than all of the others
API = (
    "rg_abi", "rg_infer", "rg_infer_parallel", "rg_info", "rg_prepare", "rg_prepare_bytes", "rg_select", "rg_variant",
    "rg_workspace_bytes",
)  # fmt: skip
PROFILING_API = ("rg_run_step", "rg_steps")  # besides, in a build whose steps can be timed one by one
MAY_BE_ABSENT = {"getauxval"}  # weak: model.so then runs its plainest variant
SMALLEST_PAGE = 16 * 1024  # bytes; Android and Apple kernels use 16 KB pages
LARGEST_PAGE = 64 * 1024  # bytes; some server kernels use 64 KB pages, so segments are aligned for all of them
OLDEST_GLIBC = (2, 17)  # CentOS 7, 2012; older than every 64-bit board's system

# zig turns on the undefined-behaviour sanitizer unless told not to; -g0 and the prefix map keep paths out.
REPRODUCIBLE = ("-O2", "-g0", "-std=c11", "-Wall", "-Wextra", "-Werror", "-fno-sanitize=all", "-fno-ident")
DYNAMIC, STATIC = ("-pie", "-ldl", "-lpthread", "-lm"), ("-static",)  # forms of the runner
LINK_FLAGS = ("-Wl,--hash-style=both", "-Wl,--build-id=none", "-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack", "-s")


def run_zig(arguments: Sequence[str], cwd: Path | None = None) -> str:
    """Run zig from the `ziglang` package and return what it printed.

    Raises:
        ToolMissingError: when the package is not installed.
        UsageError: when zig reports an error; the message holds its last lines.
    """
    command = [sys.executable, "-m", "ziglang", *arguments]
    with tempfile.TemporaryDirectory(prefix="repghost-zig-") as local_cache:
        environment = {**os.environ, "ZIG_LOCAL_CACHE_DIR": local_cache}
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return done.stdout
    if "No module named ziglang" in done.stderr:
        raise ToolMissingError("the linker is not installed; it comes from PyPI: pip install ziglang")
    tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-20:])
    raise UsageError(f"zig {arguments[0]} failed with exit code {done.returncode}:\n{tail}")


def zig_version() -> str:
    """Return the version of the linker, which belongs to everything it makes."""
    return run_zig(["version"]).strip()


def _compile_flags(folder: Path, triple: str) -> list[str]:
    return ["-target", triple, *REPRODUCIBLE, f"-ffile-prefix-map={folder}=.", f"-I{RUNNER_SOURCES}"]


def _c_string(text: str) -> str:
    """Return printable ASCII `text` as a C string literal."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def model_config(network: CompiledNetwork, target: Target, info: dict[str, Any], profiling: bool = False) -> str:
    """Return rg_config.h, the header that ties entry.c to one network.

    Args:
        network: what the compiler made.
        target: what it was made for.
        info: the object `rg_info` returns; its "preprocess", if it has one, is what `rg_prepare` does.
        profiling: whether the steps can be run one by one.
    """
    preprocess = info.get("preprocess") or {"size": 1, "resize": 0, "interpolation": "bilinear"}
    blobs = {name: f"rg_weights_{index}" for index, name in enumerate(sorted(network.blobs))}
    rows = []
    for variant in network.variants:
        needs = " | ".join(f"RG_CPU_{name}" for name in target.variant(variant.name).requires) or "0"
        rows.append(f"  X({variant.name}, {variant.step_symbol}, {blobs[variant.weights]}, {needs})")
    text = json.dumps(info, sort_keys=True, separators=(",", ":"))
    return "\n".join(
        [
            *(["#define RG_PROFILING"] if profiling else []),
            f"#define RG_STEPS {len(network.units)}",
            f"#define RG_UNITS {', '.join(str(count) for count in network.units)}",
            f"#define RG_WORKSPACE_BYTES {network.workspace_bytes}",
            f"#define RG_SIDE {preprocess['size']}",
            f"#define RG_RESIZE {preprocess['resize']}",
            f"#define RG_CUBIC {int(preprocess['interpolation'] == 'bicubic')}",
            f"#define RG_INFO {_c_string(text)}",
            "#define RG_VARIANTS(X) \\\n" + " \\\n".join(rows),
            "",
        ]
    )


def _weights_assembly(names: Sequence[str]) -> str:
    lines = ['.section .note.GNU-stack,"",%progbits', '.section .rodata.weights,"a",%progbits']
    for index, _ in enumerate(names):
        symbol = f"rg_weights_{index}"
        lines += [f".balign {BLOB_ALIGNMENT}", f".globl {symbol}", f".hidden {symbol}", f".type {symbol}, %object"]
        lines += [f"{symbol}:", f'.incbin "weights_{index}.bin"', f".size {symbol}, . - {symbol}"]
    return "\n".join(lines) + "\n"


def _object_name(variant: CompiledVariant) -> str:
    return f"variant_{variant.name}.{'a' if is_archive(variant.object_bytes) else 'o'}"


def link_model(network: CompiledNetwork, target: Target, info: dict[str, Any], profiling: bool = False) -> bytes:
    """Link the compiled steps, the weights and the entry functions into model.so.

    Args:
        network: what the compiler made.
        target: what it was made for.
        info: the object `rg_info` returns; ASCII after JSON encoding.
        profiling: export `PROFILING_API` too; such a file is for measuring and is never shipped.

    Returns:
        The bytes of model.so, already checked with `check_model`.
    """
    names = sorted(network.blobs)
    exports = tuple(sorted(API + PROFILING_API)) if profiling else API
    with tempfile.TemporaryDirectory(prefix="repghost-link-") as temporary:
        folder = Path(temporary)
        (folder / "rg_config.h").write_text(model_config(network, target, info, profiling))
        (folder / "weights.S").write_text(_weights_assembly(names))
        for index, blob in enumerate(names):
            (folder / f"weights_{index}.bin").write_bytes(network.blobs[blob])
        for variant in network.variants:
            (folder / _object_name(variant)).write_bytes(variant.object_bytes)
        objects = []
        for unit in [*(RUNNER_SOURCES / unit for unit in NETWORK_UNITS), folder / "weights.S"]:
            objects.append(f"{unit.stem}.o")
            run_zig(["cc", *_model_flags(folder, target), "-c", str(unit), "-o", objects[-1]], cwd=folder)
        for name in MODEL_UNITS:
            objects.append(f"{Path(name).stem}.o")
            (folder / objects[-1]).write_bytes(_model_object(target, name))
        objects += [_object_name(variant) for variant in network.variants]
        # The objects of the variants export their step function; the list keeps it private to model.so.
        (folder / "exports.map").write_text(f"{{ global: {'; '.join(exports)}; local: *; }};\n")
        link = [
            "-target",
            target.zig_triple,
            "-shared",
            "-nostdlib",
            *LINK_FLAGS,
            "-Wl,--gc-sections",  # TVM writes the same two helpers into every object
            f"-Wl,-z,max-page-size={LARGEST_PAGE}",
        ]
        link += ["-Wl,-soname,model.so", "-Wl,--version-script=exports.map"]
        run_zig(["cc", *link, *objects, "-o", "model.so"], cwd=folder)
        data = _output(folder / "model.so")
    check_model(data, target, exports)
    return data


def _model_flags(folder: Path, target: Target) -> list[str]:
    flags = [*_compile_flags(folder, target.zig_triple), "-ffreestanding", "-fno-builtin", "-fvisibility=hidden"]
    return [*flags, "-fPIC", "-fno-stack-protector", "-I."]


@cache
def _model_object(target: Target, unit: str) -> bytes:
    """Compile a unit of model.so that is the same for every network, once for each target in a process."""
    with tempfile.TemporaryDirectory(prefix="repghost-unit-") as name:
        source = str(RUNNER_SOURCES / unit)
        run_zig(["cc", *_model_flags(Path(name), target), "-c", source, "-o", "unit.o"], cwd=Path(name))
        return _output(Path(name) / "unit.o")


def build_runner(target: Target) -> bytes:
    """Compile repghost-run, the program that checks, verifies and measures a bundle on the device itself."""
    with tempfile.TemporaryDirectory(prefix="repghost-runner-") as name:
        folder = Path(name)
        (folder / "decode.o").write_bytes(_decoder_object(target))
        loader, form = ("loader_own.c", STATIC) if target.runner_triple else ("loader_system.c", DYNAMIC)
        units = [str(RUNNER_SOURCES / unit) for unit in (*RUNNER_UNITS, loader)]
        link = [*form, *LINK_FLAGS, "-Wl,--gc-sections", f"-Wl,-z,max-page-size={LARGEST_PAGE}"]
        run_zig(["cc", *_runner_flags(folder, target), *units, "decode.o", *link, "-o", "repghost-run"], cwd=folder)
        data = _output(folder / "repghost-run")
    check_runner(data, target)
    return data


def _runner_flags(folder: Path, target: Target) -> list[str]:
    flags = [*_compile_flags(folder, target.runner_triple or target.zig_triple), "-D_GNU_SOURCE"]
    flags += ["-fstack-protector-strong", "-ffunction-sections", "-fdata-sections"]
    return flags if target.runner_triple else [*flags, "-fPIE"]


@cache
def _decoder_object(target: Target) -> bytes:
    """Compile the decoders of pictures, once for each target in a process."""
    with tempfile.TemporaryDirectory(prefix="repghost-decoder-") as name:
        source = str(RUNNER_SOURCES / DECODER)
        run_zig(["cc", *_runner_flags(Path(name), target), "-c", source, "-o", "decode.o"], cwd=Path(name))
        return _output(Path(name) / "decode.o")


def _output(path: Path) -> bytes:
    """Return what the linker wrote; a linker that reports success and writes nothing is caught here."""
    if not path.is_file() or path.stat().st_size == 0:
        raise UsageError(
            f"the linker reported success but wrote no {path.name}; check the free space of {path.parent}."
        )
    return path.read_bytes()


def _check_common(elf: ElfFile, target: Target, name: str) -> None:
    if elf.machine != target.elf_machine:
        found = MACHINE_NAMES.get(elf.machine, str(elf.machine))
        raise UsageError(f"{name} is for the machine {found}, but the target {target.name} was asked for.")
    small = [alignment for alignment in elf.alignments if alignment % SMALLEST_PAGE]
    if small or not elf.alignments:
        raise UsageError(f"{name} has segments aligned to {small} bytes; kernels with 16 KB pages cannot load it.")
    if elf.executable_stack or elf.writable_code:
        raise UsageError(f"{name} asks for an executable stack or writable code; hardened kernels refuse that.")


def check_model(data: bytes, target: Target, exports: tuple[str, ...] = API) -> ElfFile:
    """Check what model.so promises: machine, no libraries, exactly the rg_* functions, nothing that runs while loading.

    Args:
        data: the file.
        target: what it was made for.
        exports: what it must export, in order.

    Raises:
        UsageError: naming the promise that is broken.
    """
    elf = read_elf(data)
    _check_common(elf, target, "model.so")
    if elf.needed:
        raise UsageError(f"model.so needs the libraries {', '.join(elf.needed)}; it must need none.")
    foreign = [*elf.undefined, *(name for name in elf.undefined_weak if name not in MAY_BE_ABSENT)]
    if foreign:
        raise UsageError(f"model.so calls functions it does not hold: {', '.join(foreign)}.")
    if elf.exported != exports:
        found, wanted = ", ".join(elf.exported) or "nothing", ", ".join(exports)
        raise UsageError(f"model.so exports {found}; it must export {wanted}.")
    if elf.initializers:
        raise UsageError("model.so runs code while it is loaded; it must not.")
    return elf


def check_runner(data: bytes, target: Target) -> ElfFile:
    """Check that repghost-run is for the target, and starts on every glibc since 2.17 or, static, on every kernel.

    Raises:
        UsageError: naming the promise that is broken.
    """
    elf = read_elf(data)
    _check_common(elf, target, "repghost-run")
    if target.runner_triple and (elf.needed or elf.interpreter):
        needed = ", ".join(elf.needed) or "a loader"
        raise UsageError(f"repghost-run for {target.name} has to be static, but it needs {needed} of the system.")
    if elf.newest_glibc > OLDEST_GLIBC:
        newest, oldest = (".".join(str(part) for part in version) for version in (elf.newest_glibc, OLDEST_GLIBC))
        raise UsageError(f"repghost-run needs glibc {newest}; older boards have {oldest}.")
    return elf
