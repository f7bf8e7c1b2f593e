"""Nodes that select integers and compute none: max pools, concatenations, slices, scores that are quantized."""

from __future__ import annotations

import numpy as np

from calib.integer.program import Concat, Crop, Dequantize, MaxPool
from compile.ir.qdq_graph import DEQUANTIZE_SCORES, Node, QdqGraph
from compile.passes.rules.common import Refusal, RuleResult, tensor_of

OTHER_SCALE = "its result has another scale or zero point than what it reads"


def max_pool(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower a MaxPool with a square window."""
    if node.operator != "MaxPool":
        return None
    x, y, attributes = tensor_of(graph, node.inputs[0]), tensor_of(graph, node.output), node.attributes
    kernel, strides = attributes.get("kernel_shape", ()), attributes.get("strides", (1, 1))
    pads = attributes.get("pads", (0, 0, 0, 0))
    if attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return Refusal(f"auto_pad {attributes['auto_pad']!r} is not supported; export with explicit pads")
    if len(kernel) != 2 or len({*kernel}) != 1 or len({*strides}) != 1 or {*attributes.get("dilations", (1,))} != {1}:
        return Refusal("only a square window with equal strides and no dilation is supported")
    size, stride = kernel[0], strides[0]
    if len(pads) != 4 or pads[0] != pads[1] or min(pads) < 0 or max(pads) >= size or stride < 1:
        return Refusal(f"pads {pads}; equal ones above and on the left, smaller than the window, are supported")
    inside = max((y.height - 1) * stride - pads[0] - x.height, (y.width - 1) * stride - pads[0] - x.width) < 0
    if not inside or x.channels != y.channels:
        return Refusal("a window lies outside the map")
    if x.qparams != y.qparams or node.bounds != (-np.inf, np.inf):
        return Refusal(OTHER_SCALE)
    return MaxPool(node.name, x, y, size, stride, pads[0])


def concat(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower a Concat of channels."""
    if node.operator != "Concat":
        return None
    inputs, y = tuple(tensor_of(graph, name) for name in node.inputs), tensor_of(graph, node.output)
    if node.attributes.get("axis") not in (1, 1 - len(graph.shapes[node.output])):
        return Refusal("only the concatenation of channels is supported")
    sizes = {(x.height, x.width) for x in inputs}
    if sizes != {(y.height, y.width)} or sum(x.channels for x in inputs) != y.channels:
        return Refusal("its inputs do not fit its output")
    if any(x.qparams != y.qparams for x in inputs) or node.bounds != (-np.inf, np.inf):
        return Refusal(OTHER_SCALE)
    return Concat(node.name, inputs, y)


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


def dequantize(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower the DequantizeLinear that makes the scores."""
    if node.operator != DEQUANTIZE_SCORES:
        return None
    x, y = tensor_of(graph, node.inputs[0]), tensor_of(graph, node.output)
    if (x.height, x.width) != (1, 1):
        return Refusal("the scores are one value per class, not a map")
    return Dequantize(node.name, x, y)
