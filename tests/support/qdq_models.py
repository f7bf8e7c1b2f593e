"""Small QDQ ONNX models, written node by node with onnx.helper, for every test that needs a file.

`Model` collects nodes; `mini_net` has one of everything RepGhostNet has: stem, pointwise, depthwise at both strides,
squeeze-excite, residual add, pooled head, linear layer.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from calib.integer.qparams import quantize_weights
from calib.weight_scales.planning import plan_scales
from repghost.data.images.preprocess import Preprocess
from repghost.sizes import Size, sides

SIZE = 16  # pixels of the mini net's image


class Model:
    """Collects nodes and initializers of one graph."""

    def __init__(self, size: Size = SIZE, seed: int = 0, opset: int = 17, channels: int = 3) -> None:
        self.size, self.opset, self.input_channels = size, opset, channels
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, NDArray] = {}
        self.scales: dict[str, float] = {}  # of each dequantized tensor

    def constant(self, name: str, values: object, dtype: type = np.float32) -> str:
        self.initializers[name] = np.asarray(values, dtype)
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=f"{output}.node", **attributes))
        return output

    def quantize(self, tensor: str, scale: float, zero_point: int) -> str:
        """Append a Q/DQ pair and return the dequantized tensor."""
        parameters = [
            self.constant(f"{tensor}.scale", scale), self.constant(f"{tensor}.zero_point", zero_point, np.int8)
        ]  # fmt: skip
        self.node("QuantizeLinear", [tensor, *parameters], f"{tensor}.q")
        self.scales[f"{tensor}.dq"] = float(np.float32(scale))
        return self.node("DequantizeLinear", [f"{tensor}.q", *parameters], f"{tensor}.dq")

    def weight(self, name: str, values: NDArray, scales: NDArray, axis: int = 0) -> str:
        """Append an int8 weight behind a DequantizeLinear."""
        inputs = [
            self.constant(name, values, np.int8), self.constant(f"{name}.scale", scales),
            self.constant(f"{name}.zero_point", np.zeros(np.shape(scales)), np.int8),
        ]  # fmt: skip
        return self.node("DequantizeLinear", inputs, f"{name}.dq", axis=axis)

    def conv(
        self, name: str, x: str, channels: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1,
        scale_y: float | None = None, residual: bool = False, padding: int | None = None,
    ) -> str:  # fmt: skip
        """Append a convolution with random weights; `scale_y` plans depthwise scales for int16 accumulators."""
        real = self.rng.normal(0, 0.4, (out, channels // groups, kernel, kernel)).astype(np.float32)
        scales = np.abs(real).max((1, 2, 3)) / 127
        if scale_y is not None:
            planned = plan_scales(real[:, 0], self.scales[x], float(np.float32(scale_y)), residual)
            assert planned is not None
            scales = planned
        weight = self.weight(f"{name}.weight", quantize_weights(real, scales), scales)
        bias = self.constant(f"{name}.bias", self.rng.normal(0, 0.2, out))
        return self.node(
            "Conv", [x, weight, bias], name, kernel_shape=[kernel] * 2, strides=[stride] * 2,
            pads=[kernel // 2 if padding is None else padding] * 4, group=groups,
        )  # fmt: skip

    def linear(self, name: str, x: str, channels: int, out: int) -> str:
        real = self.rng.normal(0, 0.4, (out, channels)).astype(np.float32)
        scales = np.abs(real).max(1) / 127
        weight = self.weight(f"{name}.weight", quantize_weights(real, scales), scales)
        return self.node(
            "Gemm", [x, weight, self.constant(f"{name}.bias", self.rng.normal(0, 0.2, out))], name, transB=1
        )

    def build(
        self, output: str, classes: int, input_shape: list | None = None, metadata: dict[str, str] | None = None
    ) -> onnx.ModelProto:
        shape = [1, self.input_channels, *sides(self.size)] if input_shape is None else input_shape
        graph = helper.make_graph(
            self.nodes, "net",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, classes])],
            [numpy_helper.from_array(values, name) for name, values in self.initializers.items()],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        if metadata is None:
            metadata = {"repghost.preprocess": json.dumps(preprocess(self.size, self.input_channels).to_dict())}
        helper.set_model_props(model, metadata)
        return model


def preprocess(size: Size = SIZE, channels: int = 3) -> Preprocess:
    values = {} if channels == 3 else {"mean": (0.45,) * channels, "std": (0.22,) * channels}
    return Preprocess(size, size, "bilinear", **values)


def mini_net(
    size: Size = SIZE, seed: int = 0, int16: bool = True, classes: int = 7, channels: int = 3
) -> onnx.ModelProto:
    """Return a network with one of everything RepGhostNet has.

    Args:
        int16: plan the depthwise scales for int16 accumulators.
    """
    m = Model(size, seed, channels=channels)
    x = m.quantize("input", 4.8 / 255, -15)
    x = m.quantize(m.node("Relu", [m.conv("stem", x, channels, 8, kernel=3, stride=2)], "stem.relu"), 8 / 255, -128)
    block = x
    x = m.quantize(m.node("Relu", [m.conv("pointwise", x, 8, 12)], "pointwise.relu"), 9 / 255, -128)
    scale = 8 / 255
    x = m.conv("depthwise", x, 12, 12, kernel=3, groups=12, scale_y=scale if int16 else None)
    x = m.quantize(m.node("Relu", [x], "depthwise.relu"), scale, -128)
    gate = m.quantize(m.node("GlobalAveragePool", [x], "se.pool"), 3 / 255, -128)
    gate = m.quantize(m.node("Relu", [m.conv("se.reduce", gate, 12, 4)], "se.relu"), 4 / 255, -128)
    gate = m.quantize(m.conv("se.expand", gate, 4, 12), 6 / 255, 3)
    gate = m.quantize(m.node("HardSigmoid", [gate], "se.gate", alpha=1 / 6, beta=0.5), 1 / 255, -128)
    x = m.quantize(m.node("Mul", [x, gate], "se.scale"), 6 / 255, -128)
    x = m.quantize(m.conv("project", x, 12, 8), 10 / 255, 7)
    scale = 16 / 255
    x = m.conv("cheap", x, 8, 8, kernel=3, groups=8, scale_y=scale if int16 else None, residual=True)
    x = m.quantize(m.node("Add", [x, block], "add"), scale, -20)
    scale = 14 / 255
    x = m.conv("down", x, 8, 8, kernel=5, stride=2, groups=8, scale_y=scale if int16 else None)
    x = m.quantize(x, scale, 5)
    x = m.quantize(m.node("Relu", [m.conv("tail", x, 8, 16)], "tail.relu"), 12 / 255, -128)
    x = m.quantize(m.node("GlobalAveragePool", [x], "pool"), 5 / 255, -128)
    x = m.quantize(m.node("Relu", [m.conv("head", x, 16, 20)], "head.relu"), 6 / 255, -128)
    x = m.linear("logits", m.node("Flatten", [x], "flat", axis=1), 20, classes)
    return m.build(x, classes)


def save(model: onnx.ModelProto, folder: Path, name: str = "net.qdq.onnx") -> Path:
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path
