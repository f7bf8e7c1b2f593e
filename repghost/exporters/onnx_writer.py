"""What every ONNX file of the network shares: how its nodes are written, and how the file is closed and checked.

The writers differ in what stands between the nodes: nothing (`repghost.exporters.onnx`), Q/DQ pairs for CPUs
(`calib.qdq.writer`), Q/DQ pairs and float16 for TensorRT (`compile.tensorrt.network.writer`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from repghost.graph.operators import (
    INPUT,
    RELU,
    UNBOUNDED,
    Add,
    AveragePool,
    ChannelSlopes,
    Clamp,
    Concat,
    Convolution,
    Function,
    GlobalAveragePool,
    MaxPool,
    Multiply,
    Narrow,
    Operator,
    Pad,
    Resize,
    ShuffleChannels,
    Slice,
    Subtract,
)
from repghost.graph.shapes import Shape

IR_VERSIONS = {17: 8, 19: 9, 21: 10}  # by opset, the one that came with it
LOGITS = "logits"
RESULT = ".result"  # ends the name of each of several results
PRODUCER = "repghost"
BINARY: dict[type, str] = {Add: "Add", Subtract: "Sub", Multiply: "Mul"}


class OnnxGraph:
    """Collects nodes and initializers in the order in which they are appended.

    Args:
        shapes: channels, height and width of each tensor, for operators whose nodes name sizes.
    """

    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        self.shapes = shapes
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Append an initializer and return its name."""
        self.initializers.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def node(self, kind: str, name: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Append a node and return its output."""
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=name, **attributes))
        return output

    def convolution(self, op: Convolution, source: str, weight: str, bias: str, linear: str) -> None:
        """Append a convolution, and its clamp as a node of its own; the result is the tensor of the operator's name.

        Args:
            op: has the geometry.
            source: the tensor it reads.
            weight: of the shape of `op.weight`.
            bias: of the shape of `op.bias`.
            linear: what the convolution's result is called where a clamp follows.
        """
        output = op.name if op.clamp == UNBOUNDED else linear
        attributes = {"dilations": list(op.dilations)} if op.dilations != (1, 1) else {}
        self.node(
            "Conv", op.name, (source, weight, bias), output,
            kernel_shape=list(op.weight.shape[2:]), strides=list(op.strides), pads=list(op.pads), group=op.groups,
            **attributes,
        )  # fmt: skip
        self.clamp(op.name, op.clamp, output)

    def clamp(self, name: str, clamp: Clamp, source: str) -> None:
        """Append the clamp of an operator, if it has one, as the node that writes the tensor of its name."""
        if clamp == RELU:
            self.node("Relu", f"{name}.relu", (source,), name)
        elif clamp != UNBOUNDED:
            bounds = [
                self.constant(f"{name}.{end}", np.asarray(bound, np.float32)) if np.isfinite(bound) else ""
                for end, bound in zip(("low", "high"), clamp, strict=True)
            ]
            self.node("Clip", f"{name}.clip", (source, *bounds), name)

    def weightless(self, op: Operator, inputs: Sequence[str]) -> None:
        """Append an operator without weights; the result is the tensor of its name."""
        match op:
            case Add() | Subtract() | Multiply():
                output = op.name if op.clamp == UNBOUNDED else f"{op.name}.unbounded"
                self.node(BINARY[type(op)], op.name, inputs, output)
                self.clamp(op.name, op.clamp, output)
            case Function():
                self._formula(op, *inputs)
            case ChannelSlopes():
                slopes = self.constant(f"{op.name}.slopes", op.slopes.reshape(-1, 1, 1))
                self.node("PRelu", op.name, (*inputs, slopes), op.name)
            case GlobalAveragePool():
                self.node("GlobalAveragePool", op.name, inputs, op.name)
            case AveragePool():
                self.node(
                    "AveragePool", op.name, inputs, op.name,
                    kernel_shape=list(op.size), strides=list(op.strides), pads=list(op.pads),
                    count_include_pad=int(op.padding_counts),
                )  # fmt: skip
            case MaxPool():
                self.node(
                    "MaxPool", op.name, inputs, op.name,
                    kernel_shape=list(op.size), strides=list(op.strides), pads=list(op.pads),
                    dilations=list(op.dilations),
                )  # fmt: skip
            case Concat():
                self.node("Concat", op.name, inputs, op.name, axis=1)
            case Slice():
                ends = zip(("starts", "ends", "axes", "steps"), (op.start, op.end, (1, 2, 3), op.step), strict=True)
                constants = [self.constant(f"{op.name}.{kind}", np.asarray(values, np.int64)) for kind, values in ends]
                self.node("Slice", op.name, (*inputs, *constants), op.name)
            case Pad():
                top, left, bottom, right = op.pads
                pads = np.asarray((0, 0, top, left, 0, 0, bottom, right), np.int64)
                self.node("Pad", op.name, (*inputs, self.constant(f"{op.name}.pads", pads)), op.name)
            case Resize():
                self._resize(op, *inputs)
            case ShuffleChannels():
                self._shuffle(op, *inputs)
            case Narrow():
                self.node("Identity", op.name, inputs, op.name)
            case _:
                raise TypeError(f"{type(op).__name__} has weights")

    def _resize(self, op: Resize, source: str) -> None:
        channels, _, _ = self.shapes[op.input]
        sizes = self.constant(f"{op.name}.sizes", np.asarray((1, channels, *op.size), np.int64))
        nearest = {"nearest_mode": op.rounding} if op.mode == "nearest" else {}
        self.node(
            "Resize", op.name, (source, "", "", sizes), op.name,
            mode=op.mode, coordinate_transformation_mode=op.coordinates, **nearest,
        )  # fmt: skip

    def _shuffle(self, op: ShuffleChannels, source: str) -> None:
        channels, height, width = self.shapes[op.input]
        shape = (1, op.groups, channels // op.groups, height, width)
        apart = self.constant(f"{op.name}.apart", np.asarray(shape, np.int64))
        together = self.constant(f"{op.name}.together", np.asarray((1, channels, height, width), np.int64))
        split = self.node("Reshape", f"{op.name}.split", (source, apart), f"{op.name}.split")
        turned = self.node("Transpose", f"{op.name}.turn", (split,), f"{op.name}.turned", perm=[0, 2, 1, 3, 4])
        self.node("Reshape", op.name, (turned, together), op.name)

    def _formula(self, op: Function, source: str) -> None:
        """Append the steps of a function, each a node."""
        values = [source]
        for number, step in enumerate(op.steps, 1):
            name = op.name if number == len(op.steps) else f"{op.name}.step{number}"
            operands = [
                values[operand]
                if isinstance(operand, int)
                else self.constant(f"{name}.constant{place}", np.asarray(operand, np.float32))
                for place, operand in enumerate(step.operands)
            ]
            values.append(self.node(step.operator, name, operands, name, **dict(step.attributes)))

    def model(
        self,
        name: str,
        shape: Sequence[int | str],
        results: int | Mapping[str, Shape],
        opset: int,
        metadata: dict[str, str],
        version: str = "",
    ) -> onnx.ModelProto:
        """Return the file from "input" to "logits" or several results, checked by onnx, with the shape of every tensor.

        Args:
            name: of the graph.
            shape: of the input, float32 [N, C, H, W]; a text is a size that is chosen when the file is used.
            results: number of logits, or the shape of each of several results by name.
            opset: a key of `IR_VERSIONS`.
            metadata: texts to store.
            version: of the program that writes it, where the file should say so.
        """
        image = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, shape)
        sizes = {LOGITS: (results,)} if isinstance(results, int) else results
        outputs = [helper.make_tensor_value_info(key, TensorProto.FLOAT, (shape[0], *it)) for key, it in sizes.items()]
        body = helper.make_graph(self.nodes, name, [image], outputs, self.initializers)
        model = helper.make_model(
            body,
            opset_imports=[helper.make_opsetid("", opset)],
            ir_version=IR_VERSIONS[opset],
            producer_name=PRODUCER,
        )
        if version:
            model.producer_version = version
        helper.set_model_props(model, dict(sorted(metadata.items())))
        model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
        onnx.checker.check_model(model, full_check=True)
        return model
