"""ONNX of a detector: the backbone with its pyramid or the heads of ssdlite, which any runtime reads, or all of it.

PyTorch's tracing exporter writes them; the whole detector has loops, NMS and RoiAlign inside and needs a runtime that
knows them, e.g. ONNX Runtime.
"""

from __future__ import annotations

import io
import json
import warnings
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper
from torch import nn

from repghost.detection.checkpoint import Detector
from repghost.detection.detector import fuse_detector
from repghost.detection.graph import graph_of_detector
from repghost.detection.ssdlite import SSDLite, prepare
from repghost.errors import IntegrityError, UsageError
from repghost.exporters.onnx import graph_onnx
from repghost.network.fuse import TOLERANCE
from repghost.version import __version__

OPSET = 17
INPUT = "input"
MULTIPLE = 32  # the coarsest map of the backbone has 1/32 of the input's side


def export_pyramid(detector: Detector, height: int, width: int) -> onnx.ModelProto:
    """Return the fused backbone and pyramid: float32 [1, 3, height, width], normalized, to one map per stride.

    Raises:
        UsageError: when a side is no multiple of 32.
        IntegrityError: when the file does not compute what the network computes.
    """
    for name, side in (("height", height), ("width", width)):
        if side < MULTIPLE or side % MULTIPLE:
            raise UsageError(f"{name} must be a multiple of {MULTIPLE} pixels, not {side}.")
    fused = _fused(detector)
    backbone: Any = fused.backbone
    example = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = backbone(example)
    names = [f"pyramid.{name}" for name in expected]
    proto = _export(_Listed(backbone), (example,), names, detector, {"height": height, "width": width})
    _check_pyramid(proto, example.numpy(), [value.numpy() for value in expected.values()])
    return proto


def export_detector(detector: Detector, height: int, width: int) -> onnx.ModelProto:
    """Return the whole fused detector: float32 [3, height, width] in [0, 1] to boxes, labels, scores and masks."""
    fused = _fused(detector)
    example = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
    kind = detector.recipe.kind
    # The order in which torchvision's dictionaries hold them.
    names = ["boxes", "scores", "labels"] if kind == "retinanet" else ["boxes", "labels", "scores", "masks"]
    return _export(fused, ([example],), names, detector, {"height": height, "width": width})


def export_heads(detector: Detector) -> onnx.ModelProto:
    """Return a fused ssdlite: float32 [1, 3, size, size], normalized, to the maps of scores and then those of boxes.

    What the maps mean stands in the metadata, as `repghost.detection.boxes.BoxRule`.

    Raises:
        UsageError: when it is another detector.
        IntegrityError: when the file does not compute what the network computes.
    """
    model = detector.model
    if not isinstance(model, SSDLite):
        raise UsageError(f"only ssdlite has heads to write; this is a {detector.recipe.kind}.")
    graph = graph_of_detector(model.cpu().eval())
    texts = {
        "repghost.preprocess": json.dumps(model.preprocess.to_dict(), sort_keys=True),
        "repghost.labels": json.dumps([category.name for category in detector.categories], ensure_ascii=False),
        "repghost.detection": json.dumps(model.rule.to_dict(), sort_keys=True),
    }
    proto = graph_onnx(graph, model.preprocess.size, "ssdlite", 1, texts)
    example = torch.rand(3, *graph.size, generator=torch.Generator().manual_seed(0))  # type: ignore[misc]
    with torch.no_grad():
        prepared = torch.from_numpy(model.preprocess.normalize(prepare(example, model.preprocess)[None]))
        maps = list(model.backbone(prepared).values())
        heads: Any = model.head
        expected = [head(value) for part in (heads.scores, heads.boxes) for head, value in zip(part, maps, strict=True)]
    _check_pyramid(proto, prepared.numpy(), [value.numpy() for value in expected])
    return proto


class _Listed(nn.Module):
    """A backbone that returns a list instead of a dictionary."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return list(self.backbone(images).values())


def _fused(detector: Detector) -> nn.Module:
    model = detector.model if detector.form == "fused" else fuse_detector(detector.model)
    return model.cpu().eval()


def _export(
    model: nn.Module, arguments: tuple[Any, ...], names: list[str], detector: Detector, sizes: dict[str, int]
) -> onnx.ModelProto:
    buffer: Any = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer warns of every shape it makes a constant
        torch.onnx.export(
            model.eval(),
            arguments,
            buffer,
            input_names=[INPUT],
            output_names=names,
            opset_version=OPSET,
            dynamo=False,
        )
    proto = onnx.load_from_string(buffer.getvalue())
    onnx.checker.check_model(proto)
    proto.producer_name, proto.producer_version = "repghost", __version__
    texts = {
        "repghost.detector": json.dumps({**detector.recipe.to_dict(), **sizes}, sort_keys=True),
        "repghost.categories": json.dumps([[row.number, row.name] for row in detector.categories]),
    }
    helper.set_model_props(proto, texts)
    return proto


def _check_pyramid(proto: onnx.ModelProto, images: NDArray[np.float32], expected: list[NDArray[np.float32]]) -> None:
    """Run the file by onnx's own evaluator and compare every map."""
    from onnx.reference import ReferenceEvaluator

    actual = ReferenceEvaluator(proto).run(None, {INPUT: images})
    for name, first, second in zip((output.name for output in proto.graph.output), expected, actual, strict=True):
        bound = TOLERANCE * max(1.0, float(np.abs(first).max()))
        difference = float(np.abs(first - second).max())
        if not difference <= bound:  # also catches NaN
            raise IntegrityError(
                f"the ONNX file does not compute what the network computes: {name} differs by up to {difference:.3g}, "
                f"allowed is {bound:.3g}. Nothing was written; please report this with the detector."
            )
