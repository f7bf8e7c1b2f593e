"""From objects to model.so and repghost-run, with `zig cc` as the compiler of C and the linker.

The results depend on nothing but the inputs: no build ids, no paths, no dates; the same bytes on every machine.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from compile.codegen.object_archive import is_archive
from compile.ir.compiled_network import BLOB_ALIGNMENT, CompiledNetwork, CompiledVariant
from compile.link.promises import API, PROFILING_API, check_model, check_runner
from compile.link.zig import run_zig
from compile.targets.table import Target
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError
from repghost.sizes import sides

RUNNER_SOURCES = Path(__file__).parent.parent / "runner"
MODEL_UNITS = ("library/hwcaps.c", "library/memory.c", "library/resample.c")
NETWORK_UNITS = ("library/entry.c", "library/prepare.c")  # those that rg_config.h ties to one network
RUNNER_UNITS = (
    "repghost_run.c", "bundle/bundle.c", "bundle/json.c", "bundle/sha256.c", "bundle/text.c", "bundle/vectors.c",
    "commands/camera.c", "commands/classify.c", "commands/detect.c", "commands/machine.c", "commands/measure.c",
    "commands/stopping.c", "commands/stream.c", "commands/watch.c", "images/draw.c", "images/image.c",
    "images/orientation.c", "inference/boxes.c", "inference/model.c", "inference/pool.c",
)  # fmt: skip
DECODER = "images/decode.c"  # with Wuffs in it, which takes longer to compile than all of the others
PREPARED = ("HEIGHT", "WIDTH", "CHANNELS", "RESIZE_HEIGHT", "RESIZE_WIDTH")
LARGEST_PAGE = 64 * 1024  # bytes; some server kernels use 64 KB pages, so segments are aligned for all of them

# zig turns on the undefined-behaviour sanitizer unless told not to; -g0 and the prefix map keep paths out.
REPRODUCIBLE = ("-O2", "-g0", "-std=c11", "-Wall", "-Wextra", "-Werror", "-fno-sanitize=all", "-fno-ident")
DYNAMIC, STATIC = ("-pie", "-ldl", "-lpthread", "-lm"), ("-static",)  # forms of the runner
LINK_FLAGS = ("-Wl,--hash-style=both", "-Wl,--build-id=none", "-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack", "-s")


def _compile_flags(folder: Path, target: Target, triple: str = "") -> list[str]:
    return [*target.zig_target(triple), *REPRODUCIBLE, f"-ffile-prefix-map={folder}=.", f"-I{RUNNER_SOURCES}"]


def model_sources() -> list[Path]:
    """Return the C sources of model.so, and every header they may include."""
    units = (RUNNER_SOURCES / unit for unit in (*MODEL_UNITS, *NETWORK_UNITS))
    return [*units, RUNNER_SOURCES / "repghost.h", *(RUNNER_SOURCES / "library").glob("*.h")]


def runner_sources() -> list[Path]:
    """Return every C source and header of model.so and of repghost-run."""
    return [path for path in RUNNER_SOURCES.rglob("*.[ch]") if path.parent.name != "example"]


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
    blobs = {name: f"rg_weights_{index}" for index, name in enumerate(sorted(network.blobs))}
    rows = []
    for variant in network.variants:
        needs = " | ".join(feature.macro for feature in target.variant(variant.name).requires) or "0"
        rows.append(f"  X({variant.name}, {variant.step_symbol}, {blobs[variant.weights]}, {needs})")
    text = json.dumps(info, sort_keys=True, separators=(",", ":"))
    return "\n".join(
        [
            *(["#define RG_PROFILING"] if profiling else []),
            f"#define RG_STEPS {len(network.units)}",
            f"#define RG_UNITS {', '.join(str(count) for count in network.units)}",
            f"#define RG_WORKSPACE_BYTES {network.workspace_bytes}",
            *preprocess_config(info.get("preprocess")),
            f"#define RG_INFO {_c_string(text)}",
            f"#define RG_NETWORK_ABI {info.get('abi', 'RG_ABI')}",
            "#define RG_VARIANTS(X) \\\n" + " \\\n".join(rows),
            "",
        ]
    )


def preprocess_config(values: dict[str, Any] | None) -> list[str]:
    """Return the lines about `rg_prepare`; without a Preprocess there is none."""
    if values is None:
        return ["#define RG_RULE RG_NOT_KNOWN", *(f"#define RG_{name} 1" for name in PREPARED), "#define RG_CUBIC 0"]
    preprocess = Preprocess.from_dict(values)
    rule = "RG_SQUASH" if preprocess.squash else "RG_SHORT_SIDE" if isinstance(preprocess.resize, int) else "RG_COVER"
    numbers = (*preprocess.shape, *sides(preprocess.resize))
    return [
        f"#define RG_RULE {rule}",
        *(f"#define RG_{name} {number}" for name, number in zip(PREPARED, numbers, strict=True)),
        f"#define RG_CUBIC {int(preprocess.interpolation == 'bicubic')}",
    ]


def _weights_assembly(names: Sequence[str]) -> str:
    lines = ['.section .note.GNU-stack,"",%progbits', '.section .rodata.weights,"a",%progbits']
    for index, _ in enumerate(names):
        symbol = f"rg_weights_{index}"
        lines += [f".balign {BLOB_ALIGNMENT}", f".globl {symbol}", f".hidden {symbol}", f".type {symbol}, %object"]
        lines += [f"{symbol}:", f'.incbin "weights_{index}.bin"', f".size {symbol}, . - {symbol}"]
    return "\n".join(lines) + "\n"


def object_name(variant: CompiledVariant) -> str:
    """Return the name of the file a linker is given the objects of a variant in."""
    return f"variant_{variant.name}.{'a' if is_archive(variant.object_bytes) else 'o'}"


def write_parts(folder: Path, network: CompiledNetwork, target: Target, info: dict[str, Any]) -> list[str]:
    """Write rg_config.h, weights.c and the compiled steps into a folder and return the names of the latter."""
    (folder / "rg_config.h").write_text(model_config(network, target, info))
    for number, name in enumerate(sorted(network.blobs)):
        (folder / f"weights_{number}.bin").write_bytes(network.blobs[name])
    (folder / "weights.c").write_text(_weights_source(len(network.blobs)))
    objects = {object_name(variant): variant.object_bytes for variant in network.variants}
    for name, content in objects.items():
        (folder / name).write_bytes(content)
    return list(objects)


def _weights_source(blobs: int) -> str:
    lines = ["#include <stdint.h>"]
    for number in range(blobs):
        lines += [f"_Alignas({BLOB_ALIGNMENT}) const int8_t rg_weights_{number}[] = {{"]
        lines += [f'#embed "weights_{number}.bin"', "};"]
    return "\n".join(lines) + "\n"


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
            (folder / object_name(variant)).write_bytes(variant.object_bytes)
        objects = []
        for unit in [*(RUNNER_SOURCES / unit for unit in NETWORK_UNITS), folder / "weights.S"]:
            objects.append(f"{unit.stem}.o")
            run_zig(["cc", *_model_flags(folder, target), "-c", str(unit), "-o", objects[-1]], cwd=folder)
        for name in MODEL_UNITS:
            objects.append(f"{Path(name).stem}.o")
            (folder / objects[-1]).write_bytes(_model_object(target, name))
        objects += [object_name(variant) for variant in network.variants]
        # The objects of the variants export their step function; the list keeps it private to model.so.
        (folder / "exports.map").write_text(f"{{ global: {'; '.join(exports)}; local: *; }};\n")
        link = [
            *target.zig_target(),
            "-shared",
            "-nostdlib",
            *target.zig_runtime,
            *LINK_FLAGS,
            "-Wl,--gc-sections",  # TVM puts the same two helpers into every object
            f"-Wl,-z,max-page-size={LARGEST_PAGE}",
        ]
        link += ["-Wl,-soname,model.so", "-Wl,--version-script=exports.map"]
        run_zig(["cc", *link, *objects, "-o", "model.so"], cwd=folder)
        data = read_output(folder / "model.so")
    check_model(data, target, exports)
    return data


def _model_flags(folder: Path, target: Target) -> list[str]:
    flags = [*_compile_flags(folder, target), "-ffreestanding", "-fno-builtin", "-fvisibility=hidden"]
    return [*flags, "-fPIC", "-fno-stack-protector", "-I."]


@cache
def _model_object(target: Target, unit: str) -> bytes:
    """Compile a unit of model.so that is the same for every network, once for each target in a process."""
    with tempfile.TemporaryDirectory(prefix="repghost-unit-") as name:
        source = str(RUNNER_SOURCES / unit)
        run_zig(["cc", *_model_flags(Path(name), target), "-c", source, "-o", "unit.o"], cwd=Path(name))
        return read_output(Path(name) / "unit.o")


def build_runner(target: Target) -> bytes:
    """Compile repghost-run, the program that checks, verifies and measures a bundle on the device itself."""
    with tempfile.TemporaryDirectory(prefix="repghost-runner-") as name:
        folder = Path(name)
        (folder / "decode.o").write_bytes(_decoder_object(target))
        loader, form = ("loader_own.c", STATIC) if target.runner_triple else ("loader_system.c", DYNAMIC)
        units = [str(RUNNER_SOURCES / unit) for unit in (*RUNNER_UNITS, f"inference/{loader}")]
        link = [*form, *LINK_FLAGS, "-Wl,--gc-sections", f"-Wl,-z,max-page-size={LARGEST_PAGE}"]
        run_zig(["cc", *_runner_flags(folder, target), *units, "decode.o", *link, "-o", "repghost-run"], cwd=folder)
        data = read_output(folder / "repghost-run")
    check_runner(data, target)
    return data


def _runner_flags(folder: Path, target: Target) -> list[str]:
    flags = [*_compile_flags(folder, target, target.runner_triple), "-D_GNU_SOURCE"]
    flags += ["-fstack-protector-strong", "-ffunction-sections", "-fdata-sections"]
    return flags if target.runner_triple else [*flags, "-fPIE"]


@cache
def _decoder_object(target: Target) -> bytes:
    """Compile the decoders of images, once for each target in a process."""
    with tempfile.TemporaryDirectory(prefix="repghost-decoder-") as name:
        source = str(RUNNER_SOURCES / DECODER)
        run_zig(["cc", *_runner_flags(Path(name), target), "-c", source, "-o", "decode.o"], cwd=Path(name))
        return read_output(Path(name) / "decode.o")


def read_output(path: Path) -> bytes:
    """Return the content of a file that the linker wrote.

    Raises:
        UsageError: when the linker reported success and wrote nothing, e.g. on a full disk.
    """
    if not path.is_file() or path.stat().st_size == 0:
        raise UsageError(
            f"the linker reported success but wrote no {path.name}; check the free space of {path.parent}."
        )
    return path.read_bytes()
