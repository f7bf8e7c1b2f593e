"""From a program to a linked network: compile every instruction set with TVM, merge them, link."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from compile.bundle import sha256
from compile.cache import Files, StageCache, code_digest, key_digest, versions
from compile.layers import manifest_layers
from compile.load import ABI
from compile.network import CompiledNetwork, CompiledVariant
from compile.precisions import Precision
from compile.targets import Target
from compile.toolchain import build_runner, link_model
from repghost.errors import RepGhostError

if TYPE_CHECKING:
    from compile.layout import AnyProgram
    from compile.subject import Subject


@dataclass(frozen=True)
class Build:
    """One linked network: a target in a precision."""

    target: Target
    precision: Precision
    info: dict[str, Any]  # what `rg_info` says, and the bytes of the workspace
    model: bytes  # model.so
    runner: bytes  # repghost-run
    weight_bytes: int  # of all layouts together
    kernels: tuple[str, ...]  # one line for each step
    layers: list[dict[str, Any]]  # for the manifest, see `compile.layers.manifest_layers`


@dataclass(frozen=True)
class Compilation:
    """A program and what it is compiled for."""

    program: AnyProgram
    target: Target
    precision: Precision

    def key(self) -> dict[str, Any]:
        """Return everything that can change the objects."""
        return {
            "program": self.program.digest,
            "target": asdict(self.target),
            "precision": self.precision.name,
            "code": code_digest("repghost", "calib", "compile"),
            "tools": versions("apache-tvm", "numpy"),
        }


def silent(line: str) -> None:
    """Say nothing."""


def compile_all(
    wanted: list[Compilation], cache: StageCache, jobs: int, say: Callable[[str], None] = silent
) -> tuple[list[CompiledNetwork], int]:
    """Compile with TVM what earlier runs have not compiled; the instruction sets are compiled side by side.

    Args:
        wanted: programs and targets.
        cache: where the objects are kept.
        jobs: how many processes; 1 compiles in this one.
        say: is given one line for each instruction set that is ready.

    Returns:
        The networks in the order of `wanted`, and how many were there already.
    """
    alone = [
        (index, replace(item, target=replace(item.target, variants=(variant,))))
        for index, item in enumerate(wanted)
        for variant in item.target.variants_for(item.precision.element)
    ]
    absent = [item for _, item in alone if not cache.has("compile", item.key())]
    made: dict[str, Files] = {}
    for number, (item, files) in enumerate(zip(absent, compile_side_by_side(absent, jobs), strict=True), 1):
        made[key_digest(item.key())] = files
        name = f"{item.target.name} {item.precision.name} {item.target.variants[0].name}"
        say(f"  compiled {name}, {number} of {len(absent)}")
    parts: list[list[CompiledNetwork]] = [[] for _ in wanted]
    for index, item in alone:
        files, _ = cache.get("compile", item.key(), partial(made.__getitem__, key_digest(item.key())))
        parts[index].append(unpack_network(files))
    return [merge_variants(networks) for networks in parts], len(alone) - len(absent)


def compile_side_by_side(items: list[Compilation], jobs: int) -> Iterator[Files]:
    """Compile each item, in as many processes as there are jobs; yields in their order."""
    if jobs == 1 or len(items) < 2:
        yield from (compile_one(item.program, item.target) for item in items)
        return
    # A fresh interpreter per worker: TVM starts threads, which a forked process would lose.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(items)), mp_context=context) as pool:
        yield from pool.map(compile_one, [item.program for item in items], [item.target for item in items])


def compile_one(program: AnyProgram, target: Target) -> Files:
    """Compile a program for a target, in this process."""
    from compile import build

    return pack_network(build.compile_program(program, target))


def merge_variants(networks: list[CompiledNetwork]) -> CompiledNetwork:
    """Return one network with the variants of several, which have to agree on everything the runner sees.

    Raises:
        RepGhostError: when they do not.
    """
    first = networks[0]
    for other in networks[1:]:
        if (other.units, other.workspace_bytes) != (first.units, first.workspace_bytes):
            names = [network.variants[0].name for network in (first, other)]
            raise RepGhostError(f"the variants {names} cut the network into different steps; please report it.")
    blobs: dict[str, bytes] = {}
    variants = []
    for network in networks:
        for variant in network.variants:
            # Equal layouts are stored once, whatever their name is.
            name = f"weights_{sha256(network.blobs[variant.weights])[:16]}"
            blobs[name] = network.blobs[variant.weights]
            variants.append(replace(variant, weights=name))
    return CompiledNetwork(tuple(variants), blobs, first.units, first.workspace_bytes, networks[-1].kernels)


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
    return {
        "abi": ABI,
        "model": subject.name,
        "target": compilation.target.name,
        "precision": compilation.precision.name,
        "program_digest": program.digest,
        "input": {"height": program.height, "width": program.width, "channels": 3},
        "classes": program.classes,
        "preprocess": subject.preprocess.to_dict(),
        "variants": [variant.name for variant in network.variants],
    }


def link(network: CompiledNetwork, compilation: Compilation, subject: Subject, cache: StageCache) -> Build:
    """Link model.so and the runner.

    Args:
        network: from `compile_all`.
        compilation: what it was compiled from and for.
        subject: gives the model's name.
        cache: keeps both; the runner is the same for every network.
    """
    target, info = compilation.target, model_info(subject, compilation, network)
    key = {"target": asdict(target), "code": code_digest("compile"), "tools": versions("ziglang")}
    runner, _ = cache.get("runner", key, lambda: {"repghost-run": build_runner(target)})
    parts = {name: sha256(data) for name, data in pack_network(network).items()}
    model, _ = cache.get(
        "link", {**key, "network": parts, "info": info}, lambda: {"model.so": link_model(network, target, info)}
    )
    return Build(
        target=target,
        precision=compilation.precision,
        info={**info, "workspace_bytes": network.workspace_bytes},
        model=model["model.so"],
        runner=runner["repghost-run"],
        weight_bytes=sum(len(blob) for blob in network.blobs.values()),
        kernels=network.kernels,
        layers=manifest_layers(compilation.program, {item.name: item.kernels for item in network.variants}),
    )
