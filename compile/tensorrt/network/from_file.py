"""From a quantized file with several results to the network of a bundle, with the file's own scales.

TensorRT's int8 is symmetric: of a tensor with a zero point the range is widened to one around zero. Weights keep their
integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.importer.import_onnx import import_onnx
from calib.importer.onnx_file import parse_model
from calib.integer.qparams import WEIGHT_MAX, QParams
from calib.settings.quantspec import QuantSpec
from compile.tensorrt.lint.graph import WEIGHTED, index_graph, name_of
from compile.tensorrt.network.calibrated import Calibrated
from compile.tensorrt.network.placement import check_operators
from repghost.errors import UsageError

CLOSE = 1e-3  # of a step: what float32 moved a whole multiple of a scale by
SHOWN = 3  # layers in a message


@dataclass(frozen=True, eq=False)
class QuantizedNetwork:
    """A network as its file quantizes it.

    Attributes:
        calibrated: its operators and symmetric scales.
        results: what the file calls its results.
    """

    calibrated: Calibrated
    results: tuple[str, ...]


def read_quantized(content: bytes) -> QuantizedNetwork:
    """Return the network of a quantized file with several results.

    Args:
        content: of a file that `compile.frontend.qdq_file.read_qdq` took.

    Raises:
        UsageError: for layers that the file leaves in float, or operators that a graph or TensorRT does not have.
    """
    index = index_graph(parse_model(content))
    floats = [name_of(node) for node in index.nodes(*WEIGHTED) if not index.is_int8(node)]
    if floats:
        raise UsageError(
            f"{', '.join(floats[:SHOWN])} of the quantized file {'are' if len(floats) > 1 else 'is'} left in float; "
            "quantize input and weight of every layer."
        )
    imported = import_onnx(content, several=True)
    check_operators(imported.graph)
    activations = {name: QParams(scale) for name, scale in imported.scales.items()}
    weights = {op.name: weight_scales(op.weight) for op in imported.graph.layers() if op.input in activations}
    return QuantizedNetwork(Calibrated(imported.graph, QuantSpec(activations, weights)), imported.results)


def weight_scales(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the scale of each output channel, float32 [O]: the largest of which its weights are whole multiples.

    Args:
        weight: [O, ...], integers times a scale for each channel; of any other channel the largest becomes 127.
    """
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    largest = np.abs(rows).max(axis=1)
    scales = np.where(largest > 0, largest / WEIGHT_MAX, 1.0)
    open_rows = np.flatnonzero(largest > 0)
    for steps in range(1, WEIGHT_MAX):
        ratios = rows[open_rows] / (largest[open_rows] / steps)[:, None]
        fits = (np.abs(ratios - np.rint(ratios)) < CLOSE).all(axis=1)
        scales[open_rows[fits]] = largest[open_rows[fits]] / steps
        open_rows = open_rows[~fits]
    return scales.astype(np.float32)
