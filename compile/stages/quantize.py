"""The stages of a run before compilation: fuse, quantize and lower."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from compile.passes import lower
from compile.storage.code_key import FUSED_NETWORK, code_digest
from compile.storage.stage_cache import Files, StageCache, versions
from compile.subject.subject import FloatSubject, RepGhostSubject, Subject
from repghost.files import write_bytes_atomically

if TYPE_CHECKING:
    from calib.integer.program import Program
    from calib.settings.config import QuantConfig
    from repghost.data.images.preprocess import Preprocess

FUSED_FILE = "model.fused.safetensors"  # the float network that int8 is compared with, of a RepGhostNet
FLOAT_FILE = "model.float.onnx"  # and of any other network
WEIGHTS = "repghost.weights_sha256"  # in the metadata of that file


def write_float(folder: Path, subject: FloatSubject) -> None:
    """Write the float network of a subject, for everything that is compared with it.

    A RepGhostNet is written as a checkpoint, fused, with its Preprocess and labels; any other network as ONNX.
    """
    if isinstance(subject, RepGhostSubject):
        from repghost.checkpoints.checkpoint import write_checkpoint

        notes = {"weights_sha256": subject.digest}
        write_checkpoint(folder / FUSED_FILE, subject.fused, subject.preprocess.to_dict(), subject.labels, notes)
        return
    from repghost.exporters.onnx import graph_onnx, to_bytes

    network = graph_onnx(subject.graph, subject.preprocess.size, subject.name, metadata={WEIGHTS: subject.digest})
    write_bytes_atomically(folder / FLOAT_FILE, to_bytes(network))


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
        on_batch: called with the number of calibration images of each batch.
    """
    from calib.qdq.writer import serialize
    from calib.quantize import Source, quantize_network

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
        result = quantize_network(subject.name, subject.graph, images, subject.preprocess, config, source, on_batch)
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
