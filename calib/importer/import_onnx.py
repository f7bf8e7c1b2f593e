"""From a float ONNX file to a graph; nothing in it is executed, and no size in it is believed.

bytes -> checked model -> static sizes -> nodes and constants -> maps and operators -> passes -> Graph
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from calib.importer.external_data import with_data_inside
from calib.importer.handlers import HANDLERS
from calib.importer.imported import Imported
from calib.importer.onnx_file import FOREIGN_TYPES, MAX_FILE_BYTES, check_model, parse_model
from calib.importer.onnx_network import Network, network_of
from calib.importer.passes import simplified
from calib.importer.passes.order import in_order
from calib.importer.qoperator import OF_ONNX_RUNTIME, to_qdq
from calib.importer.static_shapes import make_static
from calib.importer.views import CHANNELS, COLUMNS, ROWS, View, channels_first, sizes, whole
from calib.importer.walk import Value, Walk
from repghost.channels import CHANNELS as IMAGE_CHANNELS
from repghost.errors import UsageError
from repghost.graph.operators import Classifier, Convolution, Graph, Operator, Pair
from repghost.untrusted import read_bounded

OPSETS = (7, 23)  # 7 brought today's broadcasting; 23 is the last one tested
LABELS = ("repghost.labels", "labels", "classes", "names")  # metadata keys that hold a JSON list of texts
MAX_CLASSES = 100_000


def import_onnx(content: bytes | str | Path, size: Pair | None = None, several: bool = False) -> Imported:
    """Return the graph of a float ONNX network.

    Args:
        content: the file or its bytes; data outside the file is read from its folder alone.
        size: height and width of the images, for a file that leaves them open.
        several: whether it may have several results, maps [1, C, H, W] or vectors, in place of scores of classes.

    Raises:
        UsageError: when it cannot be read, or holds what a graph does not have: named, with what would work.
    """
    if isinstance(content, bytes):
        return _imported(content, None, size, several)
    path = Path(content)
    try:
        return _imported(read_bounded(path, MAX_FILE_BYTES), path.parent, size, several)
    except UsageError as error:
        raise UsageError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from error


def _imported(data: bytes, folder: Path | None, size: Pair | None, several: bool) -> Imported:
    model = parse_model(data)
    model, total = with_data_inside(model, folder, len(data))
    check_model(model, total, OPSETS, FOREIGN_TYPES, OF_ONNX_RUNTIME, infinite_limits=True)
    if size is not None:
        _set_size(model, size)
    network = network_of(make_static(to_qdq(model)), HANDLERS, several)
    image = _image(network)
    shape = _map_shape(image, network)
    walk = Walk(network, image, shape)
    values = _walked(walk)
    results = network.outputs if len(values) > 1 else ()
    classes = 0 if results else _classes(walk, values[0])
    for name, value in zip(network.outputs, values, strict=True):
        _check_result(walk, name, value)
    scales = [(walk.plain(value).source, scale) for value, scale in walk.scales]
    drafts, notes = simplified(tuple(walk.operators.values()), tuple(value.source for value in values), walk.maps)
    if len(set(drafts.outputs)) < len(drafts.outputs):
        raise UsageError(f"two of the results {results} are the same numbers. Export each of them once.")
    operators = tuple(map(_checked, in_order(drafts)))
    named = drafts.outputs if results else ()
    graph = Graph(operators, shape[CHANNELS], (shape[ROWS], shape[COLUMNS]), named)
    if image != channels_first(shape):
        notes = ("its images were [1, H, W, C], channels last; they are given channels first here", *notes)
    metadata = tuple((entry.key, entry.value) for entry in model.metadata_props)
    labels = _labels(dict(metadata), classes)
    kept = {now: scale for name, scale in scales if (now := drafts.name_now(name)) in graph.names()}
    return Imported(
        graph=graph,
        size=(shape[ROWS], shape[COLUMNS]),
        channels=shape[CHANNELS],
        classes=classes,
        labels=labels,
        metadata=metadata,
        notes=(*walk.notes, *notes),
        results=results,
        scales=kept,
    )


def _set_size(model: onnx.ModelProto, size: Pair) -> None:
    """Fix the rows and columns that the file leaves open."""
    stored = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name in stored or len(dims) != 4:
            continue
        last = dims[3].dim_value in IMAGE_CHANNELS and dims[1].dim_value < 1
        for dim, side in zip(dims[1:3] if last else dims[2:4], size, strict=True):
            if dim.dim_value < 1:
                dim.dim_value = side


def _image(network: Network) -> View:
    """Return how the input lies over a map [C, H, W]."""
    shape = network.shapes.get(network.input, ())
    if len(shape) != 4 or shape[0] != 1:
        raise UsageError(
            f"input {network.input!r} has shape {list(shape)}; one image, [1, C, H, W] or [1, H, W, C], is understood."
        )
    if shape[3] in IMAGE_CHANNELS and shape[1] not in IMAGE_CHANNELS:
        return (), whole(ROWS, shape[1]), whole(COLUMNS, shape[2]), whole(CHANNELS, shape[3])
    return (), *(whole(dimension, shape[dimension + 1]) for dimension in range(3))


def _map_shape(image: View, network: Network) -> tuple[int, int, int]:
    """Return channels, rows and columns of the image."""
    _, first, second, third = network.shapes[network.input]
    given = first, second, third
    return given if image == channels_first(given) else (third, first, second)


def _walked(walk: Walk) -> list[Value]:
    """Make operators of all nodes and return the results."""
    network = walk.network
    for node in network.nodes:
        if not any(name in walk.values for name in node.inputs):
            raise node.error("it does not depend on the image and cannot be computed here. Export it folded.")
        try:
            made = HANDLERS[node.operator](walk, node)
        except (IndexError, KeyError, ValueError, TypeError, OverflowError) as error:
            raise node.error(f"its inputs or attributes do not fit ({error}). Write the file again.") from error
        results = made if isinstance(made, tuple) else (made,)
        for name, value in zip(node.outputs, results, strict=False):
            walk.values[name] = value
            given = network.shapes.get(name)
            if given is not None and sizes(value.view) != given and node.operator != "Expand":
                raise node.error(f"it makes {list(sizes(value.view))}, and the file says {list(given)}.")
    return [walk.plain(walk.values[name]) for name in network.outputs]


def _check_result(walk: Walk, name: str, value: Value) -> None:
    """Refuse a result that is no map or vector of its own."""
    channels, rows, columns = shape = walk.shape(value)
    views = [channels_first(shape), *(_vectors(channels, 2) if (rows, columns) == (1, 1) else ())]
    if len(walk.network.outputs) > 1 and value.view not in views:
        raise UsageError(
            f"result {name!r} has shape {list(walk.network.shapes[name])}; maps [1, C, H, W] of one tensor and vectors "
            "[1, C] are understood. Export it without moving pixels into channels."
        )
    if value.source not in walk.operators:
        raise UsageError("the network computes nothing. Is it the right file?")


def _classes(walk: Walk, last: Value) -> int:
    channels, rows, columns = walk.shape(last)
    (output,) = walk.network.outputs
    shape = walk.network.shapes[output]
    if (rows, columns) != (1, 1) or last.view not in _vectors(channels, len(shape)) or channels > MAX_CLASSES:
        raise UsageError(
            f"output {output!r} has shape {list(shape)}; one score for each of up to {MAX_CLASSES} "
            "classes, [1, classes], is understood. Export it with its classifier."
        )
    return channels


def _vectors(channels: int, rank: int) -> list[View]:
    return [tuple(whole(CHANNELS, channels) if i == at else () for i in range(rank)) for at in range(rank)]


def _checked(op: object) -> Operator:
    """Return an operator of the graph whose weights are finite."""
    if isinstance(op, Convolution | Classifier):
        for kind, values in (("weight", op.weight), ("bias", op.bias)):
            wrong = int(np.count_nonzero(~np.isfinite(values)))
            if wrong:
                raise UsageError(
                    f"layer {op.name!r}: {wrong} of {values.size} {kind} values are NaN or infinite once its batch "
                    "norm is folded in. The training diverged or the file is damaged; take an earlier checkpoint."
                )
        return replace(op, weight=np.array(op.weight, np.float32), bias=np.array(op.bias, np.float32))
    return op  # type: ignore[return-value]


def _labels(metadata: dict[str, str], classes: int) -> tuple[str, ...] | None:
    """Return the names of the classes where the file holds a JSON list of as many texts."""
    for key in LABELS:
        try:
            names = json.loads(metadata.get(key, ""))
        except (ValueError, RecursionError):
            continue
        if isinstance(names, list) and len(names) == classes and all(isinstance(name, str) for name in names):
            return tuple(names)
    return None
