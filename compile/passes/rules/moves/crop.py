"""Slices of channels, rows and columns."""

from __future__ import annotations

import numpy as np

from calib.integer.program import Crop
from compile.ir.qdq_graph import Node, QdqGraph
from compile.passes.rules.common import OTHER_SCALE, Refusal, RuleResult, tensor_of


def crop(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower a Slice of channels, rows or columns without steps."""
    if node.operator != "Slice":
        return None
    x, y = tensor_of(graph, node.inputs[0]), tensor_of(graph, node.output)
    values = slice_values(graph, node)
    if values is None or not set(values["steps"]) <= {1}:
        return Refusal("only slices with constant limits and steps of 1 are supported")
    starts = dict.fromkeys(range(4), 0)
    shape = graph.shapes[node.inputs[0]]
    for axis, start in zip(values["axes"], values["starts"], strict=False):
        size = shape[axis % len(shape)]
        starts[axis % len(shape)] = min(max(start + size if start < 0 else start, 0), size)
    row, column, channel = starts[2], starts[3], starts[1]
    fits = row + y.height <= x.height and column + y.width <= x.width and channel + y.channels <= x.channels
    if starts[0] or not fits:
        return Refusal("its limits do not fit its input")
    if x.qparams != y.qparams or node.bounds != (-np.inf, np.inf):
        return Refusal(OTHER_SCALE)
    return Crop(node.name, x, y, row, column, channel)


def slice_values(graph: QdqGraph, node: Node) -> dict[str, tuple[int, ...]] | None:
    """Return starts, axes and steps of a Slice, whether they are attributes or constants; None for computed ones."""
    found: dict[str, tuple[int, ...]] = {}
    for index, key in ((1, "starts"), (3, "axes"), (4, "steps")):
        name = node.inputs[index] if len(node.inputs) > index else ""
        if name and name not in graph.constants:
            return None
        if name:
            found[key] = tuple(int(value) for value in graph.constants[name].reshape(-1))
        elif key in node.attributes:
            found[key] = node.attributes[key]
    if "starts" not in found:
        return None
    found.setdefault("axes", tuple(range(len(found["starts"]))))
    found.setdefault("steps", (1,) * len(found["starts"]))
    return found
