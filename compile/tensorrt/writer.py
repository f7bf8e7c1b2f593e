"""The ONNX writer for TensorRT: the same network as float or with Q/DQ pairs, in float32 or float16.

The names of nodes are those of the checkpoint, so that a builder's layer list can be compared with the promise. Biases
stay float. Weights are float constants behind a QuantizeLinear/DequantizeLinear pair, the one form every TensorRT since
8.0 reads; their values are whole multiples of the scale, so quantizing them again changes nothing. The classifier is a
1x1 convolution, the operator TensorRT's int8 kernels know best. Input and logits are float32 in every file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from calib.graph import INPUT, AveragePool, Classifier, Convolution, Gate, Graph, HardSigmoid, Operator, ResidualAdd
from calib.qdq import LOGITS, PRODUCER
from calib.qparams import quantize_weights
from calib.quantspec import QuantSpec
from compile.tensorrt.placement import Placement

IR_VERSIONS = {17: 8, 19: 9}  # the one that came with each opset
ELEMENT_TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}


class _Writer:
    """Collects nodes and initializers of one file."""

    def __init__(self, placement: Placement, spec: QuantSpec, dtype: str) -> None:
        self.placement, self.spec, self.dtype = placement, spec, np.dtype(dtype)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.dequantized: dict[str, str] = {}  # tensor -> what its quantized readers take

    def constant(self, name: str, values: NDArray[Any]) -> str:
        self.initializers.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def node(self, kind: str, name: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=name, **attributes))
        return output

    def read(self, reader: str, tensor: str) -> str:
        """Return the ONNX tensor that `reader` takes for `tensor`."""
        return self.dequantized[tensor] if (reader, tensor) in self.placement.quantized_reads else self.raw(tensor)

    def raw(self, tensor: str) -> str:
        return f"{INPUT}.half" if tensor == INPUT and self.dtype == np.float16 else tensor

    def publish(self, tensor: str) -> None:
        """Append the Q/DQ pair of a tensor that has one."""
        if tensor in self.placement.tensors:
            scale = np.asarray(self.spec.activations[tensor].scale, self.dtype)
            self.dequantized[tensor] = self.pair(tensor, self.raw(tensor), scale)

    def pair(self, name: str, source: str, scale: NDArray[Any], **attributes: int) -> str:
        """Append QuantizeLinear and DequantizeLinear and return the dequantized tensor."""
        zero = self.constant(f"{name}.zero_point", np.zeros(scale.shape, np.int8))
        parameters = (self.constant(f"{name}.scale", scale), zero)
        quantized = self.node(
            "QuantizeLinear", f"{name}.quantize", (source, *parameters), f"{name}.quantized", **attributes
        )
        inputs = (quantized, *parameters)
        return self.node("DequantizeLinear", f"{name}.dequantize", inputs, f"{name}.dequantized", **attributes)

    def weight(self, layer: str, values: NDArray[np.float32]) -> str:
        """Return a layer's weight [O, I, kh, kw], through a Q/DQ pair if the layer is int8."""
        name = f"{layer}.weight"
        if layer not in self.placement.layers:
            return self.constant(name, values.astype(self.dtype))
        scales = self.spec.weight_scales[layer]
        integers = quantize_weights(values, scales).astype(np.float32)
        real = (integers * scales.reshape(-1, 1, 1, 1)).astype(self.dtype)
        return self.pair(name, self.constant(name, real), scales.astype(self.dtype), axis=0)

    def convolution(self, op: Convolution | Classifier, output: str) -> str:
        weight = op.weight.reshape(*op.weight.shape[:2], 1, 1) if isinstance(op, Classifier) else op.weight
        stride, padding, groups = (1, 0, 1) if isinstance(op, Classifier) else (op.stride, op.padding, op.groups)
        source = self.read(op.name, op.input)
        inputs = (source, self.weight(op.name, weight), self.constant(f"{op.name}.bias", op.bias.astype(self.dtype)))
        kernel = list(weight.shape[2:])
        attributes: Mapping[str, Any] = {
            "kernel_shape": kernel, "strides": [stride] * 2, "pads": [padding] * 4, "group": groups
        }  # fmt: skip
        return self.node("Conv", op.name, inputs, output, **attributes)

    def operator(self, op: Operator) -> None:
        """Append one operator and the Q/DQ pair of its output."""
        match op:
            case Convolution():
                output = self.convolution(op, f"{op.name}.convolution" if op.relu else op.name)
                if op.relu:
                    self.node("Relu", f"{op.name}.relu", (output,), op.name)
            case ResidualAdd():
                self.node("Add", op.name, (self.read(op.name, op.input), self.read(op.name, op.other)), op.name)
            case AveragePool():
                self.node("GlobalAveragePool", op.name, (self.read(op.name, op.input),), op.name)
            case HardSigmoid():
                self.node("HardSigmoid", op.name, (self.read(op.name, op.input),), op.name, alpha=1 / 6, beta=0.5)
            case Gate():
                self.node("Mul", op.name, (self.read(op.name, op.input), self.read(op.name, op.gate)), op.name)
            case Classifier():
                scores = self.convolution(op, op.name)
                half = self.dtype == np.float16
                flat = self.node(
                    "Flatten", f"{op.name}.flatten", (scores,), f"{LOGITS}.half" if half else LOGITS, axis=1
                )
                if half:
                    self.node("Cast", f"{LOGITS}.cast", (flat,), LOGITS, to=TensorProto.FLOAT)
                return
        self.publish(op.name)


def write_onnx(
    graph: Graph, spec: QuantSpec, placement: Placement, size: int, opset: int, dtype: str, metadata: Mapping[str, str]
) -> onnx.ModelProto:
    """Return a file for TensorRT, checked by onnx.

    Args:
        graph: from `calib.walk.graph_of`.
        spec: from `compile.tensorrt.scales.half_spec`.
        placement: what is int8; from `float_placement` nothing is.
        size: height and width of the input, in pixels.
        opset: a key of `IR_VERSIONS`.
        dtype: "float32" or "float16", of everything that is not int8.
        metadata: texts to store.
    """
    writer = _Writer(placement, spec, dtype)
    if dtype == "float16":
        writer.node("Cast", f"{INPUT}.cast", (INPUT,), f"{INPUT}.half", to=TensorProto.FLOAT16)
    writer.publish(INPUT)
    for operator in graph.operators:
        writer.operator(operator)
    last = graph.operators[-1]
    assert isinstance(last, Classifier)
    picture = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [1, graph.channels, size, size])
    logits = helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, [1, len(last.bias)])
    body = helper.make_graph(writer.nodes, "repghostnet", [picture], [logits], writer.initializers)
    model = helper.make_model(body, producer_name=PRODUCER, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = IR_VERSIONS[opset]
    helper.set_model_props(model, dict(sorted(metadata.items())))
    model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    return model
