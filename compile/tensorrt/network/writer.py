"""The ONNX writer for TensorRT: the same network as float or with Q/DQ pairs, in float32 or float16.

The names of nodes are those of the checkpoint, so that a builder's layer list can be compared with the placement.
Biases stay float. Weights are float constants behind a QuantizeLinear/DequantizeLinear pair, the one form every
TensorRT since 8.0 reads; their values are whole multiples of the scale, so quantizing them again changes nothing. The
classifier is a convolution over its whole map, mostly of one pixel, the operator TensorRT's int8 kernels know best.
Input and logits are float32 in every file, and so are functions that float16 is too small for. Several results are
float32 as well, channels last, as the bundles of CPUs give them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from calib.integer.qparams import quantize_weights
from calib.settings.quantspec import QuantSpec
from compile.tensorrt.network.placement import QdqPlacement
from repghost.errors import UsageError
from repghost.exporters.onnx_writer import LOGITS, OnnxGraph
from repghost.graph.operators import INPUT, Classifier, Convolution, Function, Graph, Operator
from repghost.graph.shapes import Shape, shapes_of
from repghost.sizes import Size

LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class FileForm:
    """How a file is written.

    Attributes:
        opset: a key of `repghost.exporters.onnx_writer.IR_VERSIONS`.
        dtype: "float32" or "float16", of everything that is not int8.
        name: of the network.
        results: what several results are called, in the order of `Graph.results`; () for logits.
    """

    opset: int
    dtype: str = "float32"
    name: str = "repghostnet"
    results: tuple[str, ...] = ()


class _Writer(OnnxGraph):
    """Nodes and initializers of one file."""

    def __init__(self, placement: QdqPlacement, spec: QuantSpec, shapes: Mapping[str, Shape], dtype: str) -> None:
        super().__init__(shapes)
        self.placement, self.spec, self.dtype = placement, spec, np.dtype(dtype)
        self.dequantized: dict[str, str] = {}  # tensor -> what its quantized readers take

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Append an initializer, of this file's type where it is a float.

        Raises:
            UsageError: when float16 does not hold it.
        """
        if values.dtype == np.float32 and self.dtype == np.float16:
            largest = float(np.abs(values).max(initial=0))
            if largest > LARGEST:
                raise UsageError(
                    f"{name!r} reaches {largest:.3g}, float16 ends at {LARGEST:g}; the network cannot run in fp16. "
                    "Check the weights."
                )
            values = values.astype(np.float16)
        return super().constant(name, values)

    def read(self, reader: str, tensor: str) -> str:
        """Return the ONNX tensor that `reader` takes for `tensor`."""
        return self.dequantized[tensor] if (reader, tensor) in self.placement.quantized_reads else self.raw(tensor)

    def raw(self, tensor: str) -> str:
        return f"{INPUT}.half" if tensor == INPUT and self.dtype == np.float16 else tensor

    def publish(self, tensor: str) -> None:
        """Append the Q/DQ pair of a tensor that has one."""
        if tensor in self.placement.tensors:
            scale = np.asarray(self.spec.activations[tensor].scale, np.float32)
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
            return self.constant(name, values)
        scales = self.spec.weight_scales[layer]
        integers = quantize_weights(values, scales).astype(np.float32)
        return self.pair(name, self.constant(name, integers * scales.reshape(-1, 1, 1, 1)), scales, axis=0)

    def layer(self, op: Convolution) -> None:
        """Append a convolution with its weight and bias."""
        source, weight = self.read(op.name, op.input), self.weight(op.name, op.weight)
        bias = self.constant(f"{op.name}.bias", op.bias)
        self.convolution(op, source, weight, bias, f"{op.name}.convolution")

    def function(self, op: Function) -> None:
        """Append a formula; in float32, between two casts, where its steps would leave float16."""
        from compile.tensorrt.network.functions import float16_suffices

        source = self.read(op.name, op.input)
        if self.dtype == np.float32 or float16_suffices(op.steps, self.spec.activations.get(op.input)):
            self.weightless(op, (source,))
            return
        wide = replace(op, name=f"{op.name}.float32")
        begin = self.node("Cast", f"{wide.name}.begin", (source,), f"{wide.name}.input", to=TensorProto.FLOAT)
        self.dtype = np.dtype(np.float32)
        self.weightless(wide, (begin,))
        self.dtype = np.dtype(np.float16)
        self.node("Cast", f"{wide.name}.end", (wide.name,), op.name, to=TensorProto.FLOAT16)

    def classifier(self, op: Classifier) -> None:
        """Append a convolution over the whole map that makes the scores."""
        self.layer(Convolution(op.name, op.input, op.weight.reshape(-1, *self.shapes[op.input]), op.bias))

    def logits(self, name: str) -> None:
        """Append what makes the scores, a map of one pixel, the logits."""
        half = self.dtype == np.float16
        flat = self.node("Flatten", f"{name}.flatten", (name,), f"{LOGITS}.half" if half else LOGITS, axis=1)
        if half:
            self.node("Cast", f"{LOGITS}.cast", (flat,), LOGITS, to=TensorProto.FLOAT)

    def result(self, tensor: str, name: str) -> None:
        """Append what makes a map one of several results, float32 [1, height, width, channels].

        Raises:
            UsageError: when another tensor has its name.
        """
        taken = {
            INPUT,
            *(entry.name for entry in self.initializers),
            *(it for node in self.nodes for it in node.output),
        }
        if not name or name in taken:
            raise UsageError(f"a result is called {name!r}, as another tensor of the file is. Export it with another.")
        half = self.dtype == np.float16
        turned = self.node(
            "Transpose", f"{name}.transpose", (tensor,), f"{name}.half" if half else name, perm=[0, 2, 3, 1]
        )
        if half:
            self.node("Cast", f"{name}.cast", (turned,), name, to=TensorProto.FLOAT)

    def operator(self, op: Operator) -> None:
        """Append one operator and the Q/DQ pair of its output."""
        match op:
            case Convolution():
                self.layer(op)
            case Classifier():
                self.classifier(op)
            case Function():
                self.function(op)
            case _:
                self.weightless(op, [self.read(op.name, name) for name in op.inputs])
        self.publish(op.name)


def write_onnx(
    graph: Graph, spec: QuantSpec, placement: QdqPlacement, size: Size, form: FileForm, metadata: Mapping[str, str]
) -> onnx.ModelProto:
    """Return a file for TensorRT, checked by onnx.

    Args:
        graph: the network.
        spec: from `compile.tensorrt.network.scales.half_spec`.
        placement: what is int8; from `float_placement` nothing is.
        size: of the input, in pixels.
        form: opset, and the type of everything that is not int8.
        metadata: texts to store.

    Raises:
        UsageError: when float16 does not hold a weight or a bias.
    """
    shapes = shapes_of(graph, size)
    writer = _Writer(placement, spec, shapes, form.dtype)
    if form.dtype == "float16":
        writer.node("Cast", f"{INPUT}.cast", (INPUT,), f"{INPUT}.half", to=TensorProto.FLOAT16)
    writer.publish(INPUT)
    for operator in graph.operators:
        writer.operator(operator)
    results: dict[str, Shape] = {}
    for tensor, name in zip(graph.results, form.results, strict=True):
        writer.result(tensor, name)
        channels, rows, columns = shapes[tensor]
        results[name] = (rows, columns, channels)
    if not results:
        writer.logits(graph.output)
    gives = results or math.prod(shapes[graph.output])
    return writer.model(form.name, (1, *shapes[INPUT]), gives, form.opset, dict(metadata))
