"""The stage "expect": the recorded images and the logits that a build must give for them."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compile.bundle.vectors import Vectors, unpack_vectors
from compile.ir.float_program import FloatProgram
from compile.ir.float_reference import run_float
from compile.storage.code_key import code_digest
from compile.storage.files import sha256
from compile.storage.stage_cache import ROOT, Files, StageCache, versions
from compile.subject.subject import FloatSubject, Images, Subject
from compile.targets.precisions import FP32, Precision
from repghost.errors import IntegrityError, option
from repghost.evaluation.accuracy import predict
from repghost.processes import run_limited

if TYPE_CHECKING:
    from repghost.data.images.preprocess import Preprocess


VECTOR_BYTES = 1_300_000  # of recorded images in a bundle; half of what the weights of the smallest network take


VECTOR_LIMITS = (8, 100)  # images


REFERENCE_LIMIT_S = 3600.0  # of all recorded images; the 0.5x at 224 px takes seconds


def choose_vectors(subject: Subject) -> Images:
    """Return the images a bundle records: the first ones that are evaluated on, as many as fit its budget."""
    source = subject.test or subject.calibration
    low, high = VECTOR_LIMITS
    count = max(low, min(high, VECTOR_BYTES // source.images[0].size))
    # The sets are often sorted by class, so the images are taken at equal distances.
    chosen = np.unique(np.linspace(0, len(source.labels) - 1, min(count, len(source.labels))).astype(int))
    return Images(source.images[chosen], source.labels[chosen], source.origin)


def expect(qdq: Path, preprocess: Preprocess, images: Images, cache: StageCache) -> tuple[Vectors, bool]:
    """Return images with the logits of the numpy reference, computed without TVM, and whether they were in the cache.

    A process of its own computes them, so that nothing TVM loads can change them.

    Args:
        qdq: the QDQ file.
        preprocess: for a file that does not say how images are prepared.
        images: the images to record.
        cache: where the logits are kept.
    """
    key = {
        "qdq": sha256(qdq.read_bytes()),
        "preprocess": preprocess.to_dict(),
        "pictures": images.digest,
        "code": code_digest("compile.bundle.vectors", alone=(__name__,)),
        "tools": versions("numpy"),
    }

    def make() -> Files:
        with tempfile.TemporaryDirectory(prefix="repghost-vectors-") as name:
            source, output = Path(name) / "pictures.npy", Path(name) / "vectors.bin"
            rule = Path(name) / "preprocess.json"
            np.save(source, images.images, allow_pickle=False)
            rule.write_text(json.dumps(preprocess.to_dict()))
            command = [sys.executable, "-m", "compile.bundle.vectors"]
            command += [str(path) for path in (qdq.absolute(), rule, source, output)]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
            advice = (
                f"Try again when the machine has less to do and memory left, or give smaller pictures: {option('size')}"
            )
            done = run_limited(
                command, REFERENCE_LIMIT_S, name="the numpy reference", advice=advice, environment=environment
            )
            if done.returncode:
                raise IntegrityError(f"the numpy reference failed: {done.stderr.strip()[-2000:]}")
            return {"vectors.bin": output.read_bytes()}

    files, cached = cache.get("expect", key, make)
    return unpack_vectors(files["vectors.bin"]), cached


def expect_float(program: FloatProgram, subject: Subject, images: Images, precision: Precision) -> Vectors:
    """Return the logits a float build has to give, and how far its own may lie from them.

    PyTorch computes them for a network in float, in float32. The numpy reference computes them for a program that
    rounds what it stores, and for one that was made from a quantized file.
    """
    if isinstance(subject, FloatSubject) and program.element == FP32.element:
        logits = predict(subject.fused, images.images, subject.preprocess)
    else:
        logits = run_float(program, images.images)
    return Vectors(images.images, logits, float(np.float32(precision.tolerance * np.abs(logits).max())))
