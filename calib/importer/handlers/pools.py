"""Pools over windows and over whole maps, as pools or as reductions along axes."""

from __future__ import annotations

from calib.importer.formulas import appended
from calib.importer.handlers.windows import Window, rounded_up, window_of
from calib.importer.onnx_network import Node
from calib.importer.views import COLUMNS, ROWS, cover, dimensions
from calib.importer.walk import Handler, Value, Walk
from repghost.graph.operators import AveragePool, GlobalAveragePool, MaxPool, Step

PIXELS = {ROWS, COLUMNS}


def max_pool(walk: Walk, node: Node) -> Value:
    """Return a max pool."""
    if len([name for name in node.outputs if name]) > 1:
        raise node.error("its second result, where the largest values were, is not understood.")
    source = walk.map(node)
    return _max(walk, node, source, _window(node, walk.maps[source][1:]))


def _max(walk: Walk, node: Node, source: str, window: Window) -> Value:
    if window.size == window.strides == (1, 1) and not any(window.pads):
        return walk.seen(source)
    return walk.emit(MaxPool(node.name, source, window.size, window.strides, window.pads, window.dilations))


def average_pool(walk: Walk, node: Node) -> Value:
    """Return an average pool; over the whole map, a global one."""
    source = walk.map(node)
    image = walk.maps[source][1:]
    window = _window(node, image)
    counts = bool(node.attributes.get("count_include_pad", 0))
    pads = window_of(node, window.size, image).pads
    if counts and window.pads != pads:
        if any(pads):
            raise node.error("it counts its padding and rounds its size up (ceil_mode); one of both is understood.")
        counts = False  # what lies behind the image is not counted
    if window.dilations != (1, 1):
        raise node.error(f"it has dilations {window.dilations}; average pools without them are understood.")
    if window.size == window.strides == (1, 1) and not any(window.pads):
        return walk.seen(source)
    if not any(window.pads) and window.size == image:
        return _mean(walk, node, source)
    counts = counts or not any(window.pads)
    return walk.emit(AveragePool(node.name, source, window.size, window.strides, window.pads, counts))


def _window(node: Node, image: tuple[int, int]) -> Window:
    size = tuple(node.attributes.get("kernel_shape", ()))
    if len(size) != 2:
        raise node.error(f"its window is {list(size)}; windows over rows and columns are understood.")
    window = window_of(node, (size[0], size[1]), image)
    return rounded_up(image, window) if node.attributes.get("ceil_mode", 0) else window


def _mean(walk: Walk, node: Node, source: str) -> Value:
    one_pixel = walk.maps[source][1:] == (1, 1)
    return walk.seen(source) if one_pixel else walk.emit(GlobalAveragePool(node.name, source))


def global_average(walk: Walk, node: Node) -> Value:
    """Return a global average pool."""
    return _mean(walk, node, walk.map(node))


def global_max(walk: Walk, node: Node) -> Value:
    """Return a global max pool as a window over the whole map."""
    source = walk.map(node)
    _, rows, columns = walk.maps[source]
    return _max(walk, node, source, Window((rows, columns), (1, 1), (0, 0, 0, 0), (1, 1)))


def reduction(walk: Walk, node: Node) -> Value:
    """Return the mean, the sum or the maximum over all rows, all columns or both."""
    value = walk.plain(walk.value(node))
    rank = len(value.view)
    axes = walk.setting(node, "axes", 1)
    if axes is None and node.attributes.get("noop_with_empty_axes", 0):
        return value
    over = {axis % rank for axis in axes} if axes else set(range(rank))
    reduced = tuple(value.view[axis] for axis in sorted(over))
    shape = walk.shape(value)
    keep = node.attributes.get("keepdims", 1)
    view = tuple(() if index in over else axis for index, axis in enumerate(value.view) if keep or index not in over)
    if not dimensions(*reduced):
        return Value(value.source, view)
    over_dimensions = dimensions(*reduced)
    if over_dimensions - PIXELS or not all(cover(reduced, d, shape[d]) for d in over_dimensions):
        raise node.error(
            "it reduces other axes than rows and columns; over channels it is a part of a LayerNorm or of spatial "
            "attention, which have no integer form here. Use a network with batch norms."
        )
    rows, columns = (shape[d] if d in over_dimensions else 1 for d in (ROWS, COLUMNS))
    if node.operator == "ReduceMax":
        made = _max(walk, node, value.source, Window((rows, columns), (1, 1), (0, 0, 0, 0), (1, 1)))
    elif (rows, columns) == shape[1:]:
        made = _mean(walk, node, value.source)
    else:
        made = walk.emit(AveragePool(node.name, value.source, (rows, columns)))
    steps = (Step("Mul", (0, float(rows * columns))),) if node.operator == "ReduceSum" else ()
    return Value(made.source, view, appended((), steps), node.name)


HANDLERS: dict[str, Handler] = {
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average,
    "GlobalMaxPool": global_max,
    **{operator: reduction for operator in ("ReduceMean", "ReduceSum", "ReduceMax")},
}
