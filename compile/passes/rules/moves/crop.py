"""Slices of channels, rows and columns."""

from __future__ import annotations

import numpy as np

from calib.integer.program import Crop, SelectPixels
from compile.ir.qdq_graph import Node, QdqGraph
from compile.passes.rules.common import OTHER_SCALE, Refusal, RuleResult, tensor_of


def crop(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower a Slice of channels, rows or columns; of rows and columns also with steps."""
    if node.operator != "Slice":
        return None
    x, y = tensor_of(graph, node.inputs[0]), tensor_of(graph, node.output)
    values, shape = slice_values(graph, node), graph.shapes[node.inputs[0]]
    if values is None or 0 in values["steps"]:
        return Refusal("only slices with constant limits are supported")
    picked = [np.arange(size, dtype=np.int32) for size in (*shape, 1, 1)[:4]]
    for axis, start, end, step in zip(*(values[key] for key in ("axes", "starts", "ends", "steps")), strict=False):
        picked[axis % len(shape)] = picked[axis % len(shape)][start:end:step]
    batch, channels, rows, columns = picked
    if len(batch) != 1 or (len(rows), len(columns), len(channels)) != y.shape:
        return Refusal("its limits do not fit its input")
    if x.qparams != y.qparams or node.bounds != (-np.inf, np.inf):
        return Refusal(OTHER_SCALE)
    if all(set(np.diff(index)) <= {1} for index in picked):
        return Crop(node.name, x, y, int(rows[0]), int(columns[0]), int(channels[0]))
    if len(channels) != x.channels or (np.diff(channels) != 1).any():
        return Refusal("steps along the channels, or along rows or columns of a part of them, are not supported")
    return SelectPixels(node.name, x, y, rows, columns)


def slice_values(graph: QdqGraph, node: Node) -> dict[str, tuple[int, ...]] | None:
    """Return starts, ends, axes and steps of a Slice, attributes or constants; None for computed ones."""
    found: dict[str, tuple[int, ...]] = {}
    for index, key in ((1, "starts"), (2, "ends"), (3, "axes"), (4, "steps")):
        name = node.inputs[index] if len(node.inputs) > index else ""
        if name and name not in graph.constants:
            return None
        if name:
            found[key] = tuple(int(value) for value in graph.constants[name].reshape(-1))
        elif key in node.attributes:
            found[key] = node.attributes[key]
    if "starts" not in found:
        return None
    whole = graph.shapes[node.output]  # nodes that passes make have no ends
    found.setdefault("axes", tuple(range(len(found["starts"]))))
    found.setdefault("steps", (1,) * len(found["starts"]))
    if "ends" not in found:
        found["ends"] = tuple(
            start + whole[axis % len(whole)] for start, axis in zip(found["starts"], found["axes"], strict=False)
        )
    return found
