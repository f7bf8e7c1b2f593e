"""The stages of a run that make files: quantize, expect, build. Each is a function from values to values."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compile.bundle import sha256
from compile.cache import ROOT, Files, StageCache, code_digest, versions
from compile.network import CompiledNetwork, CompiledVariant
from compile.precisions import Precision
from compile.subject import Pictures, Subject
from compile.targets import Target
from compile.toolchain import build_runner, link_model
from compile.vectors import Vectors, unpack_vectors
from repghost.errors import IntegrityError

if TYPE_CHECKING:
    from calib.config import QuantConfig
    from calib.program import Program
    from repghost.model import RepGhostNet

VECTOR_BYTES = 1_300_000  # of recorded pictures in a bundle; half of what the weights of the smallest network take
VECTOR_LIMITS = (8, 100)  # pictures
TOOLS = ("repghost-deploy", "apache-tvm", "ziglang", "torch", "numpy", "onnx")


@dataclass(frozen=True)
class Build:
    """One linked network: a target in a precision."""

    target: Target
    precision: Precision
    model: bytes  # model.so
    runner: bytes  # repghost-run
    variants: tuple[str, ...]
    weight_bytes: int  # of all layouts together
    kernels: tuple[str, ...]


def quantize(
    subject: Subject, fused: RepGhostNet, config: QuantConfig, cache: StageCache, on_batch: Callable[[int], None]
) -> tuple[bytes, bool]:
    """Return the QDQ file of the fused network, and whether it was in the cache.

    Args:
        subject: labels, Preprocess and calibration pictures.
        fused: the network without batch norms.
        config: how to quantize.
        cache: where the file is kept.
        on_batch: told how many calibration pictures each batch had.
    """
    from calib.pipeline import Source, quantize_model
    from calib.qdq import serialize

    key = {
        "weights": subject.digest,
        "preprocess": subject.preprocess.to_dict(),
        "labels": list(subject.labels),
        "config": config.to_dict(),
        "pictures": subject.calibration.digest,
        "origin": dict(subject.calibration.origin),
        "code": code_digest("repghost", "calib"),
        "tools": versions("torch", "numpy", "onnx"),
    }

    def make() -> Files:
        source = Source(subject.labels, subject.digest, subject.calibration.origin)
        pictures = subject.calibration.pictures
        result = quantize_model(fused, pictures, subject.preprocess, config, source, on_batch)
        return {"model.qdq.onnx": serialize(result.onnx)}

    files, cached = cache.get("quantize", key, make)
    return files["model.qdq.onnx"], cached


def choose_vectors(subject: Subject) -> Pictures:
    """Return the pictures a bundle records: the first ones that are judged by, as many as fit its budget."""
    source = subject.test or subject.calibration
    low, high = VECTOR_LIMITS
    count = max(low, min(high, VECTOR_BYTES // source.pictures[0].size))
    # The sets are often sorted by class, so the pictures are taken at equal distances.
    chosen = np.unique(np.linspace(0, len(source.labels) - 1, min(count, len(source.labels))).astype(int))
    return Pictures(source.pictures[chosen], source.labels[chosen], source.origin)


def expect(qdq: Path, pictures: Pictures, cache: StageCache) -> tuple[Vectors, bool]:
    """Return what the numpy reference says about pictures, computed in a process that never loads TVM.

    Args:
        qdq: the QDQ file.
        pictures: the pictures to record.
        cache: where the answers are kept.
    """
    key = {
        "qdq": sha256(qdq.read_bytes()),
        "pictures": pictures.digest,
        "code": code_digest("repghost", "calib", "compile"),
        "tools": versions("numpy"),
    }

    def make() -> Files:
        with tempfile.TemporaryDirectory(prefix="repghost-vectors-") as name:
            source, output = Path(name) / "pictures.npy", Path(name) / "vectors.bin"
            np.save(source, pictures.pictures, allow_pickle=False)
            command = [sys.executable, "-m", "compile.vectors", str(qdq.absolute()), str(source), str(output)]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise IntegrityError(f"the numpy reference failed: {done.stderr.strip()[-2000:]}")
            return {"vectors.bin": output.read_bytes()}

    files, cached = cache.get("expect", key, make)
    return unpack_vectors(files["vectors.bin"]), cached


def expect_float(fused: RepGhostNet, subject: Subject, pictures: Pictures, precision: Precision) -> Vectors:
    """Return what PyTorch says about pictures, with the tolerance a float build has to keep."""
    from repghost.evaluate import predict

    logits = predict(fused, pictures.pictures, subject.preprocess)
    return Vectors(pictures.pictures, logits, float(np.float32(precision.tolerance * np.abs(logits).max())))


def compile_network(
    program: Program, target: Target, precision: Precision, cache: StageCache
) -> tuple[CompiledNetwork, bool]:
    """Compile a program for a target with TVM, or take the result of an earlier run.

    Args:
        program: integer or float.
        target: what to compile for.
        precision: the row the program belongs to.
        cache: where the objects are kept.
    """
    key = {
        "program": program.digest,
        "target": asdict(target),
        "precision": precision.name,
        "code": code_digest("repghost", "calib", "compile"),
        "tools": versions("apache-tvm", "numpy"),
    }

    def make() -> Files:
        from compile.build import compile_program

        return pack_network(compile_program(program, target))

    files, cached = cache.get("compile", key, make)
    return unpack_network(files), cached


def pack_network(network: CompiledNetwork) -> Files:
    """Return a compiled network as files; `unpack_network` gives it back."""
    blobs = sorted(network.blobs)
    index = {
        "variants": [[item.name, item.step_symbol, item.weights] for item in network.variants],
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
        CompiledVariant(name, files[f"variant_{name}.o"], symbol, weights)
        for name, symbol, weights in index["variants"]
    ]
    return CompiledNetwork(
        variants=tuple(variants),
        blobs={name: files[f"blob_{number}.bin"] for number, name in enumerate(index["blobs"])},
        units=tuple(index["units"]),
        workspace_bytes=index["workspace_bytes"],
        kernels=tuple(index["kernels"]),
    )


def model_info(subject: Subject, program: Program, target: Target, precision: Precision) -> dict[str, Any]:
    """Return the object that `rg_info` gives on the device."""
    return {
        "abi": 1,
        "model": subject.spec.name,
        "target": target.name,
        "precision": precision.name,
        "program_digest": program.digest,
        "input": {"height": program.height, "width": program.width, "channels": 3},
        "classes": program.classes,
        "variants": [variant.name for variant in target.variants],
    }


def link(
    network: CompiledNetwork, target: Target, precision: Precision, info: dict[str, Any], cache: StageCache
) -> Build:
    """Link model.so and the runner.

    Args:
        network: from `compile_network`.
        target: what it was compiled for.
        precision: its arithmetic.
        info: from `model_info`.
        cache: the runner, which is the same for every network, is kept here.
    """
    key = {"target": asdict(target), "code": code_digest("compile"), "tools": versions("ziglang")}
    files, _ = cache.get("runner", key, lambda: {"repghost-run": build_runner(target)})
    return Build(
        target=target,
        precision=precision,
        model=link_model(network, target, info),
        runner=files["repghost-run"],
        variants=tuple(variant.name for variant in network.variants),
        weight_bytes=sum(len(blob) for blob in network.blobs.values()),
        kernels=network.kernels,
    )


def read_program(qdq: Path) -> Program:
    """Return the integer program of a QDQ file.

    Raises:
        UsageError: naming every node that cannot be computed in integers.
    """
    from compile.frontend import read_qdq
    from compile.passes import lower

    return lower(read_qdq(qdq))
