"""The dense convolution that several nodes become."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.integer.lower import IntegerLayer, lower_dense, lower_logits
from calib.integer.program import Conv2d, Operator
from calib.integer.values import Epilogue
from compile.ir.qdq_graph import Node, QdqGraph
from compile.passes.rules.common import (
    Refusal,
    bias_of,
    is_logits,
    layer_output,
    settle_dead_channels,
    tensor_of,
    unquantized_result,
)
from compile.passes.rules.geometry import Geometry, shape_misfit

MOST_TERMS = 1 << 20  # of a sum: kernels keep what they multiply on the stack


def dense_operator(
    graph: QdqGraph, node: Node, weight: NDArray[np.int8], scales: NDArray[np.float32], geometry: Geometry
) -> Operator | Refusal:
    """Return the dense convolution of a Conv or Gemm node.

    Args:
        graph: knows its bias and the shapes.
        node: the node.
        weight: int8 [O, kh, kw, I].
        scales: float32 [O].
        geometry: its window.
    """
    bias = bias_of(graph, node, len(weight))
    if isinstance(bias, Refusal):
        return bias
    if misfit := shape_misfit(graph, node, geometry, weight.shape[3], len(weight)):
        return misfit
    if weight[0].size > MOST_TERMS:
        return Refusal(f"each output is a sum of {weight[0].size:,} products; up to {MOST_TERMS:,} are supported")
    x, y = tensor_of(graph, node.inputs[0]), tensor_of(graph, node.output)
    layer = IntegerLayer(node.name, np.ascontiguousarray(weight), bias, scales, x.qparams)
    epilogue: Epilogue
    if is_logits(graph, node):
        if refusal := unquantized_result(graph):
            return refusal
        if node.bounds != (-np.inf, np.inf) or node.residual is not None or (y.height, y.width) != (1, 1):
            return Refusal("the scores are the plain result of the last layer: no activation, no add, no map")
        epilogue, start = lower_logits(layer)
    else:
        layer = settle_dead_channels(layer, y.qparams.scale)
        epilogue, start = lower_dense(layer, layer_output(graph, node))
    where = geometry.strides, geometry.pads
    return Conv2d(node.name, x, y, layer.weight, start, *where, epilogue, geometry.dilations)
