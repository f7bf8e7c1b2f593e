"""The stages of a run before compilation: quantize, lower, and ask the reference what to expect."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compile.bundle import sha256
from compile.cache import ROOT, Files, StageCache, code_digest, versions
from compile.precisions import FP32, Precision
from compile.subject import RANDOM, Pictures, Subject
from compile.vectors import Vectors, unpack_vectors
from repghost.errors import IntegrityError

if TYPE_CHECKING:
    from calib.config import QuantConfig
    from calib.program import Program
    from compile.layout import AnyProgram
    from repghost.model import RepGhostNet
    from repghost.preprocess import Preprocess

VECTOR_BYTES = 1_300_000  # of recorded pictures in a bundle; half of what the weights of the smallest network take
VECTOR_LIMITS = (8, 100)  # pictures
ERROR_PICTURES = 32  # that the error of each layer is measured on; a mean over all their pixels
TOOLS = ("repghost-deploy", "apache-tvm", "ziglang", "torch", "numpy", "onnx")


def write_fused(path: Path, network: RepGhostNet, subject: Subject) -> None:
    """Write the fused float network of a run, for everything that is compared with it later.

    Args:
        path: the file.
        network: without batch norms.
        subject: Preprocess, labels, and the weights it was fused from.
    """
    from repghost.checkpoint import write_checkpoint

    notes = {"weights_sha256": subject.digest}
    write_checkpoint(path, network, subject.preprocess.to_dict(), subject.labels, notes)


def settle(config: QuantConfig, subject: Subject) -> QuantConfig:
    """Return the config without what asks for the network's answers, where these mean nothing.

    Args:
        config: the user's, or the default.
        subject: the network; random weights answer at random.
    """
    return replace(config, ranges_by_answers=False) if subject.weights["kind"] == RANDOM else config


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


def layer_error(
    subject: Subject, fused: RepGhostNet, program: Program, config: QuantConfig, cache: StageCache
) -> dict[str, Any]:
    """Return how far each integer layer is from float32 on pictures of the calibration set, for the report.

    Args:
        subject: Preprocess and calibration pictures.
        fused: the network without batch norms.
        program: its quantized form.
        config: how it was quantized; what equalization moved between layers is no error.
        cache: where the answer is kept.
    """
    from calib.equalize import equalize
    from calib.layer_error import measure_sqnr
    from calib.pipeline import batches
    from calib.walk import graph_of

    pictures = subject.calibration.pictures[:ERROR_PICTURES]
    key = {
        "program": program.digest,
        "weights": subject.digest,
        "pictures": sha256(pictures.tobytes()),
        "config": config.to_dict(),
        "code": code_digest("repghost", "calib"),
        "tools": versions("torch", "numpy"),
    }

    def make() -> Files:
        graph = graph_of(fused)
        if config.equalize:
            graph = equalize(graph, batches(subject.calibration.pictures, subject.preprocess))
        found = measure_sqnr(graph, program, pictures, subject.preprocess)
        return {"sqnr.json": json.dumps({"pictures": len(pictures), "decibels": found}).encode()}

    files, _ = cache.get("layer_error", key, make)
    result: dict[str, Any] = json.loads(files["sqnr.json"])
    return result


def choose_vectors(subject: Subject) -> Pictures:
    """Return the pictures a bundle records: the first ones that are judged by, as many as fit its budget."""
    source = subject.test or subject.calibration
    low, high = VECTOR_LIMITS
    count = max(low, min(high, VECTOR_BYTES // source.pictures[0].size))
    # The sets are often sorted by class, so the pictures are taken at equal distances.
    chosen = np.unique(np.linspace(0, len(source.labels) - 1, min(count, len(source.labels))).astype(int))
    return Pictures(source.pictures[chosen], source.labels[chosen], source.origin)


def expect(qdq: Path, preprocess: Preprocess, pictures: Pictures, cache: StageCache) -> tuple[Vectors, bool]:
    """Return what the numpy reference says about pictures, computed in a process that never loads TVM.

    Args:
        qdq: the QDQ file.
        preprocess: for a file that does not say how pictures are prepared.
        pictures: the pictures to record.
        cache: where the answers are kept.
    """
    key = {
        "qdq": sha256(qdq.read_bytes()),
        "preprocess": preprocess.to_dict(),
        "pictures": pictures.digest,
        "code": code_digest("repghost", "calib", "compile"),
        "tools": versions("numpy"),
    }

    def make() -> Files:
        with tempfile.TemporaryDirectory(prefix="repghost-vectors-") as name:
            source, output = Path(name) / "pictures.npy", Path(name) / "vectors.bin"
            rule = Path(name) / "preprocess.json"
            np.save(source, pictures.pictures, allow_pickle=False)
            rule.write_text(json.dumps(preprocess.to_dict()))
            command = [sys.executable, "-m", "compile.vectors"]
            command += [str(path) for path in (qdq.absolute(), rule, source, output)]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise IntegrityError(f"the numpy reference failed: {done.stderr.strip()[-2000:]}")
            return {"vectors.bin": output.read_bytes()}

    files, cached = cache.get("expect", key, make)
    return unpack_vectors(files["vectors.bin"]), cached


def expect_float(
    fused: RepGhostNet | None, program: AnyProgram, subject: Subject, pictures: Pictures, precision: Precision
) -> Vectors:
    """Return what PyTorch says about pictures, with the tolerance; where it cannot, what the numpy reference says.

    That is so for a program that rounds what it stores, and for one that was made from a quantized file.
    """
    from compile.float_program import FloatProgram
    from compile.float_reference import run_float
    from repghost.evaluate import predict

    if isinstance(program, FloatProgram) and (fused is None or program.element != FP32.element):
        logits = run_float(program, pictures.pictures)
    else:
        assert fused is not None
        logits = predict(fused, pictures.pictures, subject.preprocess)
    return Vectors(pictures.pictures, logits, float(np.float32(precision.tolerance * np.abs(logits).max())))


def read_program(qdq: Path, preprocess: Preprocess | None = None) -> Program:
    """Return the integer program of a QDQ file.

    Args:
        qdq: the file.
        preprocess: for a file that does not say how pictures are prepared.

    Raises:
        UsageError: naming every node that cannot be computed in integers.
    """
    from compile.frontend import read_qdq
    from compile.passes import lower

    return lower(read_qdq(qdq, preprocess))
