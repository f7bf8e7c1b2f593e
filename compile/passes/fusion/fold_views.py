"""Flatten, Reshape, Identity and the like change no number: nodes that read their result read their input instead."""

from __future__ import annotations

import math
from dataclasses import replace

from compile.ir.qdq_graph import DEQUANTIZE_SCORES, MISALIGNED, REQUANTIZE, Node, QdqGraph
from compile.passes.rename import rename_inputs
from compile.passes.rules.common import map_sizes
from compile.passes.rules.moves.crop import slice_values

VIEWS = ("Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Dropout", "Slice")
BROADCASTING = ("Add", "Sub", "Mul")


def fold_views(graph: QdqGraph) -> QdqGraph:
    """Drop every view that keeps the order of the channels in memory, whether the layout is NCHW or NHWC.

    The readers of a dropped view read its input. Where its output has a name that must stay, because it is int8 or the
    output of the network, the operator before it takes that name instead; between two scales a
    REQUANTIZE does, between int8 and the output DEQUANTIZE_SCORES.
    """
    made: dict[str, Node] = {}  # the nodes so far by output, in order
    names: dict[str, str] = {}  # what the readers of a dropped view read
    shapes = dict(graph.shapes)
    readers = {name: len(nodes) for name, nodes in graph.consumers.items()}
    for node in graph.nodes:
        (node,) = rename_inputs([_with_axes_noted(graph, node)], names)
        source, output = node.inputs[0] if node.inputs else "", node.output
        if node.operator not in VIEWS or not _same_order(graph, node):
            made[output] = node
        elif output not in graph.outputs and graph.qparams.get(output) in (None, graph.qparams.get(source)):
            names[output] = source
            readers[source] += readers.get(output, 0) - 1
        elif source in made and source not in graph.qparams and readers[source] == 1:
            made[output] = replace(made.pop(source), output=output)
            shapes[output] = shapes[source]
        elif source in graph.qparams and output in graph.outputs:
            made[output] = Node(node.name, DEQUANTIZE_SCORES, (source,), output)
        elif source in graph.qparams and output in graph.qparams:
            made[output] = Node(node.name, REQUANTIZE, (source,), output)
            shapes[output] = shapes[source]
        else:
            made[output] = node
    return replace(graph, nodes=tuple(made.values()), shapes=shapes)


def _same_order(graph: QdqGraph, view: Node) -> bool:
    """Return whether a view is invisible: it is the same map, or a fully connected layer reads all of one."""
    if view.operator == "Slice" and not _takes_everything(graph, view):
        return False
    before, after = graph.shapes[view.inputs[0]], graph.shapes[view.output]
    if map_sizes(before) is not None and map_sizes(before) == map_sizes(after):
        return True  # sizes of 1 alone are not enough: [1, 1, 1, C] is C columns for what averages or broadcasts
    # The rule of Gemm reads the map in its own order, so it can take the flattening with it.
    readers = graph.consumers.get(view.output, ())
    return after == (1, math.prod(before)) and bool(readers) and all(node.operator == "Gemm" for node in readers)


def _with_axes_noted(graph: QdqGraph, node: Node) -> Node:
    """Return a sum or product with a note of an operand of fewer axes that are not the first ones of its result.

    Once the views are gone, [1, C] may stand for [1, C, 1, 1]; as an operand it would meet the columns.
    """
    rank = len(graph.shapes[node.output])
    for name in node.inputs if node.operator in BROADCASTING else ():
        shape = graph.shapes.get(name, ())
        if map_sizes(shape) and map_sizes(shape) != map_sizes((1,) * (rank - len(shape)) + shape):
            return replace(node, attributes={**node.attributes, MISALIGNED: name})
    return node


def _takes_everything(graph: QdqGraph, node: Node) -> bool:
    """Return whether a Slice keeps its whole input, in its order."""
    values = slice_values(graph, node)
    same = graph.shapes[node.inputs[0]] == graph.shapes[node.output]
    return same and values is not None and set(values["steps"]) <= {1}
