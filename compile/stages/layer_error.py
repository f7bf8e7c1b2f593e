"""The stage "error": how far each integer layer is from float32."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from compile.storage.code_key import FUSED_NETWORK, code_digest
from compile.storage.files import sha256
from compile.storage.stage_cache import Files, StageCache, versions
from compile.subject.subject import FloatSubject

if TYPE_CHECKING:
    from calib.integer.program import Program
    from calib.settings.config import QuantConfig


ERROR_IMAGES = 32  # that the error of each layer is measured on; a mean over all their pixels


def layer_error(subject: FloatSubject, program: Program, config: QuantConfig, cache: StageCache) -> dict[str, Any]:
    """Return how far each integer layer is from float32 on images of the calibration set, for the report.

    Args:
        subject: the float network, Preprocess and calibration images.
        program: its quantized form.
        config: how it was quantized; what equalization moved between layers is no error.
        cache: where the result is kept.
    """
    from calib.analysis.sqnr import measure_sqnr
    from calib.ptq.apply import batches
    from calib.ptq.equalize import equalize

    images = subject.calibration.images[:ERROR_IMAGES]
    key = {
        "program": program.digest,
        "weights": subject.digest,
        "pictures": sha256(images.tobytes()),
        "config": config.to_dict(),
        "code": code_digest("calib.analysis.sqnr", "calib.ptq.apply", *FUSED_NETWORK, alone=(__name__,)),
        "tools": versions("torch", "numpy"),
    }

    def make() -> Files:
        graph = subject.graph
        if config.equalize:
            graph = equalize(graph, batches(subject.calibration.images, subject.preprocess))
        found = measure_sqnr(graph, program, images, subject.preprocess)
        return {"sqnr.json": json.dumps({"pictures": len(images), "decibels": found}).encode()}

    files, _ = cache.get("layer_error", key, make)
    result: dict[str, Any] = json.loads(files["sqnr.json"])
    return result
