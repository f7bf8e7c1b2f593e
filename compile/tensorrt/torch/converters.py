"""How torch-tensorrt turns our two operators into TensorRT's network: Q/DQ pairs with the given scales."""

from __future__ import annotations

from typing import Any

import numpy as np


def register_converters() -> None:
    """Register the converters; needs torch_tensorrt, which brings the module tensorrt."""
    import torch
    from torch_tensorrt.dynamo.conversion import dynamo_tensorrt_converter

    from compile.tensorrt.torch import network  # noqa: F401  (defines the two operators)

    operators = torch.ops.repghost
    dynamo_tensorrt_converter(operators.quantize_dequantize.default)(_convert_pair)
    dynamo_tensorrt_converter(operators.int8_convolution.default)(_convert_convolution)


def _convert_pair(context: Any, target: Any, arguments: Any, keywords: Any, name: str) -> Any:
    x, scale = arguments
    return _pair(context, x, np.asarray(scale, np.float32), name)


def _convert_convolution(context: Any, target: Any, arguments: Any, keywords: Any, name: str) -> Any:
    import tensorrt as trt

    x, weight, weight_scale, bias, scale, strides, padding, dilations, groups = arguments
    source = _pair(context, x, np.asarray(scale, np.float32), f"{name}.input")
    values = _constant(context, _numpy(weight), f"{name}.weight")
    kernel = _pair(context, values, _numpy(weight_scale), f"{name}.weight", axis=0)
    shape = _numpy(weight).shape
    # The weight is a tensor, behind its pair; the layer takes an empty one of its own.
    layer = context.net.add_convolution_nd(
        source, shape[0], shape[2:], trt.Weights(trt.float32), _weights(context, bias)
    )
    layer.set_input(1, kernel)
    layer.stride_nd, layer.padding_nd, layer.dilation_nd = tuple(strides), tuple(padding), tuple(dilations)
    layer.num_groups = groups
    layer.name = name
    return layer.get_output(0)


def _weights(context: Any, bias: Any) -> Any:
    values = np.ascontiguousarray(_numpy(bias))
    _keep(context, values)
    return values


def _numpy(value: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    array = value.detach().cpu().numpy() if hasattr(value, "detach") else value
    return np.asarray(array, np.float32)


def _constant(context: Any, values: np.ndarray[Any, Any], name: str) -> Any:
    values = np.ascontiguousarray(values)
    _keep(context, values)
    layer = context.net.add_constant(values.shape, values)
    layer.name = f"{name}.constant"
    return layer.get_output(0)


def _pair(context: Any, tensor: Any, scale: np.ndarray[Any, Any], name: str, axis: int | None = None) -> Any:
    import tensorrt as trt

    steps = _constant(context, scale, f"{name}.scale")
    quantize = context.net.add_quantize(tensor, steps, trt.DataType.INT8)
    dequantize = context.net.add_dequantize(quantize.get_output(0), steps, tensor.dtype)
    for layer, part in ((quantize, "quantize"), (dequantize, "dequantize")):
        layer.name = f"{name}.{part}"
        if axis is not None:
            layer.axis = axis
    return dequantize.get_output(0)


def _keep(context: Any, values: np.ndarray[Any, Any]) -> None:
    """Keep memory alive until the engine is built: TensorRT reads it only then."""
    kept = getattr(context, "repghost_kept", None)
    if kept is None:
        kept = context.repghost_kept = []
    kept.append(values)
