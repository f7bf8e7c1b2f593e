"""From bytes on disk to an ONNX model that can be trusted to be well formed; files from outside are hostile.

No data outside the file is ever opened, no custom operator is loaded, and every size is compared with the file's before
memory is taken for it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from calib.importer.onnx_values import CONSTANT_VALUES, stored_array, stored_tensors
from repghost.errors import UsageError
from repghost.hub.download import local_file
from repghost.untrusted import read_bounded

MAX_FILE_BYTES = 256 << 20  # the widest published RepGhostNet takes 10 MB
MAX_NODES = 20_000  # a RepGhostNet has 509
QUANTIZED_NODES = ("QuantizeLinear", "DequantizeLinear", "QLinear", "ConvInteger", "MatMulInteger")
MIN_OPSET, MAX_OPSET = 13, 21  # 13 brought per-channel Q/DQ; 21 is the last one tested
ONNX_DOMAINS = ("", "ai.onnx")

# What a tensor stored in the file may hold: weights and biases, zero points, int32 biases, shapes and axes.
STORED_TYPES = {
    TensorProto.FLOAT: "float32",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "uint8",
    TensorProto.INT16: "int16",
    TensorProto.INT32: "int32",
    TensorProto.INT64: "int64",
}


# What a network for another runtime may hold besides; nothing here computes with these.
FOREIGN_TYPES = {
    **STORED_TYPES,
    TensorProto.FLOAT16: "float16",
    TensorProto.DOUBLE: "float64",
    TensorProto.BOOL: "bool",
}


def is_quantized(path: Path) -> bool:
    """Return whether an ONNX file holds integers: it has a node that quantizes, or computes with what was quantized.

    Raises:
        UsageError: when it is missing, too large or not ONNX.
    """
    try:
        nodes = parse_model(_read(path)).graph.node
    except UsageError as error:
        raise UsageError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from error
    return any(node.op_type.startswith(QUANTIZED_NODES) for node in nodes)


def load_model(
    path: Path,
    opsets: tuple[int, int] = (MIN_OPSET, MAX_OPSET),
    types: Mapping[int, str] = STORED_TYPES,
    foreign: Collection[tuple[str, str]] = (),
) -> onnx.ModelProto:
    """Read and check an ONNX file.

    Args:
        path: the file.
        opsets: the oldest and the newest opset that is understood.
        types: numpy's name by ONNX's number of every type a stored tensor may have.
        foreign: domain and name of each operator of other domains that the caller understands.

    Raises:
        UsageError: when the file is missing, too large, not ONNX, refers to other files, has an opset or an operator
            this program does not know, or does not pass the ONNX checker.
    """
    data = _read(path)
    return check_model(parse_model(data), len(data), opsets, types, foreign)


def check_model(
    model: onnx.ModelProto,
    size: int,
    opsets: tuple[int, int],
    types: Mapping[int, str],
    foreign: Collection[tuple[str, str]] = (),
    infinite_limits: bool = False,
) -> onnx.ModelProto:
    """Return a model that came from outside, once it has passed every check of `load_model`.

    Args:
        model: from `parse_model`.
        size: bytes that it came from.
        opsets: see `load_model`, as `types` and `foreign`.
        types: of stored tensors.
        foreign: operators of other domains.
        infinite_limits: whether a single stored number may be infinite: "no limit" of a Clip, or what a Pad puts
            around a max pool.

    Raises:
        UsageError: see `load_model`.
    """
    graph = model.graph
    _check_text(model)
    _refuse_exotic_parts(model)
    _check_opset(model, opsets, foreign)
    for tensor in stored_tensors(model):
        _check_stored(tensor, size, types, infinite_limits)
    check_names(graph)
    _check_acyclic(graph)
    try:
        onnx.checker.check_model(model)  # shapes are checked when they are inferred
    except Exception as error:  # the checker's classes have no common base below Exception
        reason = " ".join(str(error).split())[:300]
        raise UsageError(f"the ONNX checker refuses it: {reason}. Write the file again with its exporter.") from error
    return model


def _read(path: Path) -> bytes:
    path = local_file(path)
    if not path.exists():
        raise UsageError("there is no such file. Write one: 'repghost quantize NETWORK --data DIR -o FILE.qdq.onnx'.")
    if not path.is_file():
        raise UsageError("this is not a regular file; give the path of a .qdq.onnx file.")
    return read_bounded(path, MAX_FILE_BYTES)


def parse_model(data: bytes) -> onnx.ModelProto:
    """Return the ONNX model in the bytes of a file, of which nothing is checked but that it has a graph.

    Raises:
        UsageError: when they are something else, or the graph is empty or has too many nodes.
    """
    if not data:
        raise UsageError(f"the file has 0 bytes; 1 to {MAX_FILE_BYTES} are allowed. Is it the right file?")
    try:
        model = onnx.ModelProto.FromString(data)
    except Exception as error:  # protobuf's DecodeError; its module depends on the implementation
        raise UsageError("this is not an ONNX file, or it is cut short. Copy or write it again.") from error
    if not model.graph.node:
        raise UsageError("the file holds no ONNX graph, or an empty one. Is it the right file?")
    if len(model.graph.node) > MAX_NODES:
        raise UsageError(f"the graph has {len(model.graph.node)} nodes; up to {MAX_NODES} are allowed.")
    return model


def _check_text(model: onnx.ModelProto) -> None:
    """Refuse names and metadata that are not UTF-8, which protobuf hands out as bytes."""
    texts: list[object] = [text for entry in model.metadata_props for text in (entry.key, entry.value)]
    texts += [entry.domain for entry in model.opset_import]
    texts += [value.name for value in (*model.graph.input, *model.graph.output, *model.graph.value_info)]
    texts += [tensor.name for tensor in stored_tensors(model)]
    for node in model.graph.node:
        texts += [node.name, node.op_type, node.domain, *node.input, *node.output]
        texts += [attribute.name for attribute in node.attribute]
    broken = next((text for text in texts if not isinstance(text, str)), None)
    if broken is not None:
        raise UsageError(f"the name or text {broken!r:.80} is not UTF-8. The file is damaged; write it again.")


def _refuse_exotic_parts(model: onnx.ModelProto) -> None:
    """Refuse what a quantized network has no use for: external data, subgraphs, functions, sparse tensors."""
    for tensor in stored_tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise UsageError(
                f"tensor {tensor.name!r} keeps its data in another file, which is never read. "
                "Save the model with its data inside (onnx.save(model, path, save_as_external_data=False))."
            )
    if model.functions or model.graph.sparse_initializer or model.training_info:
        raise UsageError("model functions, sparse tensors and training information are not supported. Export without.")
    graphs = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    for node in model.graph.node:
        values = [(attribute.name, attribute.type) for attribute in node.attribute]
        if node.op_type == "Constant" and (len(values) != 1 or CONSTANT_VALUES.get(values[0][0]) != values[0][1]):
            raise UsageError(
                f"node {node.name!r} (Constant) needs one value, of {', '.join(CONSTANT_VALUES)}; it has "
                f"{', '.join(repr(name) for name, _ in values) or 'none'}. Write the file again."
            )
        if any(attribute.type in graphs for attribute in node.attribute):
            raise UsageError(
                f"node {node.name!r} ({node.op_type}) holds a subgraph; control flow cannot be compiled. "
                "Export the network without it."
            )


def _check_opset(model: onnx.ModelProto, opsets: tuple[int, int], foreign: Collection[tuple[str, str]]) -> None:
    versions = {entry.domain: entry.version for entry in model.opset_import}
    given = next((versions[domain] for domain in ONNX_DOMAINS if domain in versions), None)
    if given is None or not opsets[0] <= given <= opsets[1]:
        raise UsageError(
            f"the file uses ONNX opset {given}; {opsets[0]} to {opsets[1]} are understood. "
            "Export it again, or convert it with onnx.version_converter."
        )
    for node in model.graph.node:
        if node.domain not in ONNX_DOMAINS and (node.domain, node.op_type) not in foreign:
            raise UsageError(
                f"node {node.name!r} uses operator {node.op_type!r} of domain {node.domain!r}; only ONNX's own "
                "operators are understood. Export with plain QuantizeLinear and DequantizeLinear nodes."
            )


def _check_stored(tensor: TensorProto, file_bytes: int, types: Mapping[int, str], infinite_limits: bool) -> None:
    """Check type, size and range of one stored tensor before anything is allocated for it."""
    if tensor.data_type not in types:
        kind = TensorProto.DataType.Name(tensor.data_type) if tensor.data_type in TensorProto.DataType.values() else "?"
        raise UsageError(
            f"tensor {tensor.name!r} has type {kind}; {', '.join(types.values())} are understood. "
            "Quantize with weights and activations of 8 bits."
        )
    dtype = np.dtype(types[tensor.data_type])
    elements = math.prod(tensor.dims)
    if any(size < 0 for size in tensor.dims) or elements > file_bytes:
        raise UsageError(f"tensor {tensor.name!r} claims shape {list(tensor.dims)}, more than the file can hold.")
    if tensor.HasField("raw_data") and len(tensor.raw_data) != elements * dtype.itemsize:
        raise UsageError(
            f"tensor {tensor.name!r} of shape {list(tensor.dims)} needs {elements * dtype.itemsize} bytes and has "
            f"{len(tensor.raw_data)}. The file is damaged; write it again."
        )
    low, high = (-128, 127) if dtype == np.int8 else (0, 255)
    if dtype in (np.int8, np.uint8) and any(not low <= value <= high for value in tensor.int32_data):
        raise UsageError(f"tensor {tensor.name!r} is {dtype} but holds values outside [{low}, {high}]. Quantize again.")
    try:
        values = stored_array(tensor)
    except Exception as error:  # onnx raises ValueError, TypeError or its own, by storage field
        raise UsageError(f"tensor {tensor.name!r} cannot be read: {error}. Write the file again.") from error
    if not np.isfinite(values).all() and not (infinite_limits and values.size == 1 and not np.isnan(values).any()):
        raise UsageError(f"tensor {tensor.name!r} holds NaN or infinity. Check the checkpoint it came from.")


def check_names(graph: onnx.GraphProto) -> None:
    """Raise UsageError for two tensors, or two nodes, of one name."""
    stored = [tensor.name for tensor in graph.initializer]
    inputs = [value.name for value in graph.input if value.name not in set(stored)]
    tensors = [*inputs, *stored, *(name for node in graph.node for name in node.output if name)]
    nodes = [node.name for node in graph.node if node.name]
    for kind, names in (("tensors", tensors), ("nodes", nodes)):
        seen: set[str] = set()
        for name in names:
            if name in seen:
                raise UsageError(f"two {kind} are called {name!r}; names must be unique. Write the file again.")
            seen.add(name)


def _check_acyclic(graph: onnx.GraphProto) -> None:
    """Refuse a graph in which a tensor depends on itself, and name one."""
    made_by = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    sources = [{made_by[name] for name in node.input if name in made_by} for node in graph.node]
    readers: dict[int, list[int]] = {}
    for index, makers in enumerate(sources):
        for maker in makers:
            readers.setdefault(maker, []).append(index)
    waiting = [len(makers) for makers in sources]
    ready = [index for index, count in enumerate(waiting) if not count]
    for index in ready:  # grows while it is walked
        for reader in readers.get(index, []):
            waiting[reader] -= 1
            if not waiting[reader]:
                ready.append(reader)
    stuck = next((node for node, count in zip(graph.node, waiting, strict=True) if count), None)
    if stuck is not None:
        raise UsageError(f"the graph has a cycle through {stuck.output[0]!r}; a network runs from input to output.")
