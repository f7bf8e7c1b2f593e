"""The ONNX writer for TensorRT: the same network as float or with Q/DQ pairs, in float32 or float16.

The names of nodes are those of the checkpoint, so that a builder's layer list can be compared with the placement.
Biases stay float. Weights are float constants behind a QuantizeLinear/DequantizeLinear pair, the one form every
TensorRT since 8.0 reads; their values are whole multiples of the scale, so quantizing them again changes nothing. The
classifier is a 1x1 convolution, the operator TensorRT's int8 kernels know best. Input and logits are float32 in every
file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from calib.integer.qparams import quantize_weights
from calib.settings.quantspec import QuantSpec
from compile.tensorrt.network.placement import QdqPlacement
from repghost.exporters.onnx_writer import LOGITS, OnnxGraph
from repghost.graph.operators import INPUT, Classifier, Convolution, Graph, Operator, Size
from repghost.graph.shapes import Shape, shapes_of


@dataclass(frozen=True)
class FileForm:
    """How a file is written.

    Attributes:
        opset: a key of `repghost.exporters.onnx_writer.IR_VERSIONS`.
        dtype: "float32" or "float16", of everything that is not int8.
    """

    opset: int
    dtype: str = "float32"


class _Writer(OnnxGraph):
    """Nodes and initializers of one file."""

    def __init__(self, placement: QdqPlacement, spec: QuantSpec, shapes: Mapping[str, Shape], dtype: str) -> None:
        super().__init__(shapes)
        self.placement, self.spec, self.dtype = placement, spec, np.dtype(dtype)
        self.dequantized: dict[str, str] = {}  # tensor -> what its quantized readers take

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

    def layer(self, op: Convolution) -> None:
        """Append a convolution with its weight and bias."""
        source, weight = self.read(op.name, op.input), self.weight(op.name, op.weight)
        bias = self.constant(f"{op.name}.bias", op.bias.astype(self.dtype))
        self.convolution(op, source, weight, bias, f"{op.name}.convolution")

    def classifier(self, op: Classifier) -> None:
        """Append a 1x1 convolution and what makes its map of one pixel the logits."""
        weight = op.weight.reshape(*op.weight.shape, 1, 1)
        self.layer(Convolution(op.name, op.input, weight, op.bias))
        half = self.dtype == np.float16
        flat = self.node("Flatten", f"{op.name}.flatten", (op.name,), f"{LOGITS}.half" if half else LOGITS, axis=1)
        if half:
            self.node("Cast", f"{LOGITS}.cast", (flat,), LOGITS, to=TensorProto.FLOAT)

    def operator(self, op: Operator) -> None:
        """Append one operator and the Q/DQ pair of its output."""
        match op:
            case Convolution():
                self.layer(op)
            case Classifier():
                self.classifier(op)
                return
            case _:
                self.weightless(op, [self.read(op.name, name) for name in op.inputs])
        self.publish(op.name)


def write_onnx(
    graph: Graph, spec: QuantSpec, placement: QdqPlacement, size: Size, form: FileForm, metadata: Mapping[str, str]
) -> onnx.ModelProto:
    """Return a file for TensorRT, checked by onnx.

    Args:
        graph: from `repghost.graph.trace.graph_of`.
        spec: from `compile.tensorrt.network.scales.half_spec`.
        placement: what is int8; from `float_placement` nothing is.
        size: height and width of the input, in pixels.
        form: opset, and the type of everything that is not int8.
        metadata: texts to store.
    """
    shapes = shapes_of(graph, size)
    writer = _Writer(placement, spec, shapes, form.dtype)
    if form.dtype == "float16":
        writer.node("Cast", f"{INPUT}.cast", (INPUT,), f"{INPUT}.half", to=TensorProto.FLOAT16)
    writer.publish(INPUT)
    for operator in graph.operators:
        writer.operator(operator)
    last = graph.operators[-1]
    assert isinstance(last, Classifier)
    return writer.model("repghostnet", (1, *shapes[INPUT]), len(last.bias), form.opset, dict(metadata))
