"""Layers with weights: convolutions, and matrix products, which are convolutions over one pixel or a whole map."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.importer.handlers.windows import window_of
from calib.importer.onnx_network import Node
from calib.importer.views import CHANNELS, COLUMNS, ROWS, Axis, cover, dimensions, positions, whole
from calib.importer.walk import Handler, Value, Walk
from repghost.graph.operators import Convolution

MOST_CHANNELS = 4096  # that a convolution goes along: its matrix has 64 MB


def convolution(walk: Walk, node: Node) -> Value:
    """Return a convolution over rows and columns."""
    weight = walk.constant(node, 1, "weight").astype(np.float32)
    if weight.ndim == 3:
        return _along_channels(walk, node, weight)
    if weight.ndim != 4:
        raise node.error(
            f"its weight has shape {list(weight.shape)}; convolutions over rows and columns are understood, [O, I, kh, "
            "kw]. Export a one-dimensional one with a kernel of one row."
        )
    bias = walk.optional(node, 2, "bias")
    bias = np.zeros(len(weight), np.float32) if bias is None else bias.astype(np.float32)
    if bias.shape != (len(weight),):
        raise node.error(f"its bias has shape {list(bias.shape)}; one number for each of {len(weight)} channels fits.")
    source = walk.map(node)
    groups = node.attributes.get("group", 1)
    channels, rows, columns = walk.maps[source]
    if groups < 1 or len(weight) % groups or weight.shape[1] * groups != channels:
        raise node.error(f"its weight {list(weight.shape)} in {groups} groups does not fit {channels} channels.")
    window = window_of(node, (weight.shape[2], weight.shape[3]), (rows, columns))
    name = walk.layer_name(node, 1)
    return walk.emit(Convolution(name, source, weight, bias, window.strides, window.pads, window.dilations, groups))


def _along_channels(walk: Walk, node: Node, weight: NDArray[np.float32]) -> Value:
    """Return a convolution along the channels of one pixel (ECA) as the matrix that it is, zeros beside its band."""
    value = walk.straight(node, walk.plain(walk.value(node)))
    channels, taps = walk.shape(value)[CHANNELS], weight.shape[2]
    pads, plain = tuple(node.attributes.get("pads", ())) or (0, 0), {(), (1,)}
    if (
        weight.shape[:2] != (1, 1)
        or max(channels, taps) > MOST_CHANNELS
        or value.view != ((), (), whole(CHANNELS, channels))
        or walk.result_shape(node)[2] != channels
        or {tuple(node.attributes.get(key, ())) for key in ("strides", "dilations")} - plain
    ):
        raise node.error(
            f"its weight has shape {list(weight.shape)}; convolutions over rows and columns are understood, and those "
            "over the channels of one pixel. Export it with a kernel of one row."
        )
    matrix = sum(np.eye(channels, k=tap - pads[0], dtype=np.float32) * weight[0, 0, tap] for tap in range(taps))
    bias = walk.optional(node, 2, "bias")
    shift = None if bias is None else np.broadcast_to(bias, channels)
    return _linear(walk, node, 0, -1, np.asarray(matrix), shift, walk.layer_name(node, 1))


def gemm(walk: Walk, node: Node) -> Value:
    """Return a linear layer."""
    if node.attributes.get("transA", 0):
        raise node.error("it transposes what depends on the image. Export it as x times a matrix.")
    matrix = walk.constant(node, 1, "matrix").astype(np.float32) * np.float32(node.attributes.get("alpha", 1.0))
    bias = walk.optional(node, 2, "bias")
    matrix = matrix if node.attributes.get("transB", 0) else matrix.T
    if bias is not None:
        bias = np.broadcast_to(bias.reshape(-1) * np.float32(node.attributes.get("beta", 1.0)), len(matrix))
    return _linear(walk, node, 0, -1, matrix, bias, walk.layer_name(node, 1))


def matmul(walk: Walk, node: Node) -> Value:
    """Return the product with a known matrix, from either side."""
    known = [walk.is_constant(node, place) for place in (0, 1)]
    if not any(known):
        raise node.error(
            "it multiplies two matrices that both depend on the image: attention, which has no integer form here. Use "
            "a convolutional network."
        )
    place = known.index(True)
    matrix = walk.constant(node, place, "matrix").astype(np.float32)
    if matrix.ndim > 2 and matrix.size == matrix.shape[-1] * matrix.shape[-2]:
        matrix = matrix.reshape(matrix.shape[-2:])
    if matrix.ndim != 2:
        raise node.error(f"its matrix has shape {list(matrix.shape)}; one of two dimensions is understood.")
    name = walk.layer_name(node, place)
    return _linear(walk, node, 1 - place, -1 if place else -2, matrix.T if place else matrix, None, name)


def _linear(
    walk: Walk, node: Node, place: int, axis: int, matrix: NDArray[Any], bias: NDArray[Any] | None, name: str
) -> Value:
    """Return a matrix [O, I] applied along an axis of a tensor: its channels, or all of a map."""
    value = walk.plain(walk.value(node, place))
    shape, counted = walk.shape(value), value.view[axis]
    over = dimensions(counted)
    others = tuple(other for index, other in enumerate(value.view) if index != axis % len(value.view))
    whole_map = all(cover((counted,), dimension, shape[dimension]) for dimension in (CHANNELS, ROWS, COLUMNS))
    if not whole_map and not (over == {CHANNELS} and cover((counted,), CHANNELS, shape[CHANNELS])):
        raise node.error(
            "it is a product along rows, columns or a part of the channels; along all channels, or a whole map, is "
            "understood. Mixers over pixels have no integer form here."
        )
    channels, rows, columns = shape
    kernel = (rows, columns) if whole_map and not any(others) else (1, 1)
    if matrix.shape[1] != channels * kernel[0] * kernel[1]:
        raise node.error(f"its matrix of shape {list(matrix.shape)} does not fit {channels} channels.")
    ordered = np.empty(matrix.shape, np.float32)
    ordered[:, _in_map_order(counted, shape, matrix.shape[1])] = matrix
    weight = ordered.reshape(len(matrix), channels, *kernel)
    shift = np.zeros(len(matrix), np.float32) if bias is None else np.ascontiguousarray(bias, np.float32)
    view = list(value.view)
    view[axis] = whole(CHANNELS, len(matrix))
    return walk.emit(Convolution(name, value.source, weight, shift), tuple(view))


def _in_map_order(axis: Axis, shape: tuple[int, int, int], count: int) -> NDArray[np.int64]:
    return positions((axis,), shape) if axis else np.zeros(count, np.int64)


HANDLERS: dict[str, Handler] = {"Conv": convolution, "Gemm": gemm, "MatMul": matmul}
