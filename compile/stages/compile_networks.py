"""Compile programs for every instruction set of their target with TVM, and link them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from calib.integer.program import Program
from compile.bundle.host_model import ABI, ABI_RESULTS
from compile.ir.compiled_network import CompiledNetwork, CompiledVariant
from compile.link.by_form import link_models
from compile.link.toolchain import model_sources
from compile.passes.layers import manifest_layers
from compile.storage.code_key import code_digest, files_digest
from compile.storage.files import sha256
from compile.storage.stage_cache import Files, StageCache, key_digest, versions
from compile.targets.precisions import Precision
from compile.targets.table import Target

if TYPE_CHECKING:
    from compile.codegen.kernel_compiler import KernelCompiler
    from compile.ir.memory_plan import AnyProgram
    from compile.subject.subject import Subject


@dataclass(frozen=True)
class Build:
    """One linked network: a target in a precision."""

    target: Target
    precision: Precision
    info: dict[str, Any]  # what `rg_info` says, and the bytes of the workspace
    models: dict[str, bytes]  # model.so, or what it is in the target's form: code and weights, by name
    runner: bytes  # repghost-run, or what it is there
    weight_bytes: int  # of all layouts together
    kernels: tuple[str, ...]  # one line for each step
    layers: list[dict[str, Any]]  # for the manifest, see `compile.passes.layers.manifest_layers`

    @property
    def model(self) -> bytes:
        """Code and weights; those of the plainest variant, where others have files of their own."""
        return self.models[self.target.form.model]


@dataclass(frozen=True)
class Compilation:
    """A program and what it is compiled for.

    Attributes:
        program: in the form of the precision.
        target: a row of `compile.targets.table`.
        precision: what it computes in.
        flags: of the only machine that will run it, from /proc/cpuinfo: it gets the instruction set that this machine
            uses. Without any, it gets all of the target.
    """

    program: AnyProgram
    target: Target
    precision: Precision
    flags: frozenset[str] = frozenset()

    @property
    def compiled_for(self) -> Target:
        """The target with the instruction sets that are compiled."""
        return self.target.only_used(self.flags, self.precision.element)

    def key(self) -> dict[str, Any]:
        """Return everything that can change the objects."""
        return {
            "program": self.program.digest,
            "target": asdict(self.compiled_for),
            "precision": self.precision.name,
            "code": code_digest("compile.codegen.program_to_objects", alone=(__name__,)),
            "tools": versions("apache-tvm", "numpy"),
        }


@dataclass(frozen=True)
class Effort:
    """How much was compiled, and the processor time it took."""

    kept: int  # networks an earlier run had compiled
    kernels: int = 0  # compiled now
    known_kernels: int = 0  # compiled by an earlier run for whatever network
    seconds: float = 0.0  # processor time in TVM and LLVM

    def __str__(self) -> str:
        """Describe it for the line of the stage."""
        parts = [f"{self.kernels} kernels compiled, {self.seconds:.1f} s of processor time"] if self.kernels else []
        parts += [f"{self.known_kernels} kernels as in an earlier run"] if self.known_kernels else []
        parts += [f"{self.kept} networks as in an earlier run"] if self.kept else []
        return ", ".join(parts)


def silent(line: str) -> None:
    """Print nothing."""


def compile_all(
    wanted: list[Compilation], cache: StageCache, jobs: int, say: Callable[[str], None] = silent
) -> tuple[list[CompiledNetwork], Effort]:
    """Compile with TVM what earlier runs have not compiled; the kernels are compiled side by side.

    Args:
        wanted: programs and targets.
        cache: where the objects are kept.
        jobs: how many threads compile.
        say: is given one line for each network that is ready.

    Returns:
        The networks in the order of `wanted`, and what they cost.
    """
    absent = [item for item in wanted if not cache.has("compile", item.key())]
    made: dict[str, Files] = {}
    effort = Effort(kept=len(wanted) - len(absent))
    if absent:
        from compile.codegen.kernel_compiler import KernelCompiler  # loads TVM

        with KernelCompiler(jobs) as compiler:
            for number, (item, network) in enumerate(zip(absent, compile_absent(absent, compiler), strict=True), 1):
                made[key_digest(item.key())] = pack_network(network)
                names = ", ".join(variant.name for variant in network.variants)
                say(f"  compiled {item.target.name} {item.precision.name} for {names}, {number} of {len(absent)}")
        effort = Effort(effort.kept, compiler.made, compiler.found, compiler.seconds)
    networks = []
    for item in wanted:
        files, _ = cache.get("compile", item.key(), partial(made.__getitem__, key_digest(item.key())))
        networks.append(unpack_network(files))
    return networks, effort


def compile_absent(items: list[Compilation], compiler: KernelCompiler) -> Iterator[CompiledNetwork]:
    """Compile each item; yields in their order. While the kernels of one are compiled the next ones are scheduled."""
    from compile.codegen import program_to_objects

    def compiled(item: Compilation) -> CompiledNetwork:
        return program_to_objects.compile_program(item.program, item.compiled_for, compiler)

    with ThreadPoolExecutor(len(items)) as pool:
        yield from pool.map(compiled, items)


def pack_network(network: CompiledNetwork) -> Files:
    """Return a compiled network as files; `unpack_network` gives it back."""
    blobs = sorted(network.blobs)
    index = {
        "variants": [[item.name, item.step_symbol, item.weights, item.kernels] for item in network.variants],
        "blobs": blobs,
        "units": list(network.units),
        "workspace_bytes": network.workspace_bytes,
        "kernels": list(network.kernels),
    }
    files = {"network.json": json.dumps(index).encode()}
    files.update({f"variant_{item.name}.o": item.object_bytes for item in network.variants})
    files.update({f"blob_{number}.bin": network.blobs[name] for number, name in enumerate(blobs)})
    return files


def unpack_network(files: Files) -> CompiledNetwork:
    """Return the network that `pack_network` wrote."""
    index = json.loads(files["network.json"])
    variants = [
        CompiledVariant(name, files[f"variant_{name}.o"], symbol, weights, tuple(kernels))
        for name, symbol, weights, kernels in index["variants"]
    ]
    return CompiledNetwork(
        variants=tuple(variants),
        blobs={name: files[f"blob_{number}.bin"] for number, name in enumerate(index["blobs"])},
        units=tuple(index["units"]),
        workspace_bytes=index["workspace_bytes"],
        kernels=tuple(index["kernels"]),
    )


def model_info(subject: Subject, compilation: Compilation, network: CompiledNetwork) -> dict[str, Any]:
    """Return the object that `rg_info` gives on the device."""
    program = compilation.program
    results: dict[str, Any] = {}
    if isinstance(program, Program) and program.outputs:
        results["outputs"] = [asdict(output) for output in program.outputs]
        if subject.detection is not None:
            results["detection"] = dict(subject.detection)
    return {
        "abi": ABI_RESULTS if results else ABI,
        **results,
        "model": subject.name,
        "target": compilation.target.name,
        "precision": compilation.precision.name,
        "program_digest": program.digest,
        "input": {"height": program.height, "width": program.width, "channels": program.channels},
        "classes": program.classes,
        "preprocess": subject.preprocess.to_dict(),
        "variants": [variant.name for variant in network.variants],
    }


def link(
    network: CompiledNetwork, compilation: Compilation, subject: Subject, runner: Future[bytes], cache: StageCache
) -> Build:
    """Link model.so and put the runner beside it.

    Args:
        network: from `compile_all`.
        compilation: what it was compiled from and for.
        subject: gives the model's name.
        runner: of the target, from `compile.link.stored_runner.start_runners`.
        cache: keeps model.so.
    """
    target, info = compilation.target, model_info(subject, compilation, network)
    key = {
        "target": asdict(target),
        "code": code_digest("compile.link.by_form", alone=(__name__,)),
        "sources": files_digest(model_sources()),
        "tools": versions("ziglang"),
    }
    parts = {name: sha256(data) for name, data in pack_network(network).items()}
    models, _ = cache.get("link", {**key, "network": parts, "info": info}, lambda: link_models(network, target, info))
    return Build(
        target=target,
        precision=compilation.precision,
        info={**info, "workspace_bytes": network.workspace_bytes},
        models=models,
        runner=runner.result(),
        weight_bytes=sum(len(blob) for blob in network.blobs.values()),
        kernels=network.kernels,
        layers=manifest_layers(compilation.program, {item.name: item.kernels for item in network.variants}),
    )
