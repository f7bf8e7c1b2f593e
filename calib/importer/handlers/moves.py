"""Operators that only move values: reshape, transpose, slice, split, concatenation, padding, resize."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate, pairwise

import numpy as np

from calib.importer.draft import FilledPad
from calib.importer.onnx_network import Node
from calib.importer.views import CHANNELS, COLUMNS, ROWS, Axis, Digit, View, dimensions, reshaped, sizes, whole
from calib.importer.walk import Handler, Value, Walk
from repghost.graph.operators import Concat, Resize, Slice

MOST_RUNS = 16  # of neighbouring channels that a Gather takes


def same(walk: Walk, node: Node) -> Value:
    """Return what a node reads, which it gives on unchanged."""
    return walk.value(node)


def cast(walk: Walk, node: Node) -> Value:
    """Return a Cast between real numbers, which are float32 here."""
    if node.attributes.get("to") not in (1, 10, 11, 16):  # float32, float16, float64, bfloat16
        raise node.error("it makes whole numbers of an image's values; real ones are understood.")
    return walk.value(node)


def reshape(walk: Walk, node: Node) -> Value:
    """Return the same numbers in another shape, which the file has fixed."""
    value, shape = walk.value(node), walk.result_shape(node)
    view = reshaped(value.view, shape)
    if view is None:
        raise node.error(
            f"the new shape {list(shape)} mixes channels, rows and columns. Attention and windows of pixels have no "
            "integer form here; use a convolutional network."
        )
    return replace(value, view=view)


def transpose(walk: Walk, node: Node) -> Value:
    """Return the axes in another order."""
    value = walk.value(node)
    order = node.attributes.get("perm", tuple(reversed(range(len(value.view)))))
    return replace(value, view=tuple(value.view[axis] for axis in order))


def crop(walk: Walk, node: Node, value: Value, axis: int, start: int, count: int, step: int = 1) -> Value:
    """Return a part of a tensor along one axis: `count` values from `start` on, each `step` behind the last."""
    if (start, count, step) == (0, sizes(value.view)[axis], 1):
        return value
    value = walk.straight(node, walk.plain(value))
    digits = value.view[axis]
    if len(digits) != 1:
        raise node.error("it cuts an axis that mixes channels, rows and columns, or one of size 1. Export it without.")
    digit, shape = digits[0], walk.shape(value)
    full = shape[digit.dimension]
    if digit.step == 1 and (digit.size == full or count == 1):
        first, end, apart = start, (start + (count - 1) * step + 1) if digit.size == full else full, step
        apart = step if digit.size == full else digit.size
        inner = 1 if digit.size == full else digit.size
        outer = 1
    elif digit.size * digit.step == full and step == 1:
        first, end, apart, inner, outer = start * digit.step, (start + count) * digit.step, 1, 1, digit.step
    else:
        raise node.error("it takes groups of channels apart in a way that is not understood. Export it without.")
    starts, ends, steps = [0, 0, 0], list(shape), [1, 1, 1]
    starts[digit.dimension], ends[digit.dimension], steps[digit.dimension] = first, end, apart

    def changed(axis: Axis, cut: bool) -> Axis:
        if cut:
            return (Digit(digit.dimension, count, outer),) if count > 1 else ()
        return tuple(replace(d, step=d.step // inner) if d.dimension == digit.dimension else d for d in axis)

    axis %= len(value.view)
    part = Slice(
        node.name, value.source, (starts[0], starts[1], starts[2]), (ends[0], ends[1], ends[2]),
        (steps[0], steps[1], steps[2]),
    )  # fmt: skip
    return walk.emit(part, tuple(changed(other, index == axis) for index, other in enumerate(value.view)))


def slices(walk: Walk, node: Node) -> Value:
    """Return a Slice."""
    value = walk.value(node)
    starts, ends = walk.setting(node, "starts", 1), walk.setting(node, "ends", 2)
    if starts is None or ends is None:
        raise node.error("it does not say where it begins and ends.")
    axes = walk.setting(node, "axes", 3) or tuple(range(len(starts)))
    steps = walk.setting(node, "steps", 4) or (1,) * len(starts)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        size = sizes(value.view)[axis]
        if step < 1:
            raise node.error("it walks backwards (a negative step). Export the network without flipping.")
        part = range(*slice(start, end, step).indices(size))
        if not part:
            raise node.error("nothing is left of its input.")
        value = crop(walk, node, value, axis, part.start, len(part), step)
    return value


def split(walk: Walk, node: Node) -> tuple[Value, ...]:
    """Return the parts of a Split."""
    value, axis = walk.value(node), node.attributes.get("axis", 0)
    size = sizes(value.view)[axis]
    part = -(-size // len(node.outputs))
    equal = tuple(min(part, size - part * index) for index in range(len(node.outputs)))
    parts = walk.setting(node, "split", 1) or equal
    if sum(parts) != size or min(parts) < 1 or len(parts) != len(node.outputs):
        raise node.error(f"its parts {list(parts)} are not a size of {size}.")
    value = walk.plain(value)
    value = walk.straight(node, value)
    ends = accumulate(parts)
    return tuple(
        crop(walk, node, value, axis, end - part, part) if name else value
        for name, end, part in zip(node.outputs, ends, parts, strict=True)
    )


def gather(walk: Walk, node: Node) -> Value:
    """Return some values along an axis: each a slice, or runs of channels behind each other."""
    value, axis = walk.value(node), node.attributes.get("axis", 0)
    indices = walk.constant(node, 1, "index")
    size = sizes(value.view)[axis]
    places = [int(index) % size for index in indices.reshape(-1)]
    axis %= len(value.view)
    if indices.ndim > 1 or not places:
        raise node.error(f"it has indices of shape {list(indices.shape)}; one index or a row of them is understood.")
    if not indices.ndim:
        value = crop(walk, node, value, axis, places[0], 1)
        return replace(value, view=value.view[:axis] + value.view[axis + 1 :])
    step = places[1] - places[0] if len(places) > 1 else 1
    if step > 0 and places == list(range(places[0], places[-1] + 1, step)):
        return crop(walk, node, value, axis, places[0], len(places), step)
    cuts = [0, *(int(at) + 1 for at in np.flatnonzero(np.diff(places) != 1)), len(places)]
    if len(cuts) > MOST_RUNS + 1:
        raise node.error(f"it takes values in an order of more than {MOST_RUNS} runs. Export it without.")
    value = walk.plain(value)
    parts = [crop(walk, node, value, axis, places[a], b - a) for a, b in pairwise(cuts)]
    return _joined(walk, node, parts, axis)


def concat(walk: Walk, node: Node) -> Value:
    """Return maps behind each other, along their channels."""
    values = [walk.straight(node, walk.plain(walk.value(node, place))) for place in range(len(node.inputs))]
    return values[0] if len(values) == 1 else _joined(walk, node, values, node.attributes.get("axis", 1))


def _joined(walk: Walk, node: Node, values: list[Value], axis: int) -> Value:
    shapes = [walk.shape(value) for value in values]
    axis %= len(values[0].view)

    def expected(value: Value, shape: tuple[int, int, int]) -> View:
        return tuple(whole(CHANNELS, shape[0]) if i == axis else other for i, other in enumerate(value.view))

    first = values[0]
    others = [tuple(other for i, other in enumerate(value.view) if i != axis) for value in values]
    if any(value.view != expected(value, shape) for value, shape in zip(values, shapes, strict=True)) or any(
        other != others[0] or shape[1:] != shapes[0][1:] for other, shape in zip(others, shapes, strict=True)
    ):
        raise node.error("it joins tensors along another axis than their channels, which is not understood.")
    channels = sum(shape[CHANNELS] for shape in shapes)
    view = tuple(whole(CHANNELS, channels) if i == axis else other for i, other in enumerate(first.view))
    return walk.emit(Concat(node.name, tuple(value.source for value in values)), view)


def pad(walk: Walk, node: Node) -> Value:
    """Return values around rows and columns."""
    mode = node.attributes.get("mode", "constant")
    if mode != "constant":
        raise node.error(f"its mode is {mode!r}; 'constant' is understood. Use zero padding.")
    pads = walk.setting(node, "pads", 1)
    value = walk.value(node)
    rank = len(value.view)
    axes = tuple(axis % rank for axis in walk.setting(node, "axes", 3) or range(rank))
    if pads is None or len(pads) != 2 * len(axes):
        raise node.error(f"it has {0 if pads is None else len(pads)} pads for {len(axes)} axes.")
    if not any(pads):
        return value
    fill = walk.number(node, "value", 2, 0.0)
    value = walk.plain(value)
    shape = list(walk.shape(value))
    around = {ROWS: (0, 0), COLUMNS: (0, 0)}
    view = list(value.view)
    for index, axis in enumerate(axes):
        ends = int(pads[index]), int(pads[index + len(axes)])
        if not any(ends):
            continue
        dimension = _dimension_of(value.view, axis)
        if dimension == CHANNELS or view[axis] != whole(dimension, shape[dimension]) or min(ends) < 0:
            raise node.error("it pads other axes than rows and columns, or cuts; zeros around a map are understood.")
        around[dimension] = ends
        shape[dimension] += sum(ends)
        view[axis] = whole(dimension, shape[dimension])
    pads = (around[ROWS][0], around[COLUMNS][0], around[ROWS][1], around[COLUMNS][1])
    return walk.emit(FilledPad(node.name, value.source, pads, fill), tuple(view))


def _dimension_of(view: View, axis: int) -> int:
    """Return along which dimension of its map an axis counts; one of size 1 is taken for what it is by its place."""
    first, last = (CHANNELS, CHANNELS, ROWS, COLUMNS), (CHANNELS, ROWS, COLUMNS, CHANNELS)
    layouts = (
        layout for layout in (first, last)
        if len(view) == 4 and all(dimensions(digits) <= {d} for digits, d in zip(view, layout, strict=True))
    )  # fmt: skip
    return next(layouts, first)[axis] if len(view) == 4 else CHANNELS


def resize(walk: Walk, node: Node) -> Value:
    """Return a map of another size, its pixels repeated or mixed linearly."""
    mode = node.attributes.get("mode", "nearest")
    source, shape = walk.map(node), walk.result_shape(node)
    channels, rows, columns = walk.maps[source]
    size = (shape[2], shape[3])
    if shape[:2] != (1, channels) or node.attributes.get("antialias", 0) or mode not in ("nearest", "linear"):
        raise node.error(
            f"its mode is {mode!r}, it changes channels, or it has antialias; 'nearest' and 'linear' resizing of rows "
            "and columns are understood."
        )
    if size == (rows, columns):
        return walk.seen(source)
    coordinates = node.attributes.get("coordinate_transformation_mode", "half_pixel")
    rounding = node.attributes.get("nearest_mode", "round_prefer_floor")
    if node.operator == "Upsample":
        coordinates, rounding = "asymmetric", "floor"
    scales = walk.setting(node, "scales", 2 if node.operator == "Resize" and walk.network.opset > 10 else 1)
    old = (rows, columns)
    if scales and any(round(old[axis] * scales[axis + 2]) != size[axis] for axis in (0, 1)):
        raise node.error(f"its scales {list(scales)} are not those of its sizes. Export it with sizes.")
    if coordinates not in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"):
        raise node.error(f"its coordinate_transformation_mode {coordinates!r} is not understood.")
    return walk.emit(Resize(node.name, source, size, mode, coordinates, rounding))


def expand(walk: Walk, node: Node) -> Value:
    """Return a tensor in a larger shape, unchanged where those that read it repeat their operands by themselves."""
    value, shape = walk.value(node), walk.result_shape(node)
    view = ((),) * (len(shape) - len(value.view)) + value.view
    if sizes(view) != shape and walk.read_by.get(node.outputs[0], {"nothing"}) - {"Add", "Sub", "Mul"}:
        raise node.error("it repeats values, which is not understood. Operators repeat their operands by themselves.")
    return replace(value, view=view)


HANDLERS: dict[str, Handler] = {
    "Identity": same, "Dropout": same, "Cast": cast, "Expand": expand, "Transpose": transpose,
    **{operator: reshape for operator in ("Reshape", "Flatten", "Squeeze", "Unsqueeze")},
    "Slice": slices, "Split": split, "Gather": gather, "Concat": concat, "Pad": pad,
    "Resize": resize, "Upsample": resize,
}  # fmt: skip
