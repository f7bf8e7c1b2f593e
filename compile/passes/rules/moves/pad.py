"""Padding that no layer behind it can take."""

from __future__ import annotations

import numpy as np

from calib.integer.program import Pad, SelectPixels
from calib.integer.qparams import quantize
from compile.ir.qdq_graph import Node, QdqGraph
from compile.passes.rules.common import OTHER_SCALE, Refusal, RuleResult, tensor_of

MIRRORS = ("edge", "reflect", "wrap")  # numpy and ONNX call them alike
Sides = tuple[tuple[int, int], ...]  # before and after, for each of the four axes


def pad(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower a Pad that `fold_pads` has left."""
    if node.operator != "Pad":
        return None
    x, y, sides, mode = (
        tensor_of(graph, node.inputs[0]),
        tensor_of(graph, node.output),
        pads_of(graph, node),
        node.attributes.get("mode", "constant"),
    )
    if sides is None or min(min(side) for side in sides) < 0 or any(sides[0]):
        return Refusal("its pads have to be constants, none below 0, of channels, rows and columns; slice to cut off")
    channels, rows, columns = sides[1:]
    if tuple(size + sum(side) for size, side in zip(x.shape, (rows, columns, channels), strict=True)) != y.shape:
        return Refusal(f"it makes {y.shape} of {x.shape}, which its pads do not")
    if x.qparams != y.qparams or node.bounds != (-np.inf, np.inf):
        return Refusal(OTHER_SCALE)
    if mode in MIRRORS and not any(channels):
        picked = (np.pad(np.arange(size, dtype=np.int32), side, mode)
                  for size, side in zip(x.shape, (rows, columns), strict=False))  # fmt: skip
        return SelectPixels(node.name, x, y, *picked)
    value = pad_value(graph, node)
    if mode != "constant" or value is None:
        return Refusal(f"mode {mode!r}; a constant around the map, or {', '.join(MIRRORS)} of rows and columns, is "
                       "supported")  # fmt: skip
    return Pad(node.name, x, y, rows[0], columns[0], channels[0], value)


def pads_of(graph: QdqGraph, node: Node) -> Sides | None:
    """Return the pixels a Pad adds before and behind each of four axes, None where they are computed or do not fit."""
    pads, axes = ([graph.constants.get(name) for name in node.inputs[at : at + 1] if name] for at in (1, 3))
    rank = len(graph.shapes[node.inputs[0]])
    if len(pads) != 1 or pads[0] is None or (axes and axes[0] is None):
        return None
    values = [int(value) for value in pads[0].reshape(-1)]
    over = [int(axis) % rank for axis in axes[0].reshape(-1)] if axes and axes[0] is not None else [*range(rank)]
    if len(values) != 2 * len(over) or len({*over}) != len(over) or rank > 4:
        return None
    sides = dict(zip(over, zip(values, values[len(over) :], strict=False), strict=True))
    return tuple(sides.get(axis, (0, 0)) for axis in range(4))


def pad_value(graph: QdqGraph, node: Node) -> int | None:
    """Return the integer around a padded int8 map, None where it is computed or no number."""
    name = node.inputs[2] if len(node.inputs) > 2 else ""
    value = graph.constants.get(name, None if name else np.float32(0))
    if value is None or value.size != 1 or np.isnan(value).any():
        return None
    return int(quantize(np.asarray(value, np.float32).reshape(1), graph.qparams[node.output])[0])
