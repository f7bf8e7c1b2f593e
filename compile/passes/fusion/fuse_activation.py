"""A Relu or Clip becomes the bounds of the operator before it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from compile.ir.qdq_graph import Node, QdqGraph


def fuse_activation(graph: QdqGraph) -> QdqGraph:
    """Fuse every Relu or Clip whose input is a real tensor that nothing else reads.

    Quantization is monotonic, so clipping the real number and clipping the integer give the same result.
    """
    made: dict[str, Node] = {}  # the nodes so far by output, in order
    for node in graph.nodes:
        interval = interval_of(graph, node)
        source = node.inputs[0] if interval else ""
        if interval is None or source not in made or source in graph.qparams or graph.only_consumer(source) is None:
            made[node.output] = node
            continue
        producer = made.pop(source)
        low, high = (min(max(bound, interval[0]), interval[1]) for bound in producer.bounds)
        made[node.output] = replace(producer, output=node.output, bounds=(low, high))
    return replace(graph, nodes=tuple(made.values()))


def interval_of(graph: QdqGraph, node: Node) -> tuple[float, float] | None:
    """Return the interval an activation clips to, or None for any other node and for computed limits."""
    if node.operator == "Relu":
        return 0.0, math.inf
    if node.operator != "Clip":
        return None
    limits = [-math.inf, math.inf]
    for index, name in enumerate(node.inputs[1:3]):
        if name and (name not in graph.constants or graph.constants[name].size != 1):
            return None
        if name:
            limits[index] = float(np.float32(graph.constants[name].reshape(-1)[0]))
    return (limits[0], limits[1]) if limits[0] <= limits[1] else None
