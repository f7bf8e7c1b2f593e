"""A convolution of many groups becomes one for each few groups, between slices and a concatenation.

The dense kernels read every channel, with weights of 0 for those of other groups: their cost grows with the channels of
all their groups together, while a slice and a concatenation only copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compile.ir.qdq_graph import Node, QdqGraph, QuantizedWeight

WIDTH = 8  # channels that a kernel reads and writes at least; with 16 a RegNet layer took 1.5 times as long on AVX2


def split_groups(graph: QdqGraph) -> QdqGraph:
    """Split every such convolution between int8 tensors; `rules.conv` lowers the parts, and what is left as it is."""
    split = _Split(graph)
    for node in graph.nodes:
        groups = _groups_of_a_part(graph, node)
        split.nodes += [node] if groups is None else split.parts(node, groups)
    return replace(
        graph,
        nodes=tuple(split.nodes),
        weights=split.weights,
        constants=split.constants,
        shapes=split.shapes,
        qparams=split.qparams,
    )


def _groups_of_a_part(graph: QdqGraph, node: Node) -> int | None:
    """Return how many groups one kernel takes, None for what is no convolution of more groups than that."""
    group = node.attributes.get("group", 1)
    weight = graph.weights.get(node.inputs[1]) if node.operator == "Conv" and group > 1 else None
    if weight is None or weight.values.ndim != 4 or {node.inputs[0], node.output} - {*graph.qparams}:
        return None
    (outputs, inputs), x = weight.values.shape[:2], graph.shapes[node.inputs[0]]
    fits = inputs > 0 and outputs % group == 0 and x[1] == inputs * group
    bias = graph.constants.get(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else np.zeros(outputs)
    if bias is None or bias.size != outputs or (weight.scales.size > 1 and weight.axis != 0) or not fits:
        return None
    groups = -(-WIDTH // max(1, min(inputs, outputs // group)))
    return groups if groups < group and (inputs, outputs) != (1, group) else None


class _Split:
    """The graph that `split_groups` makes."""

    def __init__(self, graph: QdqGraph) -> None:
        self.nodes: list[Node] = []
        self.weights, self.constants = dict(graph.weights), dict[str, NDArray[Any]](graph.constants)
        self.shapes, self.qparams = dict(graph.shapes), dict(graph.qparams)

    def parts(self, node: Node, groups: int) -> Iterator[Node]:
        """Yield the nodes that compute a convolution, `groups` of its groups at a time."""
        whole = self.weights[node.inputs[1]]
        (outputs, inputs), group = whole.values.shape[:2], node.attributes["group"]
        made = []
        for first in range(0, group, groups):
            count = min(groups, group - first)
            rows = slice(first * outputs // group, (first + count) * outputs // group)
            name = f"{node.output}, groups from {first}"
            yield self._slice(node.inputs[0], f"{name}, input", slice(first * inputs, (first + count) * inputs))
            if node.residual is not None:
                yield self._slice(node.residual, f"{name}, residual", rows)
            scales = whole.scales if whole.scales.size == 1 else whole.scales[rows]
            self.weights[f"{name}, weight"] = QuantizedWeight(whole.values[rows], scales, whole.axis)
            operands = [f"{name}, input", f"{name}, weight"]
            if len(node.inputs) > 2 and node.inputs[2]:
                self.constants[f"{name}, bias"] = self.constants[node.inputs[2]].reshape(-1)[rows]
                operands.append(f"{name}, bias")
            self._declare(name, node.output, rows.stop - rows.start)
            yield replace(
                node,
                name=f"{node.name}, groups from {first}",
                inputs=tuple(operands),
                output=name,
                attributes={**node.attributes, "group": count},
                residual=None if node.residual is None else f"{name}, residual",
            )
            made.append(name)
        yield Node(node.name, "Concat", tuple(made), node.output, {"axis": 1})

    def _slice(self, source: str, name: str, channels: slice) -> Node:
        self._declare(name, source, channels.stop - channels.start)
        return Node(name, "Slice", (source,), name, {"axes": (1,), "starts": (channels.start,)})

    def _declare(self, name: str, like: str, channels: int) -> None:
        """Note the shape, scale and zero point of a part of a tensor's channels."""
        self.shapes[name] = (1, channels, *self.shapes[like][2:])
        self.qparams[name] = self.qparams[like]
