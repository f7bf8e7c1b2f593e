"""A Pad becomes part of the convolutions and max pools that read it."""

from __future__ import annotations

from dataclasses import replace

from compile.ir.qdq_graph import Node, QdqGraph
from compile.passes.rename import rename_inputs
from compile.passes.rules.moves.pad import pad_value, pads_of

Sides = tuple[int, int, int, int]  # above, on the left, below, on the right


def fold_pads(graph: QdqGraph) -> QdqGraph:
    """Drop every Pad of rows and columns whose readers pad with the same integer themselves.

    A convolution pads with the real number 0, a max pool with what never wins.
    """
    names: dict[str, str] = {}  # what the readers of a dropped Pad read
    pads: dict[str, Sides] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        sides = tuple(pads[name] for name in node.inputs[:1] if name in pads)
        if sides:
            given = node.attributes.get("pads", (0, 0, 0, 0))
            added = tuple(a + b for a, b in zip(given, sides[0], strict=True))
            node = replace(node, attributes={**node.attributes, "pads": added})
        found = _sides(graph, node)
        readers = graph.consumers.get(node.output, ())
        if found is None or not readers or not all(_pads_alike(graph, node, reader) for reader in readers):
            nodes.append(node)
        else:
            names[node.output], pads[node.output] = node.inputs[0], found
    return replace(graph, nodes=rename_inputs(nodes, names))


def _sides(graph: QdqGraph, node: Node) -> Sides | None:
    """Return the pixels a Pad adds around an int8 map, None for another node and for pads of another kind."""
    if node.operator != "Pad" or node.attributes.get("mode", "constant") != "constant":
        return None
    source, sides = graph.qparams.get(node.inputs[0]), pads_of(graph, node)
    if source is None or source != graph.qparams.get(node.output) or len(graph.shapes[node.inputs[0]]) != 4:
        return None
    if sides is None or min(min(side) for side in sides) < 0 or any((*sides[0], *sides[1])):
        return None
    (above, below), (left, right) = sides[2:]
    return above, left, below, right


def _pads_alike(graph: QdqGraph, pad: Node, reader: Node) -> bool:
    """Return whether a reader could pad with the integer that a Pad puts around its map."""
    if pad.output in reader.inputs[1:] or reader.residual is not None:
        return False
    if reader.attributes.get("auto_pad", "NOTSET") != "NOTSET" or len(reader.attributes.get("pads", (0,) * 4)) != 4:
        return False
    wanted = {"Conv": graph.qparams[pad.output].zero_point, "MaxPool": graph.qparams[pad.output].low}.get(
        reader.operator
    )
    return wanted is not None and pad_value(graph, pad) == wanted
