"""Plain float32 ONNX of the fused network: no batch norm, hard-sigmoid as one operator, one static graph.

Written with onnx.helper from the same list of operators that quantization uses, so the names of tensors are those of
the checkpoint and of the quantized file, and the same network gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from calib.graph import INPUT, AveragePool, Classifier, Convolution, Gate, Graph, HardSigmoid, Operator, ResidualAdd
from calib.walk import graph_of
from repghost import __version__
from repghost.errors import IntegrityError, UsageError
from repghost.fuse import TOLERANCE, fuse
from repghost.model import RepGhostNet

OPSET = 17
IR_VERSION = 8  # the one that came with opset 17
OUTPUT = "logits"
LARGEST_SIZE = 4096
CHECKED_SIZE = 48  # pixels; enough for every operator, and the reference evaluator is slow


def to_onnx(
    model: RepGhostNet,
    size: int,
    batch: int | str = 1,
    preprocess: Mapping[str, Any] | None = None,
    labels: Sequence[str] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """Return the network as ONNX: "input" float32 [batch, in_chans, size, size] to "logits" [batch, num_classes].

    Args:
        model: any form, in evaluation mode; it stays as it was.
        size: height and width of the pictures, in pixels.
        batch: a number, or a name for a batch that is chosen when the file is used.
        preprocess: `Preprocess.to_dict()`, stored as JSON in the file's metadata.
        labels: one name per class, stored as JSON.
        metadata: further texts to store.

    Raises:
        UsageError: for a size or batch out of range, or a model in training mode.
    """
    if not 1 <= size <= LARGEST_SIZE:
        raise UsageError(f"a picture's side must be 1 to {LARGEST_SIZE} pixels, not {size}.")
    if isinstance(batch, int) and batch < 1:
        raise UsageError(f"a batch must be at least 1, not {batch}; for an open batch give a name, e.g. 'batch'.")
    fused = fuse(model)
    graph = graph_of(fused)
    texts = {"repghost.spec": json.dumps(fused.spec.to_dict(), sort_keys=True), **(metadata or {})}
    if preprocess is not None:
        texts["repghost.preprocess"] = json.dumps(dict(preprocess), sort_keys=True)
    if labels is not None:
        texts["repghost.labels"] = json.dumps(list(labels), ensure_ascii=False)
    return _model_proto(graph, fused, (batch, fused.spec.in_chans, size, size), texts)


def to_bytes(model: onnx.ModelProto) -> bytes:
    """Return the file's bytes; equal models give equal bytes."""
    return model.SerializeToString(deterministic=True)


def check_onnx(proto: onnx.ModelProto, model: RepGhostNet) -> float:
    """Return the largest difference of a logit between the file, run by onnx's reference evaluator, and the network.

    Raises:
        IntegrityError: when it is above `repghost.fuse.TOLERANCE` of the largest logit.
    """
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(1, model.spec.in_chans, CHECKED_SIZE, CHECKED_SIZE, generator=generator)
    with torch.no_grad():
        expected = model(pictures).numpy()
    (actual,) = ReferenceEvaluator(proto).run(None, {INPUT: pictures.numpy()})
    difference = float(np.abs(actual - expected).max())
    bound = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    if not difference <= bound:  # also catches NaN
        raise IntegrityError(
            f"the ONNX file does not compute what the checkpoint computes: logits differ by up to {difference:.3g}, "
            f"allowed is {bound:.3g}. Nothing was written; please report this with the checkpoint."
        )
    return difference


def _model_proto(graph: Graph, model: RepGhostNet, shape: tuple[int | str, ...], texts: dict[str, str]) -> Any:
    nodes: list[onnx.NodeProto] = []
    weights: list[TensorProto] = []
    for operator in graph.operators:
        nodes += _nodes(operator)
        if isinstance(operator, Convolution | Classifier):
            weights += [
                _stored(f"{operator.name}.weight", operator.weight),
                _stored(f"{operator.name}.bias", operator.bias),
            ]
    body = helper.make_graph(
        nodes,
        model.spec.name,
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, (shape[0], model.spec.num_classes))],
        weights,
    )
    proto = helper.make_model(
        body,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="repghost",
        producer_version=__version__,
    )
    helper.set_model_props(proto, dict(sorted(texts.items())))
    proto = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _stored(name: str, values: NDArray[np.float32]) -> TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(values), name)


def _nodes(operator: Operator) -> list[onnx.NodeProto]:
    """Return the ONNX nodes of one operator; its result is the tensor of the operator's name."""
    name = operator.name
    match operator:
        case Convolution():
            return _convolution(operator)
        case ResidualAdd():
            return [helper.make_node("Add", [operator.input, operator.other], [name], name)]
        case AveragePool():
            return [helper.make_node("GlobalAveragePool", [operator.input], [name], name)]
        case HardSigmoid():
            return [helper.make_node("HardSigmoid", [operator.input], [name], name, alpha=1 / 6, beta=0.5)]
        case Gate():
            return [helper.make_node("Mul", [operator.input, operator.gate], [name], name)]
        case Classifier():
            flat = f"{name}.flatten"
            operands = [flat, f"{name}.weight", f"{name}.bias"]
            return [
                helper.make_node("Flatten", [operator.input], [flat], flat, axis=1),
                helper.make_node("Gemm", operands, [OUTPUT], name, transB=1),
            ]


def _convolution(operator: Convolution) -> list[onnx.NodeProto]:
    name = operator.name
    linear = f"{name}.linear" if operator.relu else name
    conv = helper.make_node(
        "Conv",
        [operator.input, f"{name}.weight", f"{name}.bias"],
        [linear],
        name,
        kernel_shape=operator.weight.shape[2:],
        strides=[operator.stride] * 2,
        pads=[operator.padding] * 4,
        group=operator.groups,
    )
    return [conv, helper.make_node("Relu", [linear], [name], f"{name}.relu")] if operator.relu else [conv]
