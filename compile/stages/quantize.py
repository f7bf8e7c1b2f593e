"""The stages of a run before compilation: quantize, lower, and ask the reference what to expect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from compile.storage.code_key import FUSED_NETWORK, code_digest
from compile.storage.stage_cache import Files, StageCache, versions
from compile.subject.subject import RANDOM, Subject

if TYPE_CHECKING:
    from calib.integer.program import Program
    from calib.settings.config import QuantConfig
    from repghost.data.preprocess import Preprocess
    from repghost.network.model import RepGhostNet

TOOLS = ("repghost-deploy", "apache-tvm", "ziglang", "torch", "numpy", "onnx")


def write_fused(path: Path, network: RepGhostNet, subject: Subject) -> None:
    """Write the fused float network of a run, for everything that is compared with it later.

    Args:
        path: the file.
        network: without batch norms.
        subject: Preprocess, labels, and the weights it was fused from.
    """
    from repghost.checkpoints.checkpoint import write_checkpoint

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
        subject: labels, Preprocess and calibration images.
        fused: the network without batch norms.
        config: how to quantize.
        cache: where the file is kept.
        on_batch: told how many calibration images each batch had.
    """
    from calib.qdq.writer import serialize
    from calib.quantize import Source, quantize_model

    key = {
        "weights": subject.digest,
        "preprocess": subject.preprocess.to_dict(),
        "labels": list(subject.labels),
        "config": config.to_dict(),
        "pictures": subject.calibration.digest,
        "origin": dict(subject.calibration.origin),
        "code": code_digest("calib.quantize", "calib.qdq.writer", *FUSED_NETWORK, alone=(__name__,)),
        "tools": versions("torch", "numpy", "onnx"),
    }

    def make() -> Files:
        source = Source(subject.labels, subject.digest, subject.calibration.origin)
        images = subject.calibration.images
        result = quantize_model(fused, images, subject.preprocess, config, source, on_batch)
        return {"model.qdq.onnx": serialize(result.onnx)}

    files, cached = cache.get("quantize", key, make)
    return files["model.qdq.onnx"], cached


def read_program(qdq: Path, preprocess: Preprocess | None = None) -> Program:
    """Return the integer program of a QDQ file.

    Args:
        qdq: the file.
        preprocess: for a file that does not say how images are prepared.

    Raises:
        UsageError: naming every node that cannot be computed in integers.
    """
    from compile.frontend.qdq_file import read_qdq
    from compile.passes import lower

    return lower(read_qdq(qdq, preprocess))
