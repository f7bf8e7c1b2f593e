"""Q/DQ nodes of a quantized file that is calibrated anew: values without rounding, clamps at the ends of ranges."""

from __future__ import annotations

import numpy as np

from calib.importer.handlers.elementwise import clipped
from calib.importer.onnx_network import Node
from calib.importer.walk import Handler, Value, Walk
from repghost.graph.operators import Add, Convolution, Multiply, Subtract

NEVER_NEGATIVE = ("Relu", "Sigmoid", "HardSigmoid", "Softplus", "Clip")
INT8 = np.iinfo(np.int8)
NOTE = "the file was quantized already; its weights were made real numbers, and its scales of activations are not used"


def quantize(walk: Walk, node: Node) -> Value:
    """Return what is quantized, and keep its scale where it is that of the whole tensor."""
    value, scale = _quantize(walk, node), walk.constant(node, 1, "scale")
    zero_point = walk.optional(node, 2, "zero point")
    if scale.size == 1:
        limits = np.iinfo(np.uint8 if zero_point is None else zero_point.dtype)
        zero = 0 if zero_point is None else int(zero_point.reshape(-1)[0])
        step = float(scale.reshape(-1)[0])
        if (limits.min, zero) != (INT8.min, 0):  # a range around zero that holds the file's
            step *= max(zero - limits.min, limits.max - zero) / INT8.max
        walk.scales.append((value, step))
    return value


def _quantize(walk: Walk, node: Node) -> Value:
    """Return what is quantized; where a quantizer left a Relu to the smallest integer, the Relu.

    A range that begins at zero ends the values below it, and those above its end, as the Relu or ReLU6 did that was
    there before.
    """
    value = walk.value(node)
    scale = walk.constant(node, 1, "scale").astype(np.float64)
    zero_point = walk.optional(node, 2, "zero point")
    limits = np.iinfo(np.uint8 if zero_point is None else zero_point.dtype)
    low = limits.min - (0 if zero_point is None else zero_point.astype(np.int64))
    high = limits.max - (0 if zero_point is None else zero_point.astype(np.int64))
    if NOTE not in walk.notes:
        walk.notes.append(NOTE)
    if np.size(scale) != 1 or np.any(low):
        return value
    if value.steps and value.steps[-1].operator in NEVER_NEGATIVE and value.steps[-1].operator != "Relu":
        return value
    maker = walk.operators.get(value.source)
    if not value.steps and not isinstance(maker, Convolution | Add | Subtract | Multiply):
        return value
    return clipped(value, node, 0.0, float(np.max(high) * scale.reshape(-1)[0]))


def dequantize(walk: Walk, node: Node) -> Value:
    """Return the real numbers, which were never rounded."""
    return walk.value(node)


HANDLERS: dict[str, Handler] = {"QuantizeLinear": quantize, "DequantizeLinear": dequantize}
