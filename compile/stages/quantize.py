"""The stages of a run before compilation: fuse, quantize and lower."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from compile.passes import lower
from compile.storage.code_key import FUSED_NETWORK, code_digest
from compile.storage.stage_cache import Files, StageCache, versions
from compile.subject.subject import FloatSubject, Subject

if TYPE_CHECKING:
    from calib.integer.program import Program
    from calib.settings.config import QuantConfig
    from repghost.data.images.preprocess import Preprocess


def write_fused(path: Path, subject: FloatSubject) -> None:
    """Write the fused network of a subject with its Preprocess and labels, for everything that is compared with it."""
    from repghost.checkpoints.checkpoint import write_checkpoint

    notes = {"weights_sha256": subject.digest}
    write_checkpoint(path, subject.fused, subject.preprocess.to_dict(), subject.labels, notes)


def settle(config: QuantConfig, subject: Subject) -> QuantConfig:
    """Return the config of a run: ranges are not chosen by the predictions of random weights, which mean nothing.

    Args:
        config: the user's, or the default.
        subject: the network.
    """
    return replace(config, ranges_by_answers=False) if subject.is_random else config


def quantize(
    subject: FloatSubject, config: QuantConfig, cache: StageCache, on_batch: Callable[[int], None]
) -> tuple[bytes, bool]:
    """Return the QDQ file of the fused network, and whether it was in the cache.

    Args:
        subject: network, labels, Preprocess and calibration images.
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
        result = quantize_model(subject.fused, images, subject.preprocess, config, source, on_batch)
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

    return lower(read_qdq(qdq, preprocess))
