"""The calibrated network, kept in the cache: it takes far longer than everything that follows."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from calib.settings.quantspec import QuantSpec
from compile.storage.code_key import code_digest
from compile.storage.stage_cache import Files, StageCache, versions
from compile.tensorrt.network.placement import check_operators
from repghost.graph.digest import graph_digest
from repghost.graph.operators import Graph, Layer

if TYPE_CHECKING:
    from calib.settings.config import QuantConfig
    from compile.subject.subject import Subject

SPEC_FILE, WEIGHTS_FILE = "spec.json", "weights.npz"


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A network as it is quantized: equalized and corrected where that was asked for, and its scales."""

    graph: Graph
    spec: QuantSpec


def calibrate_network(
    plain: Graph, subject: Subject, config: QuantConfig, cache: StageCache, on_batch: Callable[[int], None]
) -> tuple[Calibrated, bool]:
    """Return the calibrated network, and whether it was in the cache.

    Args:
        plain: the network in float.
        subject: its calibration images and Preprocess.
        config: with the policy "tensorrt".
        cache: where the result is kept.
        on_batch: called with the number of images of each batch.

    Raises:
        UsageError: when TensorRT does not have an operator of the network.
    """
    from calib.ptq.apply import quantize_graph

    check_operators(plain)
    key = {
        "network": graph_digest(plain),
        "preprocess": subject.preprocess.to_dict(),
        "config": config.to_dict(),
        "pictures": subject.calibration.digest,
        "code": code_digest("calib.ptq.apply", alone=(__name__,)),
        "tools": versions("torch", "numpy"),
    }

    def make() -> Files:
        graph, spec = quantize_graph(plain, subject.calibration.images, subject.preprocess, config, on_batch)
        arrays = io.BytesIO()
        np.savez(arrays, **_arrays(graph))
        return {SPEC_FILE: json.dumps(spec.to_dict()).encode(), WEIGHTS_FILE: arrays.getvalue()}

    files, cached = cache.get("calibrate-tensorrt", key, make)
    spec = QuantSpec.from_dict(json.loads(files[SPEC_FILE]))
    with np.load(io.BytesIO(files[WEIGHTS_FILE]), allow_pickle=False) as arrays:
        return Calibrated(_with_arrays(plain, dict(arrays)), spec), cached


def _arrays(graph: Graph) -> dict[str, Any]:
    return {f"{op.name}.{part}": getattr(op, part) for op in graph.layers() for part in ("weight", "bias")}


def _with_arrays(graph: Graph, arrays: dict[str, Any]) -> Graph:
    return replace(
        graph,
        operators=tuple(
            replace(op, weight=arrays[f"{op.name}.weight"], bias=arrays[f"{op.name}.bias"])
            if isinstance(op, Layer)
            else op
            for op in graph.operators
        ),
    )
