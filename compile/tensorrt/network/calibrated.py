"""The calibrated network, kept in the cache: it takes far longer than everything that follows."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from calib.settings.quantspec import QuantSpec
from compile.storage.code_key import FUSED_NETWORK, code_digest
from compile.storage.stage_cache import Files, StageCache, versions
from compile.subject.subject import FloatSubject
from repghost.graph.operators import Classifier, Convolution, Graph

if TYPE_CHECKING:
    from calib.settings.config import QuantConfig

SPEC_FILE, WEIGHTS_FILE = "spec.json", "weights.npz"


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A network as it is quantized: equalized and corrected where that was asked for, and its scales."""

    graph: Graph
    spec: QuantSpec


def calibrate_network(
    subject: FloatSubject, config: QuantConfig, cache: StageCache, on_batch: Callable[[int], None]
) -> tuple[Calibrated, bool]:
    """Return the calibrated network, and whether it was in the cache.

    Args:
        subject: the network, its calibration images and Preprocess.
        config: with the policy "tensorrt".
        cache: where the result is kept.
        on_batch: told how many images each batch had.
    """
    from calib.ptq.apply import quantize_graph
    from repghost.graph.trace import graph_of

    key = {
        "weights": subject.digest,
        "preprocess": subject.preprocess.to_dict(),
        "config": config.to_dict(),
        "pictures": subject.calibration.digest,
        "code": code_digest("calib.ptq.apply", *FUSED_NETWORK, alone=(__name__,)),
        "tools": versions("torch", "numpy"),
    }
    plain = graph_of(subject.fused)

    def make() -> Files:
        images = subject.calibration.images
        graph, spec = quantize_graph(plain, images, subject.preprocess, config, on_batch)
        arrays = io.BytesIO()
        np.savez(arrays, **_arrays(graph))
        return {SPEC_FILE: json.dumps(spec.to_dict()).encode(), WEIGHTS_FILE: arrays.getvalue()}

    files, cached = cache.get("calibrate-tensorrt", key, make)
    spec = QuantSpec.from_dict(json.loads(files[SPEC_FILE]))
    with np.load(io.BytesIO(files[WEIGHTS_FILE]), allow_pickle=False) as arrays:
        return Calibrated(_with_arrays(plain, dict(arrays)), spec), cached


def _arrays(graph: Graph) -> dict[str, Any]:
    layers = [op for op in graph.operators if isinstance(op, Convolution | Classifier)]
    return {f"{op.name}.{part}": getattr(op, part) for op in layers for part in ("weight", "bias")}


def _with_arrays(graph: Graph, arrays: dict[str, Any]) -> Graph:
    return replace(
        graph,
        operators=tuple(
            replace(op, weight=arrays[f"{op.name}.weight"], bias=arrays[f"{op.name}.bias"])
            if isinstance(op, Convolution | Classifier)
            else op
            for op in graph.operators
        ),
    )
