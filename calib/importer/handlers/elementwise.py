"""Element-wise operators: unary functions, batch norms, arithmetic of two tensors or of one and a constant."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.importer.draft import Affine
from calib.importer.formulas import appended, combined
from calib.importer.onnx_network import Node
from calib.importer.views import CHANNELS, COLUMNS, ROWS, View
from calib.importer.walk import Handler, Value, Walk, with_step
from repghost.graph.formulas import FORMULAS
from repghost.graph.operators import Add, ChannelSlopes, Multiply, Resize, Step, Subtract

# Operators of one number and their attributes with ONNX's defaults; PyTorch's name where the formula is one of ours.
PLAIN: dict[str, dict[str, float]] = {
    "Relu": {}, "LeakyRelu": {"alpha": 0.01}, "HardSigmoid": {"alpha": 0.2, "beta": 0.5}, "HardSwish": {},
    "Sigmoid": {}, "Tanh": {}, "Elu": {"alpha": 1.0}, "Erf": {}, "Exp": {}, "Softplus": {}, "Softsign": {}, "Log": {},
    "Selu": {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875}, "ThresholdedRelu": {"alpha": 1.0},
    "Floor": {}, "Ceil": {}, "Round": {}, "Sign": {}, "Neg": {}, "Abs": {}, "Sqrt": {}, "Reciprocal": {},
}  # fmt: skip
TANH_GELU = (
    Step("Pow", (0, 3.0)), Step("Mul", (1, 0.044715)), Step("Add", (0, 2)), Step("Mul", (3, math.sqrt(2.0 / math.pi))),
    Step("Tanh", (4,)), Step("Add", (5, 1.0)), Step("Mul", (0, 6)), Step("Mul", (7, 0.5)),
)  # fmt: skip
LONGEST_FORMULA = 64  # steps
NEUTRAL = {"Add": 0.0, "Sub": 0.0, "Mul": 1.0, "Div": 1.0}
LINEAR = {
    # (constant, whether it comes first) -> scale and shift
    "Add": lambda c, first: (1.0, c),
    "Sub": lambda c, first: (-1.0, c) if first else (1.0, -c),
    "Mul": lambda c, first: (c, 0.0),
    "Div": lambda c, first: None if first else (1.0 / c, 0.0),
}


def plain(walk: Walk, node: Node) -> Value:
    """Return an operator of one number as a step."""
    attributes = {**PLAIN[node.operator], **{k: v for k, v in node.attributes.items() if k in PLAIN[node.operator]}}
    return _step(walk.value(node), node, node.operator, (), tuple(attributes.items()))


def _step(
    value: Value, node: Node, operator: str, others: tuple[float, ...], attributes: tuple[tuple[str, float], ...] = ()
) -> Value:
    if len(value.steps) >= LONGEST_FORMULA:
        raise node.error(f"a function of more than {LONGEST_FORMULA} steps is not understood.")
    return with_step(value, node, Step(operator, (len(value.steps), *others), attributes))


def formula(walk: Walk, node: Node) -> Value:
    """Return Gelu, Mish or Swish as the steps that define it."""
    if node.operator == "Gelu":
        steps = TANH_GELU if node.attributes.get("approximate", "none") == "tanh" else FORMULAS["GELU"]
    elif node.operator == "Celu":
        alpha = float(node.attributes.get("alpha", 1.0))
        steps = (Step("Div", (0, alpha)), Step("Elu", (1,), (("alpha", 1.0),)), Step("Mul", (2, alpha)))
    elif node.operator == "Swish" and node.attributes.get("alpha", 1.0) != 1.0:
        scaled = Step("Mul", (0, float(node.attributes["alpha"])))
        steps = (scaled, Step("Sigmoid", (1,)), Step("Mul", (0, 2)))
    else:
        steps = FORMULAS[{"Swish": "SiLU", "Mish": "Mish"}[node.operator]]
    value = walk.value(node)
    return replace(value, steps=appended(value.steps, steps), node=node.name)


def clip(walk: Walk, node: Node) -> Value:
    """Return a Clip, with limits that older opsets keep as attributes."""
    low, high = walk.number(node, "min", 1, -math.inf), walk.number(node, "max", 2, math.inf)
    return clipped(walk.value(node), node, low, high)


def clipped(value: Value, node: Node, low: float, high: float) -> Value:
    """Return a value limited to an interval."""
    low, high = (limit if abs(limit) < 3e38 else math.copysign(math.inf, limit) for limit in (low, high))
    if high == math.inf:
        if low == -math.inf:
            return value
        return _step(value, node, "Relu", ()) if low == 0.0 else _step(value, node, "Max", (low,))
    return _step(value, node, "Min", (high,)) if low == -math.inf else _step(value, node, "Clip", (low, high))


def binary(walk: Walk, node: Node) -> Value:
    """Return arithmetic of two operands, of which one may be known."""
    known = [walk.is_constant(node, place) for place in (0, 1)]
    if any(known):
        first = known[0]
        value = walk.value(node, int(first))
        return with_constant(walk, node, value, walk.constant(node, int(not first), "operand"), first)
    if len(node.inputs) > 2:
        raise node.error("more than two operands are not understood. Export it as sums of two.")
    a, b = walk.value(node, 0), walk.value(node, 1)
    if a.source == b.source and a.view == b.view and (node.operator not in TWO_MAPS or a.steps or b.steps):
        if len(a.steps) + len(b.steps) >= LONGEST_FORMULA:
            raise node.error(f"a function of more than {LONGEST_FORMULA} steps is not understood.")
        return replace(a, steps=combined(a.steps, b.steps, STEP_OF.get(node.operator, node.operator)), node=node.name)
    if node.operator not in TWO_MAPS:
        raise node.error(
            f"{node.operator} of two tensors that depend on the image in different ways is not understood; Add, Sub "
            "and Mul are. Export the network without it."
        )
    return _of_two_maps(walk, node, walk.plain(a), walk.plain(b))


STEP_OF = {"Sum": "Add"}
TWO_MAPS: dict[str, Callable[[str, str, str], Any]] = {"Add": Add, "Sum": Add, "Sub": Subtract, "Mul": Multiply}


def with_constant(walk: Walk, node: Node, value: Value, constant: NDArray[Any], first: bool) -> Value:
    """Return arithmetic of a value and numbers that are known.

    Args:
        walk: the import.
        node: the operator.
        value: depends on the image.
        constant: one number, or one for each channel.
        first: whether the constant is the first operand.
    """
    operator = STEP_OF.get(node.operator, node.operator)
    value = replace(value, view=((),) * (constant.ndim - len(value.view)) + value.view)
    by_channel = walk.per_channel(value, constant)
    if by_channel is None or not np.issubdtype(constant.dtype, np.number):
        raise node.error(
            f"its operand of shape {list(constant.shape)} has a value for each pixel; one number, or one for each "
            "channel, is understood. Position embeddings have no integer form here."
        )
    if not np.isfinite(by_channel).all() and operator not in ("Max", "Min"):
        raise node.error("its constant operand is infinite. Check the network it came from.")
    if (by_channel == by_channel[0]).all():
        number = float(by_channel[0])
        if number == NEUTRAL.get(operator) and not (first and operator in ("Sub", "Div")):
            return value
        operands = (number, len(value.steps)) if first else (len(value.steps), number)
        if operator in ("Add", "Mul", "Max", "Min"):
            operands = (len(value.steps), number)
        return with_step(value, node, Step(operator, operands))
    linear = LINEAR[operator](by_channel, first) if operator in LINEAR else None
    if linear is None:
        raise node.error("one number for each channel can be added, subtracted, multiplied or divided by.")
    scale, shift = (np.broadcast_to(np.asarray(part, np.float64), by_channel.shape) for part in linear)
    return affine(walk, node, walk.plain(value), scale, shift)


def affine(
    walk: Walk, node: Node, value: Value, scale: NDArray[np.float64], shift: NDArray[np.float64], name: str = ""
) -> Value:
    """Return scale * value + shift, with one of each for a channel of its map, in the view of the value."""
    return walk.emit(Affine(name or node.name, value.source, scale, shift), value.view)


def _of_two_maps(walk: Walk, node: Node, a: Value, b: Value) -> Value:
    """Return an operator of two maps of one size, or of a map and a gate."""
    a, b = _same_rank(a, b)
    if a.view == b.view and walk.shape(a) == walk.shape(b):
        return _emitted(walk, node, a, b)
    for axis, other in zip(a.view, b.view, strict=True):
        if axis != other and axis and other:
            raise node.error("its operands lie in different orders, or have different sizes. Export it without.")
    wider = all(axis or not other for axis, other in zip(a.view, b.view, strict=True))
    if not wider and not all(other or not axis for axis, other in zip(a.view, b.view, strict=True)):
        raise node.error("it multiplies or adds a row and a column, which is not understood. Export it without.")
    full, small = (a, b) if wider else (b, a)
    shape, (channels, rows, columns) = walk.shape(full), walk.shape(small)
    by_channel, by_pixel = channels == shape[CHANNELS], (rows, columns) == shape[1:]
    if node.operator == "Mul" and ((by_channel and rows == columns == 1) or (by_pixel and channels == 1)):
        return _emitted(walk, node, full, small)
    if by_channel and rows in (1, shape[ROWS]) and columns in (1, shape[COLUMNS]):
        grown = _grown(walk, node, small, full)
        return _emitted(walk, node, *((full, grown) if wider else (grown, full)))
    raise node.error(
        "it puts maps of different sizes together; two of one size, or a map and values for each channel, are "
        "understood, and a map times one value for each pixel."
    )


def _same_rank(a: Value, b: Value) -> tuple[Value, Value]:
    rank = max(len(a.view), len(b.view))
    padded: list[View] = [((),) * (rank - len(value.view)) + value.view for value in (a, b)]
    return replace(a, view=padded[0]), replace(b, view=padded[1])


def _grown(walk: Walk, node: Node, small: Value, full: Value) -> Value:
    """Return a map of one row, one column or both as one of the size of another."""
    _, rows, columns = walk.shape(full)
    return walk.emit(Resize(f"{node.name}.spread", small.source, (rows, columns)), full.view)


def _emitted(walk: Walk, node: Node, a: Value, b: Value) -> Value:
    return walk.emit(TWO_MAPS[node.operator](node.name, a.source, b.source), a.view)


def batch_norm(walk: Walk, node: Node) -> Value:
    """Return a batch norm in evaluation mode as one scale and one shift for each channel."""
    if node.attributes.get("training_mode", 0) or len([name for name in node.outputs if name]) > 1:
        raise node.error("it is in training mode. Export the network in evaluation mode: model.eval().")
    names = ("scale", "bias", "mean", "variance")
    gamma, beta, mean, variance = (
        walk.constant(node, place, what).astype(np.float64) for place, what in enumerate(names, 1)
    )
    with np.errstate(all="ignore"):
        scale = gamma / np.sqrt(variance + float(node.attributes.get("epsilon", 1e-5)))
        shift = beta - mean * scale
    value = walk.plain(walk.value(node))
    rank = len(value.view)
    by_channel = [walk.per_channel(value, part.reshape(1, -1, *([1] * (rank - 2)))) for part in (scale, shift)]
    if by_channel[0] is None or by_channel[1] is None:
        raise node.error("it normalizes another axis than the channels. Export it for [1, C, H, W].")
    return affine(walk, node, value, by_channel[0], by_channel[1], walk.layer_name(node, 1))


def prelu(walk: Walk, node: Node) -> Value:
    """Return a PRelu: one slope, or one for each channel."""
    value, slopes = walk.value(node), walk.constant(node, 1, "slope")
    by_channel = walk.per_channel(value, slopes)
    if by_channel is None or slopes.ndim > len(value.view):
        raise node.error(f"it has slopes of shape {list(slopes.shape)}; one, or one for each channel, is understood.")
    if (by_channel == by_channel[0]).all():
        return _step(value, node, "LeakyRelu", (), (("alpha", float(by_channel[0])),))
    value = walk.plain(value)
    return walk.emit(ChannelSlopes(node.name, value.source, by_channel.astype(np.float32)), value.view)


HANDLERS: dict[str, Handler] = {
    **{operator: plain for operator in PLAIN},
    **{operator: formula for operator in ("Gelu", "Mish", "Swish", "Celu")},
    **{operator: binary for operator in ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum")},
    "Clip": clip,
    "BatchNormalization": batch_norm,
    "PRelu": prelu,
}
