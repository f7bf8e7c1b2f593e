"""A residual add becomes part of the convolution before it."""

from __future__ import annotations

import math
from dataclasses import replace

from compile.ir.qdq_graph import Node, QdqGraph

HOSTS = ("Conv", "Gemm")  # operators whose epilogue can add, or keep float scores


def fuse_residual(graph: QdqGraph) -> QdqGraph:
    """Fuse every Add of an int8 tensor and a convolution's real result that nothing else reads.

    A convolution with a Q/DQ pair of its own is not fused: the file rounds there, and so does the program.
    """
    made: dict[str, Node] = {}  # the nodes so far by output, in order
    for node in graph.nodes:
        host, other = _operands(graph, node, made)
        if host is None:
            made[node.output] = node
        else:
            # The convolution moves to the place of the add, where both operands exist.
            del made[host.output]
            made[node.output] = replace(host, output=node.output, bounds=node.bounds, residual=other)
    return replace(graph, nodes=tuple(made.values()))


def _operands(graph: QdqGraph, add: Node, made: dict[str, Node]) -> tuple[Node | None, str]:
    """Return the convolution an Add can become part of and its other operand; no convolution for any other node."""
    if add.operator == "Add":
        for index in (0, 1):
            host, other = made.get(add.inputs[index]), add.inputs[1 - index]
            if host is not None and _fits(graph, host, other, add):
                return host, other
    return None, ""


def _fits(graph: QdqGraph, host: Node, other: str, add: Node) -> bool:
    return (
        host.operator in HOSTS
        and host.output not in graph.qparams
        and graph.only_consumer(host.output) is not None
        and host.residual is None
        and host.bounds == (-math.inf, math.inf)  # a Relu before the add is not a bound after it
        and other in graph.qparams
        and graph.shapes[other] == graph.shapes[host.output] == graph.shapes[add.output]
    )
