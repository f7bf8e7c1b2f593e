"""Accuracy of the Q/DQ file, computed by PyTorch on the test images."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compile.stages.evaluate import float_predictions, not_measured
from compile.storage.code_key import code_digest
from compile.storage.files import sha256
from compile.storage.stage_cache import Files, StageCache, versions
from compile.subject.subject import FloatSubject, Images
from compile.targets.table import JETSON
from repghost.evaluation.accuracy import accuracy, paired_difference

if TYPE_CHECKING:
    from compile.tensorrt.jetson_build import JetsonBuild

BATCH_PIXELS = 1 << 18
EVALUATOR = "Q/DQ file, evaluated as written by PyTorch"


def evaluate_int8(build: JetsonBuild, cache: StageCache) -> dict[str, Any]:
    """Return the accuracy record of the int8 file.

    Args:
        build: what goes into the bundle.
        cache: where predictions are kept.
    """
    subject = build.subject
    test = subject.test
    if test is None or not isinstance(subject, FloatSubject):
        return not_measured(subject, JETSON.name)
    before = float_predictions(subject, test, cache)
    after = _predictions(build, test, cache)
    return {
        "measured": True,
        "program_digest": build.digest,
        "test": {"pictures": len(test.labels), "sha256": test.digest, **test.origin},
        "fp32": {**accuracy(before, test.labels).to_dict(), "by": "PyTorch, fused network"},
        "int8": {**accuracy(after, test.labels).to_dict(), "by": EVALUATOR, "checked_on": 0},
        "change": paired_difference(before, after, test.labels).to_dict(),
    }


def _predictions(build: JetsonBuild, test: Images, cache: StageCache) -> NDArray[np.int64]:
    """Return the class the int8 file gives each image, int64 [N]."""
    from compile.tensorrt.evaluate import TorchNetwork

    key = {
        "preprocess": build.subject.preprocess.to_dict(),
        "file": sha256(build.int8.SerializeToString(deterministic=True)),
        "pictures": test.digest,
        "code": code_digest("compile.tensorrt.evaluate", "repghost.data.images.preprocess", alone=(__name__,)),
        "tools": versions("torch", "numpy"),
    }

    def make() -> Files:
        network, preprocess = TorchNetwork(build.int8), build.subject.preprocess
        step = max(1, BATCH_PIXELS // preprocess.pixels)
        parts = [
            network(preprocess.normalize(test.images[start : start + step])).argmax(1)
            for start in range(0, len(test.images), step)
        ]
        buffer = io.BytesIO()
        np.save(buffer, np.concatenate(parts), allow_pickle=False)
        return {"answers.npy": buffer.getvalue()}

    files, _ = cache.get("tensorrt-answers", key, make)
    return np.load(io.BytesIO(files["answers.npy"]), allow_pickle=False)
