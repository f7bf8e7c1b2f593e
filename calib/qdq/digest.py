"""The program digest: a hash of what a QDQ file computes, independent of names and metadata.

Two files have the same digest when they hold the same operators in the same order, wired alike, with the same numbers,
and the same Preprocess. Names, comments, metadata and the order of the initializers do not count.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from repghost.errors import UsageError

DIGEST_VERSION = "repghost-program-1"


def program_digest(model: onnx.ModelProto, preprocess: Mapping[str, Any]) -> str:
    """Return the sha256 of the canonical graph and Preprocess, 64 lower-case hexadecimal digits.

    Args:
        model: the QDQ graph; its metadata is not read.
        preprocess: `Preprocess.to_dict()`, or the same as read from the file's metadata.

    Raises:
        UsageError: when the graph holds what has no canonical form: subgraphs, external data, tensors used before
            they exist.
    """
    text = json.dumps(
        {"form": DIGEST_VERSION, "graph": canonical_graph(model), "preprocess": dict(preprocess)},
        sort_keys=True,
        separators=(",", ":"),
        allow_nan=False,
    )
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def canonical_graph(model: onnx.ModelProto) -> dict[str, Any]:
    """Return the graph as JSON values, with tensors numbered in the order in which they come into being."""
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    numbers: dict[str, int] = {}
    for value in graph.input:
        if value.name not in constants:
            numbers[value.name] = len(numbers)
    inputs = [[numbers[value.name], _type(value)] for value in graph.input if value.name in numbers]
    nodes = [_node(node, numbers, constants) for node in graph.node]
    outputs = [[_source(value.name, numbers, constants), _type(value)] for value in graph.output]
    opsets = sorted([entry.domain, entry.version] for entry in model.opset_import)
    return {"opsets": opsets, "inputs": inputs, "nodes": nodes, "outputs": outputs}


def _node(node: onnx.NodeProto, numbers: dict[str, int], constants: Mapping[str, onnx.TensorProto]) -> dict[str, Any]:
    """Return one node and give its outputs their numbers."""
    inputs = [_source(name, numbers, constants) for name in node.input]
    outputs = []
    for name in node.output:
        if name in numbers or name in constants:
            raise UsageError(f"tensor {name!r} is written twice; an ONNX graph names each tensor once.")
        numbers[name] = len(numbers)
        outputs.append(numbers[name])
    attributes = {attribute.name: _attribute(node, attribute) for attribute in node.attribute}
    return {"op": [node.domain, node.op_type], "in": inputs, "out": outputs, "attributes": attributes}


def _source(name: str, numbers: Mapping[str, int], constants: Mapping[str, onnx.TensorProto]) -> Any:
    """Return a tensor's number, a constant's content, or None for an input that is left out."""
    if not name:
        return None
    if name in numbers:
        return numbers[name]
    if name in constants:
        return _tensor(constants[name])
    raise UsageError(
        f"tensor {name!r} is read before any node makes it; the file is damaged or its nodes are unordered."
    )


def _tensor(tensor: onnx.TensorProto) -> list[Any]:
    """Return type, shape and the sha256 of the values in little-endian order."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise UsageError(f"tensor {tensor.name!r} lies in another file; only self-contained ONNX files are read.")
    try:
        array = np.ascontiguousarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"tensor {tensor.name!r} is damaged: {error}") from error
    data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    return [onnx.TensorProto.DataType.Name(tensor.data_type), list(array.shape), hashlib.sha256(data).hexdigest()]


def _attribute(node: onnx.NodeProto, attribute: onnx.AttributeProto) -> Any:
    """Return an attribute's value; floats as the hexadecimal form of their float32, which JSON cannot round."""
    kind = attribute.type
    if kind == onnx.AttributeProto.INT:
        return int(attribute.i)
    if kind == onnx.AttributeProto.INTS:
        return [int(value) for value in attribute.ints]
    if kind == onnx.AttributeProto.FLOAT:
        return float(attribute.f).hex()
    if kind == onnx.AttributeProto.FLOATS:
        return [float(value).hex() for value in attribute.floats]
    if kind == onnx.AttributeProto.STRING:
        return attribute.s.hex()
    if kind == onnx.AttributeProto.TENSOR:
        return _tensor(attribute.t)
    name = onnx.AttributeProto.AttributeType.Name(kind)
    raise UsageError(f"node {node.name!r}: attribute {attribute.name!r} of kind {name} is not part of a QDQ network.")


def _type(value: onnx.ValueInfoProto) -> list[Any]:
    """Return the element type and dimensions; a symbolic dimension is None, whatever it is called."""
    tensor = value.type.tensor_type
    dimensions = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
    return [onnx.TensorProto.DataType.Name(tensor.elem_type), dimensions]
