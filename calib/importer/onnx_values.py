"""The constants and attributes of an ONNX file, as numpy arrays and Python values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from repghost.errors import UsageError

CONSTANT_VALUES = {
    "value": onnx.AttributeProto.TENSOR,
    "value_float": onnx.AttributeProto.FLOAT,
    "value_floats": onnx.AttributeProto.FLOATS,
    "value_int": onnx.AttributeProto.INT,
    "value_ints": onnx.AttributeProto.INTS,
}


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """Return the attributes of a node by name: numbers, texts and tuples of numbers.

    Raises:
        UsageError: for an attribute of another kind.
    """
    return {attribute.name: _attribute(node, attribute) for attribute in node.attribute}


def _attribute(node: onnx.NodeProto, attribute: onnx.AttributeProto) -> Any:
    kinds = onnx.AttributeProto
    if attribute.type == kinds.STRING:
        return attribute.s.decode("utf-8", "replace")
    if attribute.type in (kinds.INT, kinds.FLOAT):
        return attribute.i if attribute.type == kinds.INT else attribute.f
    if attribute.type in (kinds.INTS, kinds.FLOATS):
        return tuple(attribute.ints if attribute.type == kinds.INTS else attribute.floats)
    raise UsageError(f"node {node.name!r} ({node.op_type}): attribute {attribute.name!r} is not made of numbers.")


def stored_tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Yield every tensor whose values are in the file: initializers and Constant nodes."""
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t
            yield from attribute.tensors


def constant_tensor(node: onnx.NodeProto) -> TensorProto:
    """Return the value of a checked Constant node, in whichever attribute it is."""
    (attribute,) = node.attribute
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, TensorProto):
        return value
    dtype = np.float32 if attribute.name.startswith("value_float") else np.int64
    return numpy_helper.from_array(np.asarray(value, dtype))


def stored_array(tensor: TensorProto) -> NDArray[Any]:
    """Return the values of a checked tensor, read-only."""
    array = numpy_helper.to_array(tensor)
    array.flags.writeable = False
    return array
