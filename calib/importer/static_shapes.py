"""Make sizes static before they are inferred: one image at a time, and sizes computed from constants as constants."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, TypeProto, helper, numpy_helper

from calib.importer.onnx_values import constant_tensor
from repghost.errors import UsageError

# What exporters compute sizes, pads and limits with. None holds a subgraph, draws numbers or reads a file.
SIZE_OPERATORS = {
    "Abs", "Add", "And", "Cast", "Ceil", "Clip", "Concat", "ConstantOfShape", "Div", "Equal", "Expand", "Flatten",
    "Floor", "Gather", "Greater", "Identity", "Less", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow", "Range",
    "Reciprocal", "ReduceProd", "ReduceSum", "Reshape", "Shape", "Size", "Slice", "Sqrt", "Squeeze", "Sub",
    "Transpose", "Unsqueeze", "Where",
}  # fmt: skip
MAX_ELEMENTS = 4096  # of a constant that is read or made here; sizes and pads have a dozen
MAX_FOLDED = 4096  # nodes; each is a millisecond


def make_static(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model for a batch of 1, with every size that follows from constants as a constant.

    The model itself is returned where nothing has to change; it is never changed.

    Args:
        model: a checked model, its nodes in order.
    """
    symbolic = _has_free_sizes(model.graph)
    if not symbolic and not _computes_constants(model.graph):
        return model
    static = onnx.ModelProto()
    static.CopyFrom(model)
    del static.graph.value_info[:]  # inferred again
    _fix_batch(static.graph)
    for value in static.graph.output:
        if any(dim.dim_value < 1 for dim in value.type.tensor_type.shape.dim):
            value.type.tensor_type.ClearField("shape")  # inferred again
    _Folding(static).run()
    return static


def infer_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with the type and shape of every tensor, as far as they follow.

    Args:
        model: from `make_static`.

    Raises:
        UsageError: when the shapes do not fit together, or nothing is left of the images before a Slice.
    """
    try:
        _check_before_slices(model)
        return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    except UsageError:
        raise
    except Exception as error:  # InferenceError and, for some operators, RuntimeError
        reason = " ".join(str(error).split())[:300]
        raise UsageError(f"the shapes in the file do not fit together: {reason}. Export it again.") from error


def _check_before_slices(model: onnx.ModelProto) -> None:
    """Refuse a size below zero, as of a window larger than its map, before a Slice reads it: onnx ends the process.

    The graph is inferred in parts, each of which begins with a Slice, from the sizes of the parts before.
    """
    graph = model.graph
    if not any(node.op_type == "Slice" for node in graph.node):
        return
    known = {value.name: value for value in graph.input}
    stored = {tensor.name: tensor for tensor in graph.initializer}
    constants = {node.output[0]: node for node in graph.node if node.op_type == "Constant"}
    part: list[onnx.NodeProto] = []
    for node in [node for node in graph.node if node.op_type != "Constant"]:
        if node.op_type == "Slice" and part:
            known.update(_inferred_part(model, part, known, stored, constants))
            part = []
        part.append(node)


def _inferred_part(
    model: onnx.ModelProto,
    nodes: list[onnx.NodeProto],
    known: Mapping[str, onnx.ValueInfoProto],
    stored: Mapping[str, TensorProto],
    constants: Mapping[str, onnx.NodeProto],
) -> dict[str, onnx.ValueInfoProto]:
    """Return the types of what some nodes make."""
    read = list(dict.fromkeys(name for node in nodes for name in node.input))
    part = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    part.graph.name = "part"
    part.graph.input.extend(known[name] for name in read if name in known)
    part.graph.initializer.extend(stored[name] for name in read if name in stored)
    part.graph.node.extend([*(constants[name] for name in read if name in constants), *nodes])
    made = onnx.shape_inference.infer_shapes(part).graph.value_info
    for value in made:
        sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if min(sizes, default=0) < 0:
            raise UsageError(
                f"tensor {value.name!r} has shape {sizes}: nothing is left of the images. Give larger ones."
            )
    return {value.name: value for value in made}


def _has_free_sizes(graph: onnx.GraphProto) -> bool:
    values = (*graph.input, *graph.value_info, *graph.output)
    return any(dim.dim_value < 1 for value in values for dim in value.type.tensor_type.shape.dim)


def _computes_constants(graph: onnx.GraphProto) -> bool:
    """Return whether a node computes something that does not depend on the image."""
    constants = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in ("Shape", "Size"):
            return True
        if node.op_type == "Constant":
            constants.update(node.output)
        elif node.op_type in SIZE_OPERATORS and node.input and all(name in constants for name in node.input if name):
            return True
    return False


def _fix_batch(graph: onnx.GraphProto) -> None:
    stored = {tensor.name for tensor in graph.initializer}
    for value in graph.input:
        sizes = value.type.tensor_type.shape.dim
        if value.name not in stored and sizes and sizes[0].dim_value < 1:
            sizes[0].dim_value = 1  # replaces the name, which is the other field of the same union


class _Folding:
    """Walks over the nodes of a model in their order and replaces those that compute small constants."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model, self.graph = model, model.graph
        self.types: dict[str, TypeProto] = {value.name: value.type for value in self.graph.input}
        self.known: dict[str, TensorProto] = {}  # small constants
        self.count = 0
        for tensor in self.graph.initializer:
            self._remember(tensor.name, tensor)

    def run(self) -> None:
        """Replace every node that can be folded by an initializer."""
        kept = []
        for node in self.graph.node:
            value = self._fold(node)
            if value is None:
                kept.append(node)
            else:
                tensor = numpy_helper.from_array(value, node.output[0])
                self.graph.initializer.append(tensor)
                self._remember(tensor.name, tensor)
                self.count += 1
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
        del self.graph.node[:]
        self.graph.node.extend(copies)

    def _remember(self, name: str, tensor: TensorProto) -> None:
        self.types[name] = helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
        if math.prod(tensor.dims) <= MAX_ELEMENTS:
            self.known[name] = tensor

    def _fold(self, node: onnx.NodeProto) -> NDArray[Any] | None:
        """Return what a node computes, or None; remember the types of what it writes."""
        if node.op_type == "Constant":
            self._remember(node.output[0], constant_tensor(node))
            return None
        made = self._infer(node)
        self.types.update(made)
        if len(node.output) != 1 or self.count >= MAX_FOLDED or node.op_type not in SIZE_OPERATORS or not node.input:
            return None
        if node.op_type in ("Shape", "Size"):
            return self._size(node)
        sizes = _sizes(made.get(node.output[0]))
        if sizes is None or math.prod(sizes) > MAX_ELEMENTS or any(n and n not in self.known for n in node.input):
            return None
        return self._evaluate(node)

    def _infer(self, node: onnx.NodeProto) -> dict[str, TypeProto]:
        """Return the types of a node's results; none where they cannot be known or the node is wrong."""
        given = [name for name in node.input if name]
        if any(name not in self.types for name in given):
            return {}
        version = next(entry.version for entry in self.model.opset_import if entry.domain in ("", "ai.onnx"))
        try:
            schema = onnx.defs.get_schema(node.op_type, version, "")
            return onnx.shape_inference.infer_node_outputs(
                schema,
                node,
                {name: self.types[name] for name in given},
                {name: self.known[name] for name in given if name in self.known},
                opset_imports=[helper.make_opsetid("", version)],
                ir_version=self.model.ir_version,
            )
        except Exception:  # its classes have no common base below Exception; the check of the whole graph says why
            return {}

    def _size(self, node: onnx.NodeProto) -> NDArray[Any] | None:
        """Return the result of a Shape or Size without its input, which may be huge."""
        sizes = _sizes(self.types.get(node.input[0]))
        if sizes is None:
            return None
        if node.op_type == "Size":
            return np.asarray(math.prod(sizes), np.int64)
        limits = {attribute.name: attribute.i for attribute in node.attribute}
        return np.asarray(sizes[limits.get("start", 0) : limits.get("end")], np.int64)

    def _evaluate(self, node: onnx.NodeProto) -> NDArray[Any] | None:
        values = {name: numpy_helper.to_array(self.known[name]) for name in node.input if name}
        (result,) = evaluate_node(self.model, node, values, self.types) or (None,)
        finite = result is None or result.dtype.kind != "f" or bool(np.isfinite(result).all())
        return result if finite and result is not None and result.size <= MAX_ELEMENTS else None


def evaluate_node(
    model: onnx.ModelProto, node: onnx.NodeProto, values: Mapping[str, NDArray[Any]], types: Mapping[str, TypeProto]
) -> list[NDArray[Any]] | None:
    """Return the results of a node, by ONNX's reference; None where it cannot.

    Args:
        model: that it is from.
        node: of ONNX's own domain.
        values: of its inputs, by name.
        types: of its results, by name.
    """
    from onnx.reference import ReferenceEvaluator

    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in values.items()
    ]
    outputs = [helper.make_value_info(name, types[name]) for name in node.output if name]
    graph = helper.make_graph([node], "constant", inputs, outputs)
    single = helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)
    try:
        with np.errstate(all="ignore"):
            return [np.asarray(result) for result in ReferenceEvaluator(single).run(None, dict(values))]
    except Exception:  # a wrong node stays, and is named by the check of the whole graph
        return None


def _sizes(value: TypeProto | None) -> tuple[int, ...] | None:
    """Return the sizes of a tensor, None unless all are known."""
    if value is None or not value.tensor_type.HasField("shape"):
        return None
    dims = value.tensor_type.shape.dim
    return tuple(dim.dim_value for dim in dims) if all(dim.HasField("dim_value") for dim in dims) else None
