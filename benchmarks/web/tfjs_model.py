"""A float network as a graph model of TensorFlow.js: model.json and the weights it names.

Its own converter starts from TensorFlow's SavedModel and needs TensorFlow. The format is that of `tf.loadGraphModel`:
the nodes of a frozen GraphDef as JSON, numbers of 64 bits as text, bytes in base64. Maps are NHWC, as TensorFlow's
kernels take them; convolutions carry their bias and ReLU, as its converter fuses them.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repghost.errors import UsageError
from repghost.graph.operators import (
    INPUT,
    RELU,
    UNBOUNDED,
    Add,
    Clamp,
    Classifier,
    Concat,
    Convolution,
    Function,
    GlobalAveragePool,
    Graph,
    Multiply,
    Operator,
    Pads,
    Step,
)  # fmt: skip

MODEL, WEIGHTS = "model.json", "weights.bin"
RELU6: Clamp = (0.0, 6.0)
ACTIVATIONS = {UNBOUNDED: (), RELU: ("Relu",), RELU6: ("Relu6",)}
BINARY = {"Add": "AddV2", "Sub": "Sub", "Mul": "Mul", "Div": "RealDiv"}


class _Writer:
    """Collects nodes and weights."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.weights: list[tuple[str, NDArray[Any]]] = []

    def node(self, name: str, op: str, inputs: tuple[str, ...], **attributes: Any) -> str:
        entries = {"T": {"type": "DT_FLOAT"}, **{key: _attribute(value) for key, value in attributes.items()}}
        self.nodes.append({"name": name, "op": op, "input": list(inputs), "attr": entries})
        return name

    def constant(self, name: str, value: NDArray[Any]) -> str:
        integers = np.issubdtype(value.dtype, np.integer)
        value = np.ascontiguousarray(value, "<i4" if integers else "<f4")
        shape = {"dim": [{"size": str(side)} for side in value.shape]}
        kind = "DT_INT32" if integers else "DT_FLOAT"
        attributes = {"dtype": {"type": kind}, "value": {"tensor": {"dtype": kind, "tensorShape": shape}}}
        self.nodes.append({"name": name, "op": "Const", "attr": attributes})
        self.weights.append((name, value))
        return name

    def activated(self, name: str, clamp: Clamp, op: str, inputs: tuple[str, ...], **attributes: Any) -> str:
        """Add a node whose result is clamped by a node of its own."""
        activation = _activation(name, clamp)
        self.node(f"{name}/before" if activation else name, op, inputs, **attributes)
        return self.node(name, activation[0], (f"{name}/before",)) if activation else name


def _attribute(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"b": value}
    if isinstance(value, int):
        return {"i": str(value)}
    if isinstance(value, str):
        return {"s": base64.b64encode(value.encode()).decode()}
    key = "s" if isinstance(value[0], str) else "i"
    return {"list": {key: [_attribute(it)[key] for it in value]}}


def _activation(name: str, clamp: Clamp) -> tuple[str, ...]:
    if clamp not in ACTIVATIONS:
        raise UsageError(f"{name} is clamped to {clamp}, which the writer of TensorFlow.js models does not know.")
    return ACTIVATIONS[clamp]


def write_tfjs_model(graph: Graph, size: tuple[int, int], folder: Path) -> Path:
    """Write model.json and its weights into a folder; return the path of the former.

    Args:
        graph: the float network.
        size: height and width of its input.
        folder: is made.

    Raises:
        UsageError: for an operator that is not among those the benchmark's networks have.
    """
    writer = _Writer()
    shape = [1, *size, graph.channels]
    dimensions = {"dim": [{"size": str(side)} for side in shape]}
    placeholder = {"dtype": {"type": "DT_FLOAT"}, "shape": {"shape": dimensions}}
    writer.nodes.append({"name": INPUT, "op": "Placeholder", "attr": placeholder})
    for operator in graph.operators:
        _write(writer, operator)
    manifest = [
        {"name": name, "shape": list(value.shape), "dtype": "int32" if value.dtype.kind == "i" else "float32"}
        for name, value in writer.weights
    ]
    folder.mkdir(parents=True)
    (folder / WEIGHTS).write_bytes(b"".join(value.tobytes() for _, value in writer.weights))
    model = {
        "format": "graph-model",
        "modelTopology": {"node": writer.nodes, "versions": {}},
        "weightsManifest": [{"paths": [WEIGHTS], "weights": manifest}],
    }
    (folder / MODEL).write_text(json.dumps(model))
    return folder / MODEL


def _write(writer: _Writer, operator: Operator) -> None:
    name = operator.name
    match operator:
        case Convolution():
            _write_convolution(writer, operator)
        case Add():
            writer.activated(name, operator.clamp, "AddV2", operator.inputs)
        case Multiply():
            writer.activated(name, operator.clamp, "Mul", operator.inputs)
        case Concat():
            axis = writer.constant(f"{name}/axis", np.array(3))
            writer.node(name, "ConcatV2", (*operator.inputs, axis), N=len(operator.inputs))
        case GlobalAveragePool():
            axes = writer.constant(f"{name}/axes", np.array([1, 2]))
            writer.node(name, "Mean", (operator.input, axes), keep_dims=True)
        case Function():
            _write_formula(writer, operator)
        case Classifier():
            flat = writer.constant(f"{name}/shape", np.array([1, operator.weight.shape[1]]))
            vector = writer.node(f"{name}/vector", "Reshape", (operator.input, flat))
            weight = writer.constant(f"{name}/weight", operator.weight.T)
            bias = writer.constant(f"{name}/bias", operator.bias)
            fused = {"fused_ops": ("BiasAdd",), "num_args": 1, "transpose_a": False, "transpose_b": False}
            writer.node(name, "_FusedMatMul", (vector, weight, bias), **fused)
        case _:
            raise UsageError(f"{name}: the writer of TensorFlow.js models has no {type(operator).__name__}.")


def _write_convolution(writer: _Writer, layer: Convolution) -> None:
    """Add a convolution with the padding it names; TensorFlow's SAME would be another one where strides are 2."""
    name = layer.name
    if layer.groups > 1 and not layer.is_depthwise:
        raise UsageError(f"{name} has {layer.groups} groups, which the kernels of TensorFlow.js do not compute.")
    order = (2, 3, 0, 1) if layer.is_depthwise else (2, 3, 1, 0)  # [kh, kw, C, 1] or [kh, kw, I, O]
    weight = writer.constant(f"{name}/weight", layer.weight.transpose(order))
    bias = writer.constant(f"{name}/bias", layer.bias)
    pads: Pads = layer.pads
    attributes = {
        "strides": (1, *layer.strides, 1),
        "dilations": (1, *layer.dilations, 1),
        "data_format": "NHWC",
        "padding": "EXPLICIT" if any(pads) else "VALID",
        "explicit_paddings": (0, 0, pads[0], pads[2], pads[1], pads[3], 0, 0) if any(pads) else (0,) * 8,
        "fused_ops": ("BiasAdd", *_activation(name, layer.clamp)),
        "num_args": 1,
    }
    op = "FusedDepthwiseConv2dNative" if layer.is_depthwise else "_FusedConv2D"
    writer.node(name, op, (layer.input, weight, bias), **attributes)


def _write_formula(writer: _Writer, function: Function) -> None:
    """Add the steps of a formula as nodes."""
    last = len(function.steps)
    for number, step in enumerate(function.steps, 1):
        name = function.name if number == last else f"{function.name}/{number}"
        _write_step(writer, function, name, step)


def _write_step(writer: _Writer, function: Function, name: str, step: Step) -> None:
    operands = tuple(_operand(writer, function, name, index, it) for index, it in enumerate(step.operands))
    given = dict(step.attributes)

    def constant(part: str, value: float) -> str:
        return writer.constant(f"{name}/{part}", np.array(value, np.float32))

    if step.operator in BINARY:
        writer.node(name, BINARY[step.operator], operands)
    elif step.operator == "Clip":
        writer.node(f"{name}/low", "Maximum", operands[:2])
        writer.node(name, "Minimum", (f"{name}/low", operands[2]))
    elif step.operator == "HardSigmoid":  # max(0, min(1, alpha * x + beta))
        scaled = writer.node(f"{name}/scaled", "Mul", (operands[0], constant("alpha", given.get("alpha", 0.2))))
        moved = writer.node(f"{name}/moved", "AddV2", (scaled, constant("beta", given.get("beta", 0.5))))
        low = writer.node(f"{name}/low", "Maximum", (moved, constant("0", 0.0)))
        writer.node(name, "Minimum", (low, constant("1", 1.0)))
    else:
        raise UsageError(f"{name}: the writer of TensorFlow.js models has no {step.operator}.")


def _operand(writer: _Writer, function: Function, name: str, index: int, operand: int | float) -> str:
    if isinstance(operand, float):
        return writer.constant(f"{name}/operand{index}", np.array(operand, np.float32))
    if operand == 0:
        return function.input
    return function.name if operand == len(function.steps) else f"{function.name}/{operand}"
