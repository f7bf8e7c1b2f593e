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
from onnx.reference import ReferenceEvaluator
from torch import nn

from repghost.errors import IntegrityError, UsageError
from repghost.exporters.onnx_writer import LOGITS, RESULT, OnnxGraph
from repghost.graph.operators import INPUT, Classifier, Convolution, Graph, Operator
from repghost.graph.shapes import shapes_of
from repghost.graph.trace import graph_of
from repghost.network.fuse import TOLERANCE, fuse
from repghost.network.model import RepGhostNet
from repghost.sizes import Size, sides
from repghost.version import __version__

OPSET = 17
LARGEST_SIZE = 4096
# Pixels; a RepGhostNet computes every size, these are enough for every operator, and the reference evaluator is slow.
CHECKED_SIZE = 48


def to_onnx(
    model: RepGhostNet,
    size: Size,
    batch: int | str = 1,
    preprocess: Mapping[str, Any] | None = None,
    labels: Sequence[str] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """Return the network as ONNX: "input" float32 [batch, in_chans, height, width] to "logits" [batch, num_classes].

    Args:
        model: any form, in evaluation mode; it stays as it was.
        size: of the images, in pixels.
        batch: a number, or a name for a batch that is chosen when the file is used.
        preprocess: `Preprocess.to_dict()`, stored as JSON in the file's metadata.
        labels: one name per class, stored as JSON.
        metadata: further texts to store.

    Raises:
        UsageError: for a size or batch out of range, or a model in training mode.
    """
    if not all(1 <= side <= LARGEST_SIZE for side in sides(size)):
        raise UsageError(f"a picture's side must be 1 to {LARGEST_SIZE} pixels, not {size}.")
    if isinstance(batch, int) and batch < 1:
        raise UsageError(f"a batch must be at least 1, not {batch}; for an open batch give a name, e.g. 'batch'.")
    fused = fuse(model)
    texts = {"repghost.spec": json.dumps(fused.spec.to_dict(), sort_keys=True), **(metadata or {})}
    if preprocess is not None:
        texts["repghost.preprocess"] = json.dumps(dict(preprocess), sort_keys=True)
    if labels is not None:
        texts["repghost.labels"] = json.dumps(list(labels), ensure_ascii=False)
    return graph_onnx(graph_of(fused), size, fused.spec.name, batch, texts)


def graph_onnx(
    graph: Graph, size: Size, name: str, batch: int | str = 1, metadata: Mapping[str, str] | None = None
) -> onnx.ModelProto:
    """Return any graph as float32 ONNX: "input" float32 [batch, channels, height, width] to "logits" [batch, classes].

    Of several results each is a map [batch, channels, rows, columns].

    Args:
        graph: the network.
        size: height and width of the images, in pixels.
        name: of the network.
        batch: a number, or a name for a batch that is chosen when the file is used.
        metadata: texts to store.

    Raises:
        UsageError: when the network takes another size.
    """
    shapes = shapes_of(graph, size)
    file = OnnxGraph(shapes)
    for operator in graph.operators:
        _append(file, operator)
    for result in graph.results:
        file.node("Identity", f"{result}.identity", (result,), f"{result}{RESULT}")
    if not graph.results and not isinstance(graph.operators[-1], Classifier):
        file.node("Flatten", f"{graph.output}.flatten", (graph.output,), LOGITS, axis=1)
    shape = (batch, *shapes[INPUT])
    results = {f"{result}{RESULT}": shapes[result] for result in graph.results}
    return file.model(name, shape, results or shapes[graph.output][0], OPSET, dict(metadata or {}), __version__)


def to_bytes(model: onnx.ModelProto) -> bytes:
    """Return the file's bytes; equal models give equal bytes."""
    return model.SerializeToString(deterministic=True)


def check_onnx(proto: onnx.ModelProto, model: nn.Module) -> float:
    """Return the largest difference of a logit between the file, run by onnx's reference evaluator, and the network.

    Raises:
        IntegrityError: when it is above `repghost.network.fuse.TOLERANCE` of the largest logit.
    """
    generator = torch.Generator().manual_seed(0)
    _, *shape = (dimension.dim_value for dimension in proto.graph.input[0].type.tensor_type.shape.dim)
    if isinstance(model, RepGhostNet):
        shape[1:] = CHECKED_SIZE, CHECKED_SIZE
    images = torch.randn(1, *shape, generator=generator)
    with torch.no_grad():
        expected = model(images).numpy()
    (actual,) = ReferenceEvaluator(proto).run(None, {INPUT: images.numpy()})
    difference = float(np.abs(actual - expected).max())
    bound = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    if not difference <= bound:  # also catches NaN
        raise IntegrityError(
            f"the ONNX file does not compute what the checkpoint computes: logits differ by up to {difference:.3g}, "
            f"allowed is {bound:.3g}. Nothing was written; please report this with the checkpoint."
        )
    return difference


def _append(file: OnnxGraph, operator: Operator) -> None:
    """Append one operator with its constants; its result is the tensor of the operator's name."""
    name = operator.name
    match operator:
        case Convolution():
            weight, bias = _constants(file, operator)
            file.convolution(operator, operator.input, weight, bias, f"{name}.linear")
        case Classifier():
            flat = file.node("Flatten", f"{name}.flatten", (operator.input,), f"{name}.flatten", axis=1)
            file.node("Gemm", name, (flat, *_constants(file, operator)), LOGITS, transB=1)
        case _:
            file.weightless(operator, operator.inputs)


def _constants(file: OnnxGraph, layer: Convolution | Classifier) -> tuple[str, str]:
    """Append a layer's weight and bias and return their names."""
    return file.constant(f"{layer.name}.weight", layer.weight), file.constant(f"{layer.name}.bias", layer.bias)
