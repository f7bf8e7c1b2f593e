"""Flatten, Reshape and the like move no numbers: their readers read what they read."""

from __future__ import annotations

import math
from dataclasses import replace

from compile.graph import Node, QdqGraph
from compile.passes.rename import rename_inputs

VIEWS = ("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Dropout")


def fold_views(graph: QdqGraph) -> QdqGraph:
    """Drop every view that keeps the order of the channels in memory, whether the layout is NCHW or NHWC."""
    for view in [node for node in graph.nodes if node.operator in VIEWS]:
        if _same_order(graph, view):
            graph = _drop(graph, next(node for node in graph.nodes if node.output == view.output))
    return graph


def _same_order(graph: QdqGraph, view: Node) -> bool:
    """Return whether a view is invisible: only sizes of 1 change, or a fully connected layer reads all of a map."""
    before, after = graph.shapes[view.inputs[0]], graph.shapes[view.output]
    if [size for size in before if size != 1] == [size for size in after if size != 1]:
        return True
    # The rule of Gemm reads the map in its own order, so it can take the flattening with it.
    readers = [node for node in graph.nodes if view.output in node.operands]
    return after == (1, math.prod(before)) and bool(readers) and all(node.operator == "Gemm" for node in readers)


def _drop(graph: QdqGraph, view: Node) -> QdqGraph:
    source, output = view.inputs[0], view.output
    rest = tuple(node for node in graph.nodes if node is not view)
    params, source_params = graph.qparams.get(output), graph.qparams.get(source)
    if output != graph.output and (params is None or params == source_params):
        return replace(graph, nodes=rename_inputs(rest, {output: source}))
    if source_params is None and graph.only_consumer(source) is view and source != graph.input:
        # The view's output has a name of its own: the quantized one, or the network's output. Its maker takes it.
        nodes = tuple(replace(node, output=output) if node.output == source else node for node in rest)
        return replace(graph, nodes=nodes, shapes={**graph.shapes, output: graph.shapes[source]})
    return graph
