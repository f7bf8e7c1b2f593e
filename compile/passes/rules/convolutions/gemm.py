"""Fully connected layers: a convolution whose kernel covers the whole map."""

from __future__ import annotations

from compile.ir.qdq_graph import Node, QdqGraph
from compile.passes.rules.common import Refusal, RuleResult, tensor_of, weight_of
from compile.passes.rules.convolutions.dense import dense_operator
from compile.passes.rules.geometry import Geometry


def gemm(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower a Gemm with a constant weight; a flattened map is read in the file's order, channel by channel."""
    if node.operator != "Gemm":
        return None
    attributes = node.attributes
    if attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0 or attributes.get("transA", 0):
        return Refusal("alpha, beta and transA are not supported; export a plain linear layer")
    transposed = bool(attributes.get("transB", 0))
    found = weight_of(graph, node, rank=2, channel_axis=0 if transposed else 1)
    if isinstance(found, Refusal):
        return found
    weight, scales = found
    x = tensor_of(graph, node.inputs[0])
    rows = weight if transposed else weight.T
    if rows.shape[1] != x.channels * x.height * x.width:
        return Refusal(f"its weight reads {rows.shape[1]} values, its input has {x.channels * x.height * x.width}")
    kernel = rows.reshape(len(rows), x.channels, x.height, x.width).transpose(0, 2, 3, 1)
    whole = Geometry((x.height, x.width), (1, 1), (0, 0), (0, 0), (1, 1))
    return dense_operator(graph, node, kernel, scales, whole)
