"""What each ONNX operator of a file for TensorRT computes, in PyTorch on a batch of images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, TypeAlias

import onnx
import torch
from torch.nn import functional as F

from repghost.errors import UsageError
from repghost.graph.canonical import resize
from repghost.graph.functions import FAST_STEPS

Inputs: TypeAlias = Sequence[Any]  # tensors, and None for those that are left out
Attributes: TypeAlias = Mapping[str, Any]
Sides: TypeAlias = list[int] | tuple[int, ...]  # of rows and columns
Compute: TypeAlias = Callable[[Inputs, Attributes], torch.Tensor]


def compute_node(node: onnx.NodeProto, inputs: Inputs, attributes: Attributes) -> torch.Tensor:
    """Return a node's result, float32.

    Args:
        node: its operator.
        inputs: float32 tensors, whole numbers among them as floats.
        attributes: by name.

    Raises:
        UsageError: for an operator that files for TensorRT do not have.
    """
    if node.op_type in NODES:
        return NODES[node.op_type](inputs, attributes)
    if node.op_type in FAST_STEPS:
        result: torch.Tensor = FAST_STEPS[node.op_type](*inputs, **attributes)
        return result
    raise UsageError(f"node {node.name!r}: operator {node.op_type} is not one that files for TensorRT have.")


def _quantize(inputs: Inputs, attributes: Attributes) -> torch.Tensor:
    x, scale = inputs[:2]
    return torch.clamp(torch.round(x / _along_axis(scale, x, attributes)), -128, 127)


def _dequantize(inputs: Inputs, attributes: Attributes) -> torch.Tensor:
    x, scale = inputs[:2]
    product: torch.Tensor = x * _along_axis(scale, x, attributes)
    return product


def _along_axis(scale: torch.Tensor, x: torch.Tensor, attributes: Attributes) -> torch.Tensor:
    return scale if scale.ndim == 0 else scale.reshape(-1, *[1] * (x.ndim - 1 - attributes.get("axis", 1)))


def _convolution(inputs: Inputs, attributes: Attributes) -> torch.Tensor:
    x, weight, bias = inputs
    top, left, bottom, right = attributes["pads"]
    if (top, left) != (bottom, right):
        x, top, left = F.pad(x, (left, right, top, bottom)), 0, 0
    dilations = attributes.get("dilations", (1, 1))
    return F.conv2d(x, weight, bias, attributes["strides"], (top, left), dilations, attributes["group"])


def _clip(inputs: Inputs, attributes: Attributes) -> torch.Tensor:
    x, low, high = (*inputs, None, None)[:3]
    return torch.clamp(x, -math.inf if low is None else float(low), math.inf if high is None else float(high))


def _window(attributes: Attributes) -> tuple[Sides, Sides, Sides]:
    return attributes["kernel_shape"], attributes["strides"], attributes["pads"]


def max_pool(x: torch.Tensor, size: Sides, strides: Sides, pads: Sides, dilations: Sides) -> torch.Tensor:
    """Return the largest value of each window, of the pixels alone (arguments as `operators.MaxPool` has them)."""
    top, left, bottom, right = pads
    if (top, left) != (bottom, right) or 2 * top > size[0] or 2 * left > size[1]:
        x, top, left = F.pad(x, (left, right, top, bottom), value=-math.inf), 0, 0
    return F.max_pool2d(x, size, strides, (top, left), dilations)


def average_pool(x: torch.Tensor, size: Sides, strides: Sides, pads: Sides, padding_counts: bool) -> torch.Tensor:
    """Return the mean of each window (arguments as `operators.AveragePool` has them)."""
    top, left, bottom, right = pads
    if (top, left) == (bottom, right) and 2 * top <= size[0] and 2 * left <= size[1]:
        return F.avg_pool2d(x, size, strides, (top, left), count_include_pad=padding_counts)
    padding = left, right, top, bottom
    means = F.avg_pool2d(F.pad(x, padding), size, strides)
    # A mean of the pixels alone is one with zeros, divided by the pixels' share of the window.
    return means if padding_counts else means / F.avg_pool2d(F.pad(torch.ones_like(x[:1, :1]), padding), size, strides)


def _slice(inputs: Inputs, attributes: Attributes) -> torch.Tensor:
    x, *limits = inputs
    parts = [slice(None)] * x.ndim
    for start, end, axis, step in zip(*(values.int().tolist() for values in limits), strict=True):
        parts[axis] = slice(start, end, step)
    part: torch.Tensor = x[tuple(parts)]
    return part


def _pad(inputs: Inputs, attributes: Attributes) -> torch.Tensor:
    _, _, top, left, _, _, bottom, right = inputs[1].int().tolist()
    return F.pad(inputs[0], (left, right, top, bottom))


def _resize(inputs: Inputs, attributes: Attributes) -> torch.Tensor:
    rows, columns = inputs[3].int().tolist()[2:]
    mode, coordinates, rounding = (
        attributes.get(name, default).decode()
        for name, default in (
            ("mode", b"nearest"),
            ("coordinate_transformation_mode", b"half_pixel"),
            ("nearest_mode", b"round_prefer_floor"),
        )
    )
    return resize(inputs[0], (rows, columns), mode, coordinates, rounding)


def _reshape(inputs: Inputs, attributes: Attributes) -> torch.Tensor:
    """Return a batch of maps in another shape; the file names one of a batch of one."""
    shape: list[int] = inputs[1].int().tolist()
    reshaped: torch.Tensor = inputs[0].reshape(-1, *shape[1:])
    return reshaped


# Where the steps of formulas (`FAST_STEPS`) do not say it: operators of maps, and what they do to tensors in place of
# constants.
NODES: Mapping[str, Compute] = {
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "Cast": lambda inputs, attributes: inputs[0],
    "Conv": _convolution,
    "Clip": _clip,
    "Max": lambda inputs, attributes: reduce(torch.maximum, inputs),
    "Min": lambda inputs, attributes: reduce(torch.minimum, inputs),
    "PRelu": lambda inputs, attributes: torch.where(inputs[0] < 0, inputs[0] * inputs[1], inputs[0]),
    "GlobalAveragePool": lambda inputs, attributes: inputs[0].mean((2, 3), keepdim=True),
    "AveragePool": lambda inputs, attributes: average_pool(
        inputs[0], *_window(attributes), bool(attributes["count_include_pad"])
    ),
    "MaxPool": lambda inputs, attributes: max_pool(inputs[0], *_window(attributes), attributes["dilations"]),
    "Concat": lambda inputs, attributes: torch.cat(list(inputs), attributes["axis"]),
    "Slice": _slice,
    "Pad": _pad,
    "Resize": _resize,
    "Reshape": _reshape,
    "Transpose": lambda inputs, attributes: inputs[0].permute(attributes["perm"]),
    "Flatten": lambda inputs, attributes: inputs[0].flatten(1),
}
