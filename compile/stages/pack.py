"""The stages of a run that work on a bundle: pack it, verify it, measure it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compile.bundle.manifest import Bundle, write_bundle
from compile.bundle.vectors import Vectors, pack_vectors
from compile.link.by_form import read_beside
from compile.machine.emulator import Emulator, fetch_emulator
from compile.machine.latency import measure_latency
from compile.machine.replay import verify_bundle
from compile.stages.compile_networks import Build
from compile.stages.evaluate import Evaluation
from compile.stages.own_command import own_command
from compile.stages.progress import Progress
from compile.storage.code_key import code_digest
from compile.storage.stage_cache import Files, StageCache, versions
from compile.storage.strict_json import canonical_json, parse_strict
from compile.subject.request import Request
from compile.subject.subject import QuantizedSubject, Subject
from compile.targets.precisions import INT8
from compile.targets.table import HOST, Target, find_target
from repghost.data.names.class_names import to_lines
from repghost.errors import ToolMissingError
from repghost.terminal import shell_command

if TYPE_CHECKING:
    from calib.settings.config import QuantConfig

TOOLS = ("repghost-deploy", "apache-tvm", "ziglang", "torch", "numpy", "onnx")


@dataclass(frozen=True)
class Packed:
    """A bundle on disk, its verification and its latency."""

    folder: str  # relative to the run's folder
    build: Build
    bundle: Bundle
    verification: dict[str, Any] = field(default_factory=dict)
    latency: dict[str, Any] = field(default_factory=dict)


def bundle_folder(request: Request, build: Build) -> str:
    """Return where a build's bundle lies in the run's folder: the target's name, then the precision.

    "host" is this machine, asked for by that word or made besides.
    """
    asked_for = find_target(request.target) is build.target
    name = build.target.name if asked_for and request.target != HOST else HOST
    return f"{name}/{build.precision.name}"


def quantization_config(subject: Subject, config: QuantConfig) -> dict[str, Any]:
    """Return the settings a network was quantized with: this run's, or what the quantized file says."""
    return dict(subject.quantization["config"]) if isinstance(subject, QuantizedSubject) else config.to_dict()


def manifest_sections(build: Build, subject: Subject, config: QuantConfig, evaluation: Evaluation) -> dict[str, Any]:
    """Return everything the manifest of a bundle says, besides the list of its files."""
    info = build.info
    return {
        "abi": info["abi"],
        "model": subject.facts,
        "target": {"name": build.target.name, "triple": build.target.triple},
        "precision": info["precision"],
        "program_digest": info["program_digest"],
        "input": info["input"],
        "classes": info["classes"],
        "preprocess": subject.preprocess.to_dict(),
        "quantization": quantization_config(subject, config) if build.precision is INT8 else {},
        "variants": info["variants"],
        "layers": build.layers,
        "accuracy": dict(evaluation.record),
        "tools": versions(*TOOLS),
        **{key: info[key] for key in ("outputs", "detection") if key in info},
    }


def pack(
    path: Path, build: Build, labels: tuple[str, ...], vectors: Vectors, sections: dict[str, Any], progress: Progress
) -> Bundle:
    """Write a bundle.

    Args:
        path: its folder.
        build: the linked network.
        labels: class names in the order of the logits.
        vectors: images and expected logits.
        sections: from `manifest_sections`.
        progress: gets a line for each stage.
    """
    with progress.stage("pack"):
        form = build.target.form
        files = {
            **build.models,
            form.runner: build.runner,
            **read_beside(form),
            "labels.txt": to_lines(labels),
            "vectors.bin": pack_vectors(vectors),
        }
        bundle = write_bundle(path, files, sections)
        progress.note = f"{path}, bundle {bundle.digest[:12]}"
    return bundle


def verify(request: Request, items: Sequence[Packed], cache: StageCache, progress: Progress) -> list[Packed]:
    """Replay the vectors of every bundle, side by side; one that nothing here can run gets the command that would.

    What an emulator said of the same bundle in an earlier run is taken from the cache; this machine is asked each time.
    """
    emulators = {target.name: _emulator(request, target) for target in {item.build.target for item in items}}
    found = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        records = [
            pool.submit(_verification, request, item, emulators[item.build.target.name], cache) for item in items
        ]
        for item, record in zip(items, records, strict=True):
            with progress.stage("verify"):
                verification, note = record.result()
                progress.note = f"{item.folder}: {note}"
            found.append(replace(item, verification=verification))
    return found


def _emulator(request: Request, target: Target) -> Emulator | ToolMissingError | None:
    """Return what runs a target here, fetched where it is absent, why it cannot be had, or None for no need of one."""
    if not (request.verify and request.fetch and target.emulation) or target.runs_here:
        return None
    try:
        return fetch_emulator(request.output / "tools", target.emulation)
    except ToolMissingError as error:
        return error


def _verification(
    request: Request, item: Packed, emulator: Emulator | ToolMissingError | None, cache: StageCache
) -> tuple[dict[str, Any], str]:
    """Return the record of a bundle's verification, and what to say of it."""
    path = item.bundle.path
    command = shell_command(own_command("repghost"), "verify", path)
    if not request.verify:
        reason = "It was not asked for."
        return {"verified": False, "reason": reason, "command": command}, "not asked for"
    try:
        if isinstance(emulator, ToolMissingError):
            raise emulator
        record, cached = _replayed(item, emulator, cache) if emulator else (verify_bundle(path).to_dict(), False)
    except ToolMissingError as error:
        return {"verified": False, "reason": str(error), "command": command}, f"not verified: {error}"
    replays = [f"{it['variant']} {it['pictures']} pictures on {it['machine']}" for it in record["replays"]]
    return {"verified": True, **record}, ", ".join(replays) + (", as in an earlier run" if cached else "")


def _replayed(item: Packed, emulator: Emulator, cache: StageCache) -> tuple[dict[str, Any], bool]:
    """Return what `verify_bundle` finds under emulation, and whether the same bundle was replayed in an earlier run."""
    key = {
        "bundle": item.bundle.digest,
        "cores": {it.name: it.emulated_cpu for it in item.build.target.variants},
        "emulator": emulator.version(),
        "code": code_digest("compile.machine.replay", alone=(__name__,)),
    }

    def make() -> Files:
        return {"verification.json": canonical_json(verify_bundle(item.bundle.path, emulator=emulator).to_dict())}

    files, cached = cache.get("verify", key, make)
    return parse_strict(files["verification.json"], "the kept verification"), cached


def measure(request: Request, item: Packed, progress: Progress) -> Packed:
    """Measure the latency of a bundle; where it does not run natively, the record holds the command for a device."""
    path = item.bundle.path
    with progress.stage("measure"):
        try:
            latency = measure_latency(path, threads=request.threads)
            record = {"measured": True, **latency.to_dict()}
            progress.note = f"{item.folder}: median {latency.median_ms:.3g} ms, variant {latency.variant}"
        except ToolMissingError as error:
            command = shell_command(own_command("repghost"), "bench", item.bundle.path, "--on", "USER@BOARD")
            record = {"measured": False, "reason": str(error), "command": command}
            progress.note = f"{item.folder}: not measured, this machine does not run {item.build.target.name} code"
    return replace(item, latency=record)
