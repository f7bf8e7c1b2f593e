from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import torch
from torch import nn

from repghost.detection.checkpoint import Category, Detector, read_detector, write_detector
from repghost.detection.detector import build_detector, fuse_detector
from repghost.detection.export import export_detector, export_pyramid
from repghost.detection.recipe import DetectionRecipe
from repghost.errors import UsageError
from tests.support.networks import network
from tests.support.tensors import differing

# Fewer candidates than COCO's customary ones, so that a test takes seconds.
SMALL: dict[str, dict[str, Any]] = {
    "retinanet": {"topk_candidates": 20, "detections_per_img": 5, "score_thresh": 0.0},
    "maskrcnn": {
        "rpn_pre_nms_top_n_train": 20,
        "rpn_post_nms_top_n_train": 10,
        "rpn_pre_nms_top_n_test": 20,
        "rpn_post_nms_top_n_test": 10,
        "box_batch_size_per_image": 8,
        "box_detections_per_img": 5,
        "box_score_thresh": 0.0,
    },
}
CATEGORIES = (Category(7, "red"), Category(9, "blue"))


def detector(kind: str) -> nn.Module:
    torch.manual_seed(0)
    return build_detector(kind, network(0.5), 2, 64, 96, **SMALL[kind])


def batch() -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]:
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(1, 64, 96, dtype=torch.uint8)
    masks[:, 10:40, 20:50] = 1
    target = {"boxes": torch.tensor([[20.0, 10.0, 50.0, 40.0]]), "labels": torch.tensor([1]), "masks": masks}
    return list(images), [target, target]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("retinanet", {"classification", "bbox_regression"}),
        ("maskrcnn", {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask"}),
    ],
)
def test_a_few_steps_reach_every_part_and_lower_the_loss(kind: str, parts: set[str]) -> None:
    model = detector(kind).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.005, momentum=0.9)
    values = []
    for _ in range(5):
        torch.manual_seed(1)  # the samplers
        losses = model(*batch())
        assert set(losses) == parts
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        values.append(float(total.detach()))
    assert values[-1] < values[0]
    assert all(parameter.grad is not None for parameter in model.backbone.parameters())


@pytest.mark.parametrize("kind", ["retinanet", "maskrcnn"])
def test_the_fused_detector_gives_the_same_maps_and_keeps_its_heads(kind: str) -> None:
    model = detector(kind).eval()
    fused = fuse_detector(model)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    x = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for expected, actual in zip(model.backbone(x).values(), fused.backbone(x).values(), strict=True):
            assert torch.allclose(actual, expected, atol=1e-5 * float(expected.abs().max()))
    with pytest.raises(UsageError, match="training mode"):
        fuse_detector(model.train())


def wrapped(kind: str) -> Detector:
    recipe = DetectionRecipe(kind=kind, width=0.5, min_size=64, max_size=96)
    return Detector(detector(kind).eval(), recipe, CATEGORIES, "train", {"epoch": 3})


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["retinanet", "maskrcnn"])
def test_pyramid_in_onnx_runtime_equals_the_network(kind: str) -> None:
    subject = wrapped(kind)
    proto = export_pyramid(subject, 64, 96)
    assert {node.op_type for node in proto.graph.node}.isdisjoint({"BatchNormalization", "NonMaxSuppression"})
    x = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = list(subject.model.backbone(x).values())
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    for first, second in zip(expected, session.run(None, {"input": x.numpy()}), strict=True):
        assert np.allclose(first.numpy(), second, atol=1e-4 * float(first.abs().max()))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["retinanet", "maskrcnn"])
def test_the_whole_detector_in_onnx_runtime_finds_the_same(kind: str) -> None:
    subject = wrapped(kind)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(export_detector(subject, 64, 96).SerializeToString(), options)
    image = batch()[0][0]
    with torch.no_grad():
        (expected,) = subject.model([image])
    actual = dict(
        zip((item.name for item in session.get_outputs()), session.run(None, {"input": image.numpy()}), strict=True)
    )
    assert set(actual) == set(expected)
    assert len(expected["boxes"]) > 0
    assert np.array_equal(actual["labels"], expected["labels"].numpy())
    assert np.allclose(actual["boxes"], expected["boxes"].numpy(), atol=1e-2)
    assert np.allclose(actual["scores"], expected["scores"].numpy(), atol=1e-4)


def test_a_side_that_the_pyramid_cannot_halve_is_refused() -> None:
    with pytest.raises(UsageError, match="multiple of 32"):
        export_pyramid(wrapped("retinanet"), 60, 96)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["train", "fused"])
def test_a_written_detector_comes_back_equal(form: str, tmp_path: Path) -> None:
    subject = wrapped("retinanet")
    model = fuse_detector(subject.model) if form == "fused" else subject.model
    path = tmp_path / "detector.safetensors"
    write_detector(path, Detector(model, subject.recipe, CATEGORIES, form, {"epoch": 3}))
    again = read_detector(path)
    assert (again.recipe, again.categories, again.form) == (subject.recipe, CATEGORIES, form)
    assert again.metadata == {"epoch": 3}
    assert differing(again.model.state_dict(), model.state_dict()) == []


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({}, "not a detector"),
        ({"repghost-detector": "{"}, "not JSON"),
        ({"repghost-detector": "[" * 100_000}, "not JSON"),
        ({"repghost-detector": '{"version": 2}'}, "version 1"),
        ({"repghost-detector": '{"version": 1, "recipe": []}'}, "'recipe'"),
        (
            {"repghost-detector": '{"version":1,"recipe":{},"categories":[[1]],"form":"train","metadata":{}}'},
            "categories",
        ),
        (
            {"repghost-detector": '{"version":1,"recipe":{"os":1},"categories":[],"form":"train","metadata":{}}'},
            "recipe",
        ),
        (
            {"repghost-detector": '{"version":1,"recipe":{},"categories":[[1,"a"]],"form":"train","metadata":{}}'},
            "tensors",
        ),
    ],
)
def test_a_foreign_or_damaged_file_is_refused(header: dict[str, str], message: str, tmp_path: Path) -> None:
    path = tmp_path / "detector.safetensors"
    path.write_bytes(safetensors.torch.save({"weight": torch.zeros(1)}, header))
    with pytest.raises(UsageError, match=message):
        read_detector(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "yolo"}, "kind"),
        ({"epochs": 0}, "epochs"),
        ({"batch": 1.5}, "whole number"),
        ({"min_size": 900, "max_size": 800}, "max_size"),
        ({"milestones": (11, 8)}, "milestones"),
        ({"freeze": "stride 5"}, "freeze"),
    ],
)
def test_a_recipe_out_of_range_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DetectionRecipe(**changes)


def test_the_rate_rises_then_falls_at_the_milestones_and_grows_with_the_batch() -> None:
    recipe = DetectionRecipe(kind="maskrcnn", warmup_steps=500)
    assert recipe.rate(0, 0, 1000, 16) == pytest.approx(0.02 * 0.001)
    assert recipe.rate(0, 250, 1000, 16) == pytest.approx(0.02 * (0.001 + 0.999 / 2))
    rates = [recipe.rate(epoch, 999, 1000, 16) for epoch in (0, 7, 8, 10, 11)]
    assert rates == pytest.approx([0.02, 0.02, 0.002, 0.002, 0.0002])
    assert recipe.peak_rate(8) == pytest.approx(0.01)
    assert DetectionRecipe(kind="retinanet").peak_rate(16) == pytest.approx(0.01)
