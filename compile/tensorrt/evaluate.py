"""Evaluators of a file for TensorRT on this machine: PyTorch, ONNX Runtime or onnx's reference evaluator.

PyTorch computes the expected logits and the accuracy, in batches; one of the other two repeats the logits when a bundle
is verified, so that no program checks its own results.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional as F

from repghost.errors import UsageError
from repghost.graph.operators import INPUT

ONNX_RUNTIME, ONNX_REFERENCE = "ONNX Runtime, Q/DQ computed as written", "onnx reference evaluator"
# Without it ONNX Runtime's int8 kernels add in 16 bits on processors without VNNI, and logits move by up to a tenth.
EXACT = "session.disable_quant_qdq"

REFERENCE_OPSET = 19

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class TorchNetwork:
    """A file of `compile.tensorrt.network.writer`, evaluated by PyTorch in float32.

    Args:
        model: the file.
        half: round every tensor of the file's float16 part to float16, as a builder that fuses nothing would.

    Raises:
        UsageError: for an operator the writer does not write.
    """

    def __init__(self, model: onnx.ModelProto, half: bool = False) -> None:
        self._nodes = list(model.graph.node)
        self._half = half
        self._output = model.graph.output[0].name
        self._constants = {
            tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).astype(np.float32))
            for tensor in model.graph.initializer
        }
        self._halves = {tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT16}
        self._fold_weights()

    def _fold_weights(self) -> None:
        """Evaluate what depends on constants only: the Q/DQ pairs of the weights."""
        waiting = []
        for node in self._nodes:
            if all(name in self._constants for name in node.input):
                self._constants[node.output[0]] = self._compute(node, self._constants)
            else:
                waiting.append(node)
        self._nodes = waiting

    @torch.no_grad()
    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits, float32 [N, classes].

        Args:
            images: float32 [N, 3, H, W], normalized.
        """
        tensors = {INPUT: torch.from_numpy(images)}
        last_reader = {name: index for index, node in enumerate(self._nodes) for name in node.input}
        for index, node in enumerate(self._nodes):
            tensors[node.output[0]] = self._compute(node, tensors)
            for name in set(node.input) & set(tensors):
                if last_reader[name] == index:
                    del tensors[name]
        return tensors[self._output].numpy()

    def _compute(self, node: onnx.NodeProto, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        inputs = [tensors[name] if name in tensors else self._constants[name] for name in node.input]
        attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        result = _compute(node, inputs, attributes)
        if self._half and self._is_half(node, attributes):
            result = result.half().float()
        return result

    def _is_half(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> bool:
        """Return whether a node's result is float16, and remember it: then its readers' results are, too."""
        half = attributes.get("to") == TensorProto.FLOAT16 or (
            node.op_type not in ("QuantizeLinear", "Cast") and any(name in self._halves for name in node.input)
        )
        if half:
            self._halves.add(node.output[0])
        return half


def _compute(node: onnx.NodeProto, inputs: list[torch.Tensor], attributes: dict[str, Any]) -> torch.Tensor:
    x = inputs[0]
    match node.op_type:
        case "QuantizeLinear":
            return torch.clamp(torch.round(x / _along_axis(inputs[1], x, attributes)), -128, 127)
        case "DequantizeLinear":
            return x * _along_axis(inputs[1], x, attributes)
        case "Conv":
            stride, padding = attributes["strides"], attributes["pads"][:2]
            return F.conv2d(x, inputs[1], inputs[2], stride, padding, groups=attributes["group"])
        case "Relu":
            return torch.relu(x)
        case "Add":
            return x + inputs[1]
        case "Mul":
            return x * inputs[1]
        case "GlobalAveragePool":
            return x.mean((2, 3), keepdim=True)
        case "HardSigmoid":
            return torch.clamp(x * attributes["alpha"] + attributes["beta"], 0, 1)
        case "Flatten":
            return x.flatten(1)
        case "Cast":
            return x
    raise UsageError(f"node {node.name!r}: operator {node.op_type} is not one that files for TensorRT have.")


def _along_axis(scale: torch.Tensor, x: torch.Tensor, attributes: dict[str, Any]) -> torch.Tensor:
    return scale if scale.ndim == 0 else scale.reshape(-1, *[1] * (x.ndim - 1 - attributes.get("axis", 1)))


def second_evaluator(content: bytes) -> tuple[str, Run]:
    """Return the name of the evaluator of a file, and a function from float32 [N, 3, H, W] to logits.

    ONNX Runtime where it is installed, otherwise onnx's reference evaluator, which is slow.
    """
    if find_spec("onnxruntime") is None:
        return ONNX_REFERENCE, _one_by_one(_reference(content))
    return ONNX_RUNTIME, _one_by_one(_onnx_runtime(content))


def _one_by_one(run: Run) -> Run:
    return lambda images: np.concatenate([run(image[None]) for image in images])


def _onnx_runtime(content: bytes) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(EXACT, "1")
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {INPUT: image})[0]


def _reference(content: bytes) -> Run:
    from onnx.reference import ReferenceEvaluator

    model = onnx.ModelProto.FromString(content)
    # The evaluator knows DequantizeLinear since opset 19 only; nothing the writer writes changed its meaning since 17.
    model.opset_import[0].version = max(REFERENCE_OPSET, model.opset_import[0].version)
    evaluator = ReferenceEvaluator(model)
    return lambda image: np.asarray(evaluator.run(None, {INPUT: image})[0], np.float32)
