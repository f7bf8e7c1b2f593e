"""Several QuantizeLinear of one tensor to one scale become one; some tools write a pair of nodes for each reader."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from compile.ir.qdq_graph import DEQUANTIZE, QUANTIZE, Node, QdqGraph
from compile.passes.rename import rename_inputs


def merge_quantization(graph: QdqGraph) -> QdqGraph:
    """Let the readers of a Q or DQ node that repeats another one read that one."""
    first: dict[tuple[object, ...], str] = {}
    names: dict[str, str] = {}
    kept: list[Node] = []
    for node in graph.nodes:
        (node,) = rename_inputs([node], names)
        if node.operator in (QUANTIZE, DEQUANTIZE) and node.output not in graph.outputs:
            same = first.setdefault(_identity(graph, node), node.output)
            if same != node.output:
                names[node.output] = same
                continue
        kept.append(node)
    return replace(graph, nodes=rename_inputs(kept, names))


def _identity(graph: QdqGraph, node: Node) -> tuple[object, ...]:
    """Return what two equal nodes have in common: operator, tensor, axis, and the values of scale and zero point."""
    parameters = [graph.constants[name] for name in node.inputs[1:] if name]
    zero_points = parameters[1].tobytes() if len(parameters) > 1 and parameters[1].any() else b""
    if len(parameters) > 1 and parameters[1].dtype == np.int16:
        zero_points = b"int16"
    attributes = tuple(sorted(node.attributes.items()))
    return node.operator, node.inputs[0], parameters[0].tobytes(), zero_points, attributes
