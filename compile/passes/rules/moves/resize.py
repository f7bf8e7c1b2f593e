"""Maps of another size: each pixel the nearest one of the map, or a mean of its four neighbours."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from calib.integer.lower import integer_bounds, lower_linear
from calib.integer.program import LinearResize, NearestUpsample, Operator, SelectPixels
from calib.integer.qparams import LINEAR_SHIFT, linear_taps
from compile.ir.qdq_graph import Node, QdqGraph
from compile.passes.rules.common import OTHER_SCALE, Refusal, RuleResult, exceeds_int32, tensor_of
from repghost.graph.places import ROUNDINGS, nearest_places, source_places

COORDINATES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
               "tf_half_pixel_for_nn")  # fmt: skip
Places = tuple[NDArray[np.float64], NDArray[np.float64]]  # of the rows and columns of the output among the input's


def resize(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower a Resize to the nearest pixel, or a linear one."""
    if node.operator != "Resize":
        return None
    mode = node.attributes.get("mode", "nearest")
    if mode not in ("nearest", "linear"):
        return Refusal(f"mode {mode!r}; nearest and linear are supported")
    if node.attributes.get("antialias", 0) or node.attributes.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        return Refusal("antialias and keep_aspect_ratio_policy are not supported; export without them")
    places = _places(graph, node)
    if isinstance(places, Refusal):
        return places
    return _nearest(graph, node, places) if mode == "nearest" else _linear(graph, node, places)


def _nearest(graph: QdqGraph, node: Node, places: Places) -> Operator | Refusal:
    x, y = tensor_of(graph, node.inputs[0]), tensor_of(graph, node.output)
    rounding = node.attributes.get("nearest_mode", "round_prefer_floor")
    coordinates = node.attributes.get("coordinate_transformation_mode", "half_pixel")
    if rounding not in ROUNDINGS or (coordinates == "tf_half_pixel_for_nn" and rounding != "floor"):
        return Refusal(
            f"nearest_mode {rounding!r} of {coordinates!r}; {', '.join(ROUNDINGS)} are supported, of "
            "'tf_half_pixel_for_nn' floor alone"
        )
    if x.qparams != y.qparams or node.bounds != (-np.inf, np.inf):
        return Refusal(OTHER_SCALE)
    rows, columns = (
        nearest_places(place, size, rounding).astype(np.int32)
        for place, size in zip(places, (x.height, x.width), strict=True)
    )
    down, across = y.height // x.height, y.width // x.width
    copies = np.arange(x.height).repeat(down), np.arange(x.width).repeat(across)
    if np.array_equal(rows, copies[0]) and np.array_equal(columns, copies[1]):
        return NearestUpsample(node.name, x, y, down, across)
    return SelectPixels(node.name, x, y, rows, columns)


def _linear(graph: QdqGraph, node: Node, places: Places) -> Operator | Refusal:
    x, y = tensor_of(graph, node.inputs[0]), tensor_of(graph, node.output)
    taps = linear_taps(places[0], x.height), linear_taps(places[1], x.width)
    bias, epilogue = lower_linear(x.qparams, y.qparams, *integer_bounds(node.bounds, y.qparams))
    refusal = exceeds_int32(255 << 2 * LINEAR_SHIFT, epilogue.multiplier)
    return refusal or LinearResize(node.name, x, y, *taps, bias, epilogue)


def _places(graph: QdqGraph, node: Node) -> Places | Refusal:
    """Return where rows and columns of the output lie on the input."""
    x, y = tensor_of(graph, node.inputs[0]), tensor_of(graph, node.output)
    coordinates = node.attributes.get("coordinate_transformation_mode", "half_pixel")
    scales = _scales(graph, node)
    if coordinates not in COORDINATES:
        return Refusal(f"coordinates {coordinates!r}; {', '.join(COORDINATES)} are supported")
    if scales is None or x.channels != y.channels:
        return Refusal(f"it makes {y.shape} of {x.shape} by scales that do not fit; only height and width may change")
    if coordinates == "half_pixel_symmetric" and scales != (None, None):
        return Refusal(f"coordinates {coordinates!r} with scales that do not make whole sizes; export with sizes")
    rows, columns = (
        source_places(side, size, coordinates, scale)
        for side, size, scale in zip(y.shape, x.shape, scales, strict=False)
    )
    return rows, columns


def _scales(graph: QdqGraph, node: Node) -> tuple[float | None, float | None] | None:
    """Return the scales of height and width where the sizes do not say them, None for scales that do not fit.

    A scale that is the ratio of the sizes, as float32 holds it, is that ratio.
    """
    before, after = graph.shapes[node.inputs[0]], graph.shapes[node.output]
    name = node.inputs[2] if len(node.inputs) > 2 else ""
    given = graph.constants.get(name, np.zeros(0)).reshape(-1).astype(np.float64).tolist()
    if name and name not in graph.constants:
        return None
    axes = [axis % len(before) for axis in node.attributes.get("axes", range(len(before)))]
    if given and (len(axes) != len(given) or len({*axes}) != len(axes)):
        return None
    found: list[float | None] = [None] * 4
    for axis, scale in zip(axes, given, strict=False):
        if not (math.isfinite(scale) and scale > 0 and int(before[axis] * scale) == after[axis]):
            return None
        if np.float32(scale) != np.float32(after[axis] / before[axis]):
            found[axis] = scale
    return None if found[0] or found[1] else (found[2], found[3])
