"""Nodes that only move integers keep their scale; where a file changes it, a requantization stands before them."""

from __future__ import annotations

from dataclasses import replace

from compile.ir.qdq_graph import REQUANTIZE, Node, QdqGraph

MOVERS = {"MaxPool": 1, "Slice": 1, "Pad": 1, "Concat": None}  # how many of their inputs are maps; None: all


def keep_scales(graph: QdqGraph) -> QdqGraph:
    """Put a REQUANTIZE before every mover that changes a scale, and give a mover's real result the scale it keeps.

    Every mover is monotonic and so are both roundings: it does not matter on which side of it a tensor is requantized.
    """
    nodes: list[Node] = []
    qparams, shapes = dict(graph.qparams), dict(graph.shapes)
    for node in graph.nodes:
        maps = node.inputs[: MOVERS[node.operator]] if node.operator in MOVERS else ()
        if not maps or any(name not in qparams for name in maps):
            nodes.append(node)
            continue
        given = {qparams[name] for name in maps}
        if node.output not in qparams and node.output != graph.output and len(given) == 1:
            qparams[node.output] = given.pop()
        wanted = qparams.get(node.output)
        renamed: dict[str, str] = {}
        for name in dict.fromkeys(maps):
            if wanted is not None and qparams[name] != wanted:
                renamed[name] = f"{name}, as in {node.output}"
                nodes.append(Node(f"{node.name}, scale of {name}", REQUANTIZE, (name,), renamed[name]))
                qparams[renamed[name]], shapes[renamed[name]] = wanted, shapes[name]
        nodes.append(replace(node, inputs=tuple(renamed.get(name, name) for name in node.inputs)))
    return replace(graph, nodes=tuple(nodes), qparams=qparams, shapes=shapes)
