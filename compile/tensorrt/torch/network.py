"""The placed network as a PyTorch module, for torch-tensorrt: int8 with the scales of the ONNX file.

torch-tensorrt folds what depends on constants alone, which would take a weight's Q/DQ pair away and leave the
convolution half quantized. So an int8 convolution is one operator of our own, `repghost::int8_convolution`, and its
converter (compile/tensorrt/torch/converters.py) adds the pairs and the convolution to TensorRT's network.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from calib.integer.qparams import quantize_weights
from calib.settings.quantspec import QuantSpec
from compile.tensorrt.network.placement import QdqPlacement
from compile.tensorrt.nodes import average_pool, max_pool
from repghost.graph.operators import AveragePool, Classifier, Convolution, Graph, MaxPool, Operator, ShuffleChannels
from repghost.graph.run import FAST, Kernel, Kernels, clamped, convolve, run
from repghost.graph.shapes import slid


@torch.library.custom_op("repghost::quantize_dequantize", mutates_args=())
def quantize_dequantize(x: torch.Tensor, scale: float) -> torch.Tensor:
    """Return float32 values rounded to int8 steps of one scale."""
    return torch.clamp(torch.round(x / scale), -128, 127) * scale


@quantize_dequantize.register_fake
def _(x: torch.Tensor, scale: float) -> torch.Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("repghost::int8_convolution", mutates_args=())
def int8_convolution(  # torch.library takes an argument for each value, and no type that groups them
    x: torch.Tensor,
    weight: torch.Tensor,
    weight_scale: torch.Tensor,
    bias: torch.Tensor,
    scale: float,
    strides: list[int],
    padding: list[int],
    dilations: list[int],
    groups: int,
) -> torch.Tensor:
    """Return a convolution of which input and weight are rounded to int8 steps.

    Args:
        x: float32 [N, I, H, W].
        weight: float32 [O, I / groups, kh, kw].
        weight_scale: float32 [O].
        bias: float32 [O].
        scale: of the input.
        strides: of rows and columns.
        padding: above and below, on the left and on the right.
        dilations: of rows and columns.
        groups: as PyTorch counts them.
    """
    rounded = torch.clamp(torch.round(x / scale), -128, 127) * scale
    steps = weight_scale.reshape(-1, 1, 1, 1)
    return F.conv2d(rounded, torch.round(weight / steps) * steps, bias, strides, padding, dilations, groups)


@int8_convolution.register_fake
def _(
    x: torch.Tensor,
    weight: torch.Tensor,
    weight_scale: torch.Tensor,
    bias: torch.Tensor,
    scale: float,
    strides: list[int],
    padding: list[int],
    dilations: list[int],
    groups: int,
) -> torch.Tensor:
    size, kernel = (x.shape[2], x.shape[3]), (weight.shape[2], weight.shape[3])
    (top, left), (down, right), (rows, columns) = padding, strides, dilations
    height, width = slid(size, kernel, (down, right), (top, left, top, left), (rows, columns))
    return x.new_empty(x.shape[0], weight.shape[0], height, width)


# What FAST does by other operators than those torch-tensorrt has converters for.
WEIGHTLESS: Kernels[torch.Tensor] = {
    **FAST,
    AveragePool: lambda op, x: average_pool(x, op.size, op.strides, op.pads, op.padding_counts),
    MaxPool: lambda op, x: max_pool(x, op.size, op.strides, op.pads, op.dilations),
    ShuffleChannels: lambda op, x: x.unflatten(1, (op.groups, -1)).transpose(1, 2).flatten(1, 2),
}


class TorchTensorRTNetwork(nn.Module):
    """The operators of a graph in order; what is placed in int8 goes through our two operators.

    Args:
        graph: the network.
        spec: from `compile.tensorrt.network.scales.half_spec`.
        placement: what is int8.
    """

    def __init__(self, graph: Graph, spec: QuantSpec, placement: QdqPlacement) -> None:
        super().__init__()
        self.graph, self.spec, self.placement = graph, spec, placement
        self._kernels: Kernels[torch.Tensor] = {
            **{kind: partial(self._weightless, kernel) for kind, kernel in WEIGHTLESS.items()},
            Convolution: self._convolution,
            Classifier: self._classifier,
        }
        self._index: dict[str, int] = {}
        for index, op in enumerate(graph.layers()):
            self._index[op.name] = index
            weight = op.weight[:, :, None, None] if isinstance(op, Classifier) else op.weight
            if op.name in placement.layers:
                scales = spec.weight_scales[op.name]
                self.register_buffer(f"scale{index}", torch.from_numpy(scales))
                weight = (quantize_weights(weight, scales) * scales.reshape(-1, 1, 1, 1)).astype("float32")
            self.register_buffer(f"weight{index}", torch.from_numpy(weight))
            self.register_buffer(f"bias{index}", torch.from_numpy(op.bias))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits, float32 [N, classes], of normalized images, float32 [N, C, H, W]."""
        return run(self.graph, self._kernels, images).flatten(1)

    def _weightless(self, kernel: Kernel[torch.Tensor], op: Operator, *inputs: torch.Tensor) -> torch.Tensor:
        read = (self._read(op.name, name, value) for name, value in zip(op.inputs, inputs, strict=True))
        return kernel(op, *read)

    def _read(self, reader: str, tensor: str, value: torch.Tensor) -> torch.Tensor:
        if (reader, tensor) in self.placement.quantized_reads:
            return quantize_dequantize(value, self.spec.activations[tensor].scale)
        return value

    def _convolution(self, op: Convolution, x: torch.Tensor) -> torch.Tensor:
        return clamped(self._layer(op, x), op.clamp)

    def _classifier(self, op: Classifier, x: torch.Tensor) -> torch.Tensor:
        flat = Convolution(op.name, op.input, op.weight[:, :, None, None], op.bias)
        return self._layer(flat, x.flatten(1)[:, :, None, None])

    def _layer(self, op: Convolution, x: torch.Tensor) -> torch.Tensor:
        index = self._index[op.name]
        weight, bias = getattr(self, f"weight{index}"), getattr(self, f"bias{index}")
        if op.name not in self.placement.layers:
            return convolve(op, x, weight, bias)
        top, left, bottom, right = op.pads
        if (top, left) != (bottom, right):
            x, top, left = F.pad(x, (left, right, top, bottom)), 0, 0
        scale, weight_scale = self.spec.activations[op.input].scale, getattr(self, f"scale{index}")
        geometry = list(op.strides), [top, left], list(op.dilations), op.groups
        return int8_convolution(x, weight, weight_scale, bias, scale, *geometry)
