"""Nodes that only move integers keep their scale; where a file changes it, a requantization stands before them."""

from __future__ import annotations

from dataclasses import replace

from calib.integer.qparams import QParams
from compile.ir.qdq_graph import REQUANTIZE, SHUFFLE_CHANNELS, Node, QdqGraph

MOVERS = {
    "MaxPool": 1,
    "Slice": 1,
    "Pad": 1,
    "Resize": 1,
    SHUFFLE_CHANNELS: 1,
    "Concat": None,
}  # how many of their inputs are maps; None: all


def keep_scales(graph: QdqGraph) -> QdqGraph:
    """Put a REQUANTIZE before every mover that changes a scale, and give a mover's real result the scale it keeps.

    Every mover is monotonic and so are both roundings: it does not matter on which side of it a tensor is requantized,
    or quantized, where what it reads is real.
    """
    nodes: list[Node] = []
    qparams, shapes = _quantized_before(graph), dict(graph.shapes)
    for node in graph.nodes:
        maps = _maps(node)
        if not maps or any(name not in qparams for name in maps):
            nodes.append(node)
            continue
        given = {qparams[name] for name in maps}
        if node.output not in qparams and node.output not in graph.outputs and len(given) == 1:
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


def _maps(node: Node) -> tuple[str, ...]:
    """Return the maps a mover reads, nothing for any other node."""
    if node.operator not in MOVERS or node.attributes.get("mode") == "linear":  # means of pixels are rounded once
        return ()
    return node.inputs[: MOVERS[node.operator]]


def _quantized_before(graph: QdqGraph) -> dict[str, QParams]:
    """Return scales and zero points, a mover's also for the real results of other layers that it alone reads."""
    qparams = dict(graph.qparams)
    for node in reversed(graph.nodes):
        for name in _maps(node) if node.output in qparams else ():
            if name in graph.producers and graph.only_consumer(name) is not None:
                qparams.setdefault(name, qparams[node.output])
    return qparams
