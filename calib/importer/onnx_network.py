"""A checked ONNX file as nodes with static shapes and known constants: what the importer walks over."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TypeProto

from calib.importer.onnx_values import attributes_of, constant_tensor, stored_array
from calib.importer.refused import refuse_unknown
from calib.importer.static_shapes import SIZE_OPERATORS, evaluate_node, infer_shapes
from repghost.errors import UsageError

MAX_MAP = 1 << 28  # numbers of one tensor: 1 GB
MAX_CONSTANTS = 1 << 28  # numbers of all constants that are computed while importing
# What is computed from constants alone before anything else, beside sizes: weights that a file stores another way.
OF_CONSTANTS = {
    *SIZE_OPERATORS, "BatchNormalization", "DequantizeLinear", "Exp", "Log", "Pad", "QuantizeLinear", "ReduceL2",
    "ReduceMean", "Relu", "Split", "Sum", "Tile",
}  # fmt: skip


@dataclass(frozen=True)
class Node:
    """An ONNX node: `operator` is its op_type; an input that is left out is ""."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def error(self, problem: str) -> UsageError:
        """Return the error about this node."""
        return UsageError(f"node {self.name!r} ({self.operator}): {problem}")


@dataclass(frozen=True)
class Network:
    """A network of one image.

    Attributes:
        nodes: in an order in which they can run; none computes something from constants alone.
        constants: stored or computed, by name; real numbers are float32.
        origins: the stored tensor that each computed constant began as.
        shapes: of every tensor.
        input: the name of the image's tensor.
        outputs: the names of the results, mostly one.
        opset: of ONNX.
    """

    nodes: tuple[Node, ...]
    constants: Mapping[str, NDArray[Any]]
    origins: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]
    input: str
    outputs: tuple[str, ...]
    opset: int


def network_of(model: onnx.ModelProto, known: Collection[str], several: bool = False) -> Network:
    """Return a model whose sizes are static as nodes and constants.

    Args:
        model: from `calib.importer.static_shapes.make_static`.
        known: the operators that are understood.
        several: whether it may have several results.

    Raises:
        UsageError: when other operators are left, shapes do not fit together or are too large, or there are several
            inputs or results.
    """
    graph = model.graph
    given = _only([value.name for value in graph.input if value.name not in _stored(graph)], "inputs", "image")
    results = [value.name for value in graph.output]
    if not several or not results:
        _only(results, "outputs", "result, the scores")
    types = _types(model)
    folding = _Folding(model, types)
    nodes = [node for node in graph.node if not folding.takes(node)]
    refuse_unknown(nodes, known)
    read = {*results, *(name for node in nodes for name in node.input)}
    shapes = {name: _static_shape(name, kind) for name, kind in types.items() if name in read}
    shapes |= {name: value.shape for name, value in folding.constants.items()}
    if missing := [name for name in results if not any(name in node.output for node in nodes)]:
        raise UsageError(f"the result {missing[0]!r} does not depend on the image. Is it the right file?")
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    return Network(tuple(map(_node, nodes)), folding.constants, folding.origins, shapes, given, tuple(results), opset)


def _stored(graph: onnx.GraphProto) -> set[str]:
    return {tensor.name for tensor in graph.initializer}


def _only(names: list[str], kind: str, what: str) -> str:
    if len(names) != 1:
        raise UsageError(
            f"the network has {len(names)} {kind} ({', '.join(map(repr, names[:4]))}); exactly one {what}, is "
            "understood. Export it with one."
        )
    return names[0]


def _types(model: onnx.ModelProto) -> dict[str, TypeProto]:
    """Return the type of every tensor that is not stored."""
    inferred = infer_shapes(model).graph
    return {value.name: value.type for value in (*inferred.input, *inferred.value_info, *inferred.output)}


def _static_shape(name: str, kind: TypeProto) -> tuple[int, ...]:
    tensor = kind.tensor_type
    dims = tensor.shape.dim
    if any(dim.dim_value < 1 and dim.HasField("dim_value") for dim in dims):
        sizes = [dim.dim_value for dim in dims]
        raise UsageError(f"tensor {name!r} has shape {sizes}: nothing is left of the images. Give larger ones.")
    if not tensor.HasField("shape") or any(dim.dim_value < 1 for dim in dims):
        shown = [dim.dim_param or dim.dim_value or "?" for dim in dims]
        raise UsageError(
            f"tensor {name!r} has shape {shown}; every size must be fixed but the batch, which is read as 1, and sizes "
            "that follow from constants. Give the size of the images, or export it for images of one size."
        )
    shape = tuple(dim.dim_value for dim in dims)
    if math.prod(shape) > MAX_MAP:
        raise UsageError(f"tensor {name!r} has shape {list(shape)}; at most {MAX_MAP} numbers are allowed.")
    return shape


def _node(node: onnx.NodeProto) -> Node:
    attributes = attributes_of(node)
    return Node(node.name or node.output[0], node.op_type, tuple(node.input), tuple(node.output), attributes)


@dataclass
class _Folding:
    """Walks over nodes in their order and computes those that read constants alone."""

    model: onnx.ModelProto
    types: Mapping[str, TypeProto]
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    computed: int = 0

    def __post_init__(self) -> None:
        """Take the stored tensors."""
        self.constants |= {tensor.name: _real(stored_array(tensor)) for tensor in self.model.graph.initializer}

    def takes(self, node: onnx.NodeProto) -> bool:
        """Return whether a node's results are constants, and keep them."""
        if node.op_type == "Constant":
            self.constants[node.output[0]] = _real(stored_array(constant_tensor(node)))
            return True
        given = [name for name in node.input if name]
        if node.op_type not in OF_CONSTANTS or not given or any(name not in self.constants for name in given):
            return False
        results = [name for name in node.output if name]
        self.computed += sum(math.prod(_static_shape(name, self.types[name])) for name in results)
        if self.computed > MAX_CONSTANTS:
            raise UsageError(f"the graph computes more than {MAX_CONSTANTS} constant numbers. Export it folded.")
        values = {name: self.constants[name] for name in given}
        compute = OWN.get(node.op_type)
        made = compute(node, values) if compute else evaluate_node(self.model, node, values, self.types)
        if made is None:
            return False
        for name, value in zip(results, made, strict=True):
            self.constants[name] = _real(value)
            self.origins[name] = self.origins.get(given[0], given[0])
        return True


def _dequantized(node: onnx.NodeProto, values: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]] | None:
    """Return stored integers as real numbers, with one scale or one for each index along an axis."""
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    q, scale, *zero_point = (values[name] for name in node.input if name)
    axis = attributes.get("axis", 1)
    if attributes.get("block_size", 0) or scale.ndim > 1 or (scale.size > 1 and not -q.ndim <= axis < q.ndim):
        return None
    shape = [-1 if place == axis % q.ndim else 1 for place in range(q.ndim)] if scale.size > 1 else []
    zero = zero_point[0].astype(np.float32) if zero_point else np.zeros(scale.shape, np.float32)
    try:
        return [(q.astype(np.float32) - zero.reshape(shape)) * scale.astype(np.float32).reshape(shape)]
    except ValueError:
        return None


def _quantized(node: onnx.NodeProto, values: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]] | None:
    """Return stored real numbers as integers, with one scale."""
    x, scale, *zero_point = (values[name] for name in node.input if name)
    if scale.size != 1 or (zero_point and zero_point[0].size != 1):
        return None
    kind = zero_point[0].dtype if zero_point else np.dtype(np.uint8)
    steps = np.rint(x / scale.reshape(())) + (zero_point[0].reshape(()) if zero_point else 0)
    return [np.clip(steps, np.iinfo(kind).min, np.iinfo(kind).max).astype(kind)]


OWN = {"DequantizeLinear": _dequantized, "QuantizeLinear": _quantized}  # ONNX's reference lacks those of older opsets


def _real(value: NDArray[Any]) -> NDArray[Any]:
    return value.astype(np.float32) if value.dtype.kind == "f" else value
