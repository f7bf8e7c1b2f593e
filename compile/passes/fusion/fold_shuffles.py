"""A channel shuffle, exported as Reshape, Transpose, Reshape, becomes one node."""

from __future__ import annotations

import math
from dataclasses import replace

from compile.ir.qdq_graph import SHUFFLE_CHANNELS, Node, QdqGraph


def fold_shuffles(graph: QdqGraph) -> QdqGraph:
    """Replace such nodes, where nothing else reads what lies between and its scale is that of what they read."""
    made: dict[str, Node] = {}  # by output, in order
    for node in graph.nodes:
        before = _nodes_before(graph, node)
        groups = _groups(graph, *before, node) if before else None
        if before and groups is not None:
            for gone in before:
                del made[gone.output]
            node = Node(node.name, SHUFFLE_CHANNELS, before[0].inputs[:1], node.output, {"groups": groups})
        made[node.output] = node
    return replace(graph, nodes=tuple(made.values()))


def _nodes_before(graph: QdqGraph, node: Node) -> tuple[Node, Node] | None:
    """Return the Reshape and the Transpose that a last Reshape alone reads, or None."""
    if node.operator != "Reshape":
        return None
    turn = graph.producers.get(node.inputs[0])
    if turn is None or turn.operator != "Transpose":
        return None
    first = graph.producers.get(turn.inputs[0])
    if first is None or first.operator != "Reshape":
        return None
    kept = graph.qparams.get(first.inputs[0])
    between = (first.output, turn.output)
    alone = all(graph.only_consumer(name) is not None and name not in graph.outputs for name in between)
    same = all(graph.qparams.get(name) in (None, kept) for name in between)
    return (first, turn) if alone and same and first.inputs[0] in graph.qparams else None


def _groups(graph: QdqGraph, first: Node, turn: Node, last: Node) -> int | None:
    """Return n where the three make n groups of k channels, [1, n, k, ...], and exchange both axes."""
    source, parts, result = (graph.shapes[name] for name in (first.inputs[0], first.output, last.output))
    rank = len(parts)
    if source != result or len(source) != 4 or rank < 4 or (source[0], parts[0]) != (1, 1):
        return None
    axes = tuple(turn.attributes.get("perm", ()))
    if axes != (0, 2, 1, *range(3, rank)) or math.prod(parts[1:3]) != source[1]:
        return None
    return parts[1]
