"""Evaluators of a file for TensorRT on this machine: PyTorch, ONNX Runtime or onnx's reference evaluator.

PyTorch computes the expected logits and the accuracy, in batches; one of the other two repeats the logits when a bundle
is verified, so that no program checks its own results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from compile.tensorrt.nodes import compute_node
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
        self._input, self._outputs = model.graph.input[0].name, [value.name for value in model.graph.output]
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
        """Return the logits, float32 [N, classes]; the numbers of several results one behind the other.

        Args:
            images: float32 [N, C, H, W], normalized.
        """
        tensors = {self._input: torch.from_numpy(images)}
        last_reader = {name: index for index, node in enumerate(self._nodes) for name in node.input}
        for index, node in enumerate(self._nodes):
            tensors[node.output[0]] = self._compute(node, tensors)
            for name in set(node.input) & set(tensors):
                if last_reader[name] == index:
                    del tensors[name]
        return together([tensors[name].numpy() for name in self._outputs])

    def _compute(self, node: onnx.NodeProto, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        inputs = [self._value(name, tensors) for name in node.input]
        attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        result = compute_node(node, inputs, attributes)
        if self._half and self._is_half(node, attributes):
            return _rounded(node.output[0], result)
        return result

    def _value(self, name: str, tensors: dict[str, torch.Tensor]) -> torch.Tensor | None:
        """Return a tensor; None for an input that is left out."""
        return None if not name else tensors[name] if name in tensors else self._constants[name]

    def _is_half(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> bool:
        """Return whether a node's result is float16, and remember it: then its readers' results are, too."""
        half = attributes.get("to") == TensorProto.FLOAT16 or (
            node.op_type not in ("QuantizeLinear", "Cast") and any(name in self._halves for name in node.input)
        )
        if half:
            self._halves.add(node.output[0])
        return half


def _rounded(name: str, x: torch.Tensor) -> torch.Tensor:
    """Return a tensor rounded to float16.

    Raises:
        UsageError: when float16 does not reach so far.
    """
    rounded = x.half().float()
    if torch.isinf(rounded).any() and torch.isfinite(x).all():
        raise UsageError(
            f"tensor {name!r} reaches {float(x.abs().max()):.3g} on these pictures, float16 ends at "
            f"{torch.finfo(torch.float16).max:g}; the network cannot run in fp16. Check the weights and the pictures."
        )
    return rounded


def second_evaluator(content: bytes) -> tuple[str, Run]:
    """Return the name of the evaluator of a file, and a function from float32 [N, C, H, W] to logits.

    ONNX Runtime where it is installed, otherwise onnx's reference evaluator, which is slow.
    """
    if find_spec("onnxruntime") is None:
        return ONNX_REFERENCE, _one_by_one(_reference(content))
    return ONNX_RUNTIME, _one_by_one(_onnx_runtime(content))


def together(results: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the logits, or the numbers of several results as a bundle gives them: one behind the other.

    Args:
        results: float32 [N, ...] each.
    """
    return np.concatenate([values.reshape(len(values), -1) for values in results], axis=1)


def _one_by_one(run: Run) -> Run:
    return lambda images: np.concatenate([run(image[None]) for image in images])


def _onnx_runtime(content: bytes) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(EXACT, "1")
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda image: together(session.run(None, {INPUT: image}))


def _reference(content: bytes) -> Run:
    from onnx.reference import ReferenceEvaluator

    model = onnx.ModelProto.FromString(content)
    # The evaluator knows DequantizeLinear since opset 19 only; nothing the writer writes changed its meaning since 17.
    model.opset_import[0].version = max(REFERENCE_OPSET, model.opset_import[0].version)
    _pad_before_pools(model.graph)
    evaluator = ReferenceEvaluator(model)
    return lambda image: together([np.asarray(it, np.float32) for it in evaluator.run(None, {INPUT: image})])


def _pad_before_pools(graph: onnx.GraphProto) -> None:
    """Move the pads of max pools to nodes of their own: the evaluator (onnx 1.23) turns those that differ by side."""
    nodes = []
    for node in graph.node:
        pads: Any = next((entry.ints for entry in node.attribute if entry.name == "pads"), [])
        if node.op_type == "MaxPool" and list(pads[:2]) != list(pads[2:]):
            name = f"{node.output[0]}.padded"
            values = np.asarray((0, 0, *pads[:2], 0, 0, *pads[2:]), np.int64), np.asarray(-np.inf, np.float32)
            constants = [f"{name}.pads", f"{name}.value"]
            graph.initializer.extend(map(numpy_helper.from_array, values, constants))
            nodes.append(helper.make_node("Pad", [node.input[0], *constants], [name], name=name))
            node.input[0] = name
            pads[:] = [0] * len(pads)
        nodes.append(node)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
