"""A Pad becomes part of the convolutions and max pools that read it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from calib.integer.qparams import INT8_MIN, quantize
from compile.ir.qdq_graph import Node, QdqGraph
from compile.passes.rename import rename_inputs

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
    source = graph.qparams.get(node.inputs[0])
    if source is None or source != graph.qparams.get(node.output) or len(graph.shapes[node.inputs[0]]) != 4:
        return None
    pads, axes = ([graph.constants.get(name) for name in node.inputs[at : at + 1] if name] for at in (1, 3))
    if len(pads) != 1 or pads[0] is None or (axes and axes[0] is None):
        return None
    values = [int(value) for value in pads[0].reshape(-1)]
    over = [int(axis) % 4 for axis in axes[0].reshape(-1)] if axes and axes[0] is not None else [0, 1, 2, 3]
    if len(values) != 2 * len(over) or len({*over}) != len(over):
        return None
    before = dict(zip(over, values, strict=False))
    after = dict(zip(over, values[len(over) :], strict=True))
    if min(values) < 0 or any(around.get(axis, 0) for around in (before, after) for axis in (0, 1)):
        return None
    return before.get(2, 0), before.get(3, 0), after.get(2, 0), after.get(3, 0)


def _pads_alike(graph: QdqGraph, pad: Node, reader: Node) -> bool:
    """Return whether a reader could pad with the integer that a Pad puts around its map."""
    if pad.output in reader.inputs[1:] or reader.residual is not None:
        return False
    if reader.attributes.get("auto_pad", "NOTSET") != "NOTSET" or len(reader.attributes.get("pads", (0,) * 4)) != 4:
        return False
    params = graph.qparams[pad.output]
    name = pad.inputs[2] if len(pad.inputs) > 2 else ""
    value = graph.constants.get(name, None if name else np.float32(0))
    if value is None or value.size != 1:
        return False
    integer = int(quantize(np.asarray(value, np.float32).reshape(1), params)[0])
    wanted = {"Conv": params.zero_point, "MaxPool": INT8_MIN}.get(reader.operator)
    return integer == wanted
