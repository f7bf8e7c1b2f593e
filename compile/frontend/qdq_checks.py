"""What has to hold for every QuantizeLinear and DequantizeLinear node before its numbers are used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compile.ir.qdq_graph import DEQUANTIZE, QUANTIZE, Node
from repghost.errors import UsageError

SMALLEST_SCALE = float(np.finfo(np.float32).tiny)  # below, float32 loses digits
LARGEST_SCALE = float(np.finfo(np.float32).max) / 65536  # above, a dequantized value can overflow
DEFAULT_AXIS = 1  # ONNX's default
BROADCASTING = ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean", "PRelu")


def check_quantization(
    nodes: tuple[Node, ...], constants: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Check scale, zero point and axis of every Q/DQ node.

    Raises:
        UsageError: naming the node, the value and what is allowed.
    """
    weights = set(constants)  # and what Q and DQ nodes make of them
    for node in nodes:
        if node.operator in (QUANTIZE, DEQUANTIZE):
            try:
                _check_node(node, constants, shapes, node.inputs[0] in weights)
            except UsageError as error:
                raise UsageError(f"node {node.name!r} ({node.operator}): {error} Quantize it again.") from error
            if node.inputs[0] in weights:
                weights.add(node.output)


def check_broadcasts(
    nodes: tuple[Node, ...], constants: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Check that no operator puts tensors computed from the image together that have different ranks.

    ONNX aligns them at their last axis, so a tensor [1, C] would meet the columns of a map [1, C, H, W].

    Raises:
        UsageError: naming the node and the shapes.
    """
    stored = set(constants)
    for node in nodes:
        if node.operator in (QUANTIZE, DEQUANTIZE) and node.inputs[0] in stored:
            stored.add(node.output)
        if node.operator not in BROADCASTING:
            continue
        sizes = [list(shapes[name]) for name in node.inputs if name and name not in stored]
        other = next((size for size in sizes if len(size) != len(sizes[0])), None)
        if other is not None:
            raise UsageError(
                f"node {node.name!r} ({node.operator}) puts tensors of shape {sizes[0]} and {other} together, which "
                "ONNX aligns at the last axis. Export it with both in one number of dimensions, [1, C, 1, 1] for one "
                "value a channel."
            )


def _check_node(
    node: Node, constants: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]], is_weight: bool
) -> None:
    scale = _constant("scale", node.inputs[1], constants)
    _check_scale(scale)
    _check_zero_point(node, scale, constants, is_weight)
    if node.attributes.get("block_size", 0):
        raise UsageError("blocked quantization is not understood; use one scale per tensor or per channel.")
    if scale.size > 1:
        _check_axis(node, scale, shapes[node.inputs[0]], is_weight)


def _constant(kind: str, name: str, constants: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    if name not in constants:
        raise UsageError(f"its {kind} {name!r} is computed by the graph; only constants are understood.")
    return constants[name]


def _check_scale(scale: NDArray[Any]) -> None:
    if scale.dtype != np.float32 or scale.ndim > 1:
        raise UsageError(f"its scale is {scale.dtype} of shape {list(scale.shape)}; float32, scalar or [C], is needed.")
    bad = ~((scale >= SMALLEST_SCALE) & (scale <= LARGEST_SCALE))
    if bad.any():
        raise UsageError(
            f"a scale must be a finite normal float32 above 0 and at most {LARGEST_SCALE:.3g}, not "
            f"{float(scale[bad].flat[0])!r}."
        )


def _check_zero_point(node: Node, scale: NDArray[Any], constants: Mapping[str, NDArray[Any]], is_weight: bool) -> None:
    name = node.inputs[2] if len(node.inputs) > 2 else ""
    if not name:
        return  # 0 of int8; where it means 0 of uint8 the frontend has given the node one
    zero_point = _constant("zero point", name, constants)
    # An int32 bias is dequantized with an int32 zero point of 0; everything else is int8.
    bias = node.operator == DEQUANTIZE and zero_point.dtype == np.int32 and not zero_point.any()
    if zero_point.dtype == np.int16:
        _check_wide(zero_point, is_weight)
    elif zero_point.dtype != np.int8 and not bias:
        raise UsageError(f"its zero point is {zero_point.dtype}; int8 is allowed, and int16 for activations.")
    if zero_point.size != scale.size:
        raise UsageError(f"it has {scale.size} scales and {zero_point.size} zero points; as many of each are allowed.")
    if zero_point.size > 1 and zero_point.any() and is_weight:
        raise UsageError("it has a scale per channel and a zero point other than 0; per channel, only 0 is allowed.")
    if len({*zero_point.reshape(-1).tolist()}) > 1:
        raise UsageError("it has several zero points for an activation; one for all channels is allowed.")


def _check_wide(zero_point: NDArray[Any], is_weight: bool) -> None:
    if is_weight:
        raise UsageError("it quantizes a constant to 16 bits; weights are int8, activations alone may be int16.")
    if zero_point.size != 1 or zero_point.any():
        raise UsageError("an activation of 16 bits has one scale, and a zero point of 0.")


def _check_axis(node: Node, scale: NDArray[Any], shape: tuple[int, ...], is_weight: bool) -> None:
    axis = node.attributes.get("axis", DEFAULT_AXIS)
    if not -len(shape) <= axis < len(shape):
        raise UsageError(f"its axis is {axis}; its tensor has shape {list(shape)}.")
    if not is_weight and axis % len(shape) != 1:
        raise UsageError(f"it has {scale.size} scales along axis {axis} of an activation; only channels have them.")
    if shape[axis] != scale.size:
        raise UsageError(f"it has {scale.size} scales for {shape[axis]} channels (axis {axis} of {list(shape)}).")
