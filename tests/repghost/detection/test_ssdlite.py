"""SSDLite: from its module to the graph, the integers and the boxes; training it; what its commands refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import repghost
from compile.frontend.qdq_file import read_qdq
from compile.passes import lower
from compile.subject.from_qdq_file import rule_of
from repghost.checkpoints.checkpoint import is_detector
from repghost.cli import cli
from repghost.detection.checkpoint import Category, Detector, read_detector, write_detector
from repghost.detection.data.augment import augmented
from repghost.detection.data.coco import Sample, open_coco
from repghost.detection.data.feed import DetectionFeed
from repghost.detection.evaluate import evaluate
from repghost.detection.graph import graph_of_detector
from repghost.detection.recipe import DetectionRecipe
from repghost.detection.ssdlite import SSDLite, box_rule, fit, fuse_ssdlite, prepare
from repghost.detection.train import DetectionHooks, build, train
from repghost.distributed.ranks import Ranks
from repghost.errors import UsageError
from repghost.graph.run import run_float
from repghost.graph.shapes import shapes_of
from repghost.training.core.hooks import TrainingStoppedError
from repghost.training.options import Loading, Options
from tests.support.drawn import draw

SIZE = 64
RECIPE = DetectionRecipe(
    "ssdlite", 0.25, epochs=1, batch=2, learning_rate=0.01, warmup_steps=0, crop=0.5, colour=0.3, min_size=SIZE,
    max_size=SIZE, freeze="none", train_norm=True,
)  # fmt: skip
CATEGORIES = (Category(7, "red"), Category(9, "blue"))


@pytest.fixture(scope="module")
def model() -> SSDLite:
    built: Any = build(RECIPE, len(CATEGORIES))
    with torch.no_grad():  # statistics that are not those of a fresh batch norm
        for module in built.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1, generator=torch.Generator().manual_seed(module.num_features))
    return built.eval()  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.rand(3, 50, 90, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def file(model: SSDLite, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ssdlite") / "detector.safetensors"
    write_detector(path, Detector(model, RECIPE, CATEGORIES, "train", {}))
    return path


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coco")
    draw(folder, "train", 6)
    return draw(folder, "val", 3, seed=1)


@pytest.fixture(scope="module")
def quantized(file: Path, coco: Path) -> Path:
    path = file.with_suffix(".qdq.onnx")
    arguments = ["quantize", str(file), "--data", str(coco), "--split", "train", "-o", str(path)]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    assert "repghost compile --target arm64 --weights" in result.output
    return path


def test_the_rule_of_the_boxes_is_that_of_the_maps(model: SSDLite) -> None:
    graph = graph_of_detector(model)
    for size in (64, 96, 100, 320):
        shapes = shapes_of(replace(graph, size=None), size)
        found = [shapes[name] for name in graph.results]
        assert [(rows, columns, channels) for channels, rows, columns in found] == list(box_rule(2, size).shapes())


def test_the_graph_computes_what_the_module_does(model: SSDLite, image: torch.Tensor) -> None:
    graph, seen = graph_of_detector(model), dict[str, torch.Tensor]()
    prepared = model.preprocess.normalize(prepare(image, model.preprocess)[None])
    run_float(graph, torch.from_numpy(prepared), seen.__setitem__)
    numbers = np.concatenate([seen[name].permute(0, 2, 3, 1).reshape(-1).numpy() for name in graph.results])
    expected = model.numbers(image)
    assert np.abs(numbers - expected).max() < 1e-5 * np.abs(expected).max()
    fused = fuse_ssdlite(model)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())
    assert np.abs(fused.numbers(image) - expected).max() < 1e-5 * np.abs(expected).max()


def test_boxes_are_in_pixels_of_the_image_whatever_its_proportions(model: SSDLite, image: torch.Tensor) -> None:
    boxes = torch.tensor([[9.0, 5.0, 45.0, 25.0]])
    fitted, target = fit(image, {"boxes": boxes}, model.preprocess)
    assert fitted.shape == (3, SIZE, SIZE)
    assert target["boxes"][0].tolist() == pytest.approx([6.4, 6.4, 32.0, 32.0])
    again, same = fit(fitted, target, model.preprocess)
    assert again is fitted and same["boxes"] is target["boxes"]
    (found,) = model([image])
    assert found["boxes"][:, 2].max() <= 90 and found["boxes"][:, 3].max() <= 50
    assert found["boxes"][:, 2].max() > SIZE  # not those of the square


def test_an_image_of_one_pixel_has_boxes_of_at_most_that(model: SSDLite) -> None:
    (found,) = model([torch.rand(3, 1, 1)])
    assert len(found["boxes"]) <= model.rule.detections
    assert found["boxes"].numel() == 0 or float(found["boxes"].max()) <= 1


def test_the_anchors_of_the_losses_are_those_of_the_boxes(model: SSDLite) -> None:
    from torchvision.models.detection.image_list import ImageList

    images = ImageList(torch.zeros(2, 3, SIZE, SIZE), [(SIZE, SIZE)] * 2)
    first, second = model.anchor_generator(images, [torch.zeros(1)])
    assert first is second and len(first) == model.rule.anchors
    grid = model.rule.grid() * SIZE
    assert np.allclose(first[:, :2].numpy(), grid[:, :2] - grid[:, 2:] / 2, atol=1e-4)
    assert np.allclose(first[:, 2:].numpy(), grid[:, :2] + grid[:, 2:] / 2, atol=1e-4)


@pytest.mark.slow
def test_a_quantized_detector_is_the_same_in_pytorch_and_in_integers(quantized: Path, file: Path, coco: Path) -> None:
    graph = read_qdq(quantized)
    rule = rule_of(graph)
    assert rule == read_detector(file).model.rule  # type: ignore[union-attr]
    images = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    from calib.integer.reference import run

    made = repghost.quantize(str(file), [str(path) for path in sorted((coco / "train").iterdir())])
    assert made.digest == graph.digest
    assert np.array_equal(run(lower(graph), images), made.logits(images))
    with pytest.raises(UsageError, match="detector"):
        made.as_predictor()


@pytest.mark.slow
def test_the_command_measures_each_form_and_compares_them(quantized: Path, file: Path, coco: Path) -> None:
    arguments = ["detect-validate", str(file), str(quantized), "--data", str(coco), "--split", "val"]
    result = CliRunner().invoke(cli, [*arguments, "--resamples", "5"])
    assert result.exit_code == 0, result.output
    assert result.output.count("3 pictures, 3 objects") == 2
    assert "ap50 against the first" in result.output
    result = CliRunner().invoke(cli, [*arguments, "--resamples", "5", "--json"])
    first, second = json.loads(result.output)
    assert first["pictures"] == second["pictures"] == 3 and set(first["classes"]) == {"red", "blue"}
    assert set(first["intervals"]) == {"ap", "ap50"}


@pytest.mark.slow
def test_it_trains_and_resumes_from_a_classifier(coco: Path, tmp_path: Path) -> None:
    dataset = open_coco(coco, "train", masks=False)
    detector, history = train(RECIPE, dataset, tmp_path / "run")
    assert set(history[0].parts) == {"bbox_regression", "classification"}
    assert np.isfinite(history[0].loss)
    again = read_detector(tmp_path / "run" / "detector.safetensors")
    image = torch.rand(3, 40, 60)
    assert np.array_equal(again.model.numbers(image), detector.model.numbers(image))  # type: ignore[operator]
    scores = evaluate(again.model, open_coco(coco, "val", masks=False))
    assert scores.pictures == 3


@pytest.mark.slow
def test_a_stopped_run_ends_with_the_weights_of_one_that_was_not(coco: Path, tmp_path: Path) -> None:
    dataset = open_coco(coco, "train", masks=False)
    asked: list[None] = []
    hooks = DetectionHooks(should_stop=lambda: asked.append(None) or len(asked) > 2)  # type: ignore[func-returns-value]
    with pytest.raises(TrainingStoppedError):
        train(RECIPE, dataset, tmp_path / "cut", hooks=hooks)
    cut, _ = train(RECIPE, dataset, tmp_path / "cut", options=Options(Loading(0), resume="continue"))
    whole, _ = train(RECIPE, dataset, tmp_path / "whole")
    again = cut.model.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in whole.model.state_dict().items())


def test_the_feed_gives_images_of_the_networks_size_the_same_each_time(coco: Path) -> None:
    dataset = open_coco(coco, "train", masks=False)
    first, second = (list(DetectionFeed(RECIPE, dataset, Ranks()).batches(0, 0)) for _ in range(2))
    for (images, targets), (again, _) in zip(first, second, strict=True):
        assert all(image.shape == (3, SIZE, SIZE) for image in images)
        assert all(torch.equal(one, other) for one, other in zip(images, again, strict=True))
        for target in targets:
            boxes = target["boxes"]
            assert len(boxes) and bool((boxes[:, 2:] > boxes[:, :2]).all())
            assert float(boxes.min()) >= 0 and float(boxes.max()) <= SIZE + 1e-3
    other = list(DetectionFeed(RECIPE, dataset, Ranks()).batches(1, 0))
    assert not torch.equal(first[0][0][0], other[0][0][0])


def test_boxes_follow_their_objects_when_an_image_is_cut_or_made_smaller() -> None:
    image = torch.zeros(3, 60, 80)
    image[:, 20:40, 30:60] = 1
    target = {"boxes": torch.tensor([[30.0, 20.0, 60.0, 40.0]]), "labels": torch.tensor([1])}
    shapes = set()
    for seed in range(30):
        torch.manual_seed(seed)
        changed = augmented(Sample(image, target), 1.0, 0.0)
        rows, columns = (changed.image[0] == 1).nonzero().unbind(1)
        seen = [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]
        assert changed.target["boxes"].tolist() == [seen]
        shapes.add(tuple(changed.image.shape))
    assert len(shapes) > 20
    torch.manual_seed(0)
    assert float(augmented(Sample(image, target), 0.0, 0.5).image.max()) <= 1


def test_an_image_without_objects_to_keep_stays_whole() -> None:
    target = {"boxes": torch.tensor([[0.0, 0.0, 2.0, 2.0]]), "labels": torch.tensor([1])}
    for seed in range(20):
        torch.manual_seed(seed)
        assert len(augmented(Sample(torch.zeros(3, 40, 40), target), 1.0, 0.0).target["boxes"]) == 1


def test_the_heads_are_written_as_onnx_and_only_they(file: Path, tmp_path: Path) -> None:
    written = repghost.export_detector(file, tmp_path / "heads.onnx")
    assert written.outputs[0] == "scores.0.result" and written.outputs[-1] == "boxes.4.result"
    metadata = {entry.key: entry.value for entry in onnx.load(tmp_path / "heads.onnx").metadata_props}
    assert json.loads(metadata["repghost.detection"])["classes"] == 2
    for options in ({"part": "pyramid"}, {"part": "detector"}, {"height": 96}):
        with pytest.raises(UsageError, match="up to its heads"):
            repghost.export_detector(file, tmp_path / "other.onnx", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["detect-train", "--detector", "retinanet", "--crop", "0.5"], "belong to ssdlite"),
        (["detect-train", "--detector", "ssdlite", "--max-size", "400"], "max-size"),
        (["detect-train", "--detector", "ssdlite", "--batch", "1", "--min-size", "64"], "give --batch 2"),
        (["quantize", "FILE", "--split", "train", "--size", "96"], "no effect on a detector"),
        (["quantize", "FILE", "--split", "train", "--algorithm", "auto"], "gives boxes"),
        (["quantize", "FILE", "--split", "test"], "no such file"),
        (["detect-validate", "FILE", "--resamples", "-1"], "resamples"),
    ],
)
def test_wrong_arguments_are_refused(
    arguments: list[str], message: str, file: Path, coco: Path, tmp_path: Path
) -> None:
    given = [str(file) if word == "FILE" else word for word in arguments]
    given += ["--data", str(coco)]
    if given[0] == "detect-train":
        given += ["--train-split", "train", "--val-split", ""]
    if given[0] != "detect-validate":
        given += ["-o", str(tmp_path / "x.onnx")]
    else:
        given += ["--split", "val"]
    result = CliRunner().invoke(cli, given)
    assert result.exit_code == 2, result.output
    assert message in result.output


@pytest.mark.slow
def test_a_large_detector_is_not_quantized(coco: Path, tmp_path: Path) -> None:
    recipe = DetectionRecipe(width=0.25, min_size=64, max_size=96)
    path = tmp_path / "retinanet.safetensors"
    write_detector(path, Detector(build(recipe, 2), recipe, CATEGORIES, "train", {}))
    with pytest.raises(UsageError, match="retinanet, which is for large machines"):
        repghost.quantize(str(path), [str(coco / "train" / "1.png")])


def test_only_detectors_say_that_they_are(file: Path, tmp_path: Path) -> None:
    assert is_detector(file) and not is_detector(tmp_path) and not is_detector(tmp_path / "absent")
    Image.new("RGB", (9, 9)).save(tmp_path / "x.png")
    assert not is_detector(tmp_path / "x.png")


@pytest.mark.slow
def test_what_needs_a_classifier_says_so_of_a_detector(file: Path, quantized: Path, coco: Path) -> None:
    for path, message in ((file, "is a detector, and a classifier"), (quantized, "several results and no scores")):
        result = CliRunner().invoke(cli, ["predict", str(path), str(coco / "val" / "1.png")])
        assert result.exit_code == 2, result.output
        assert message in result.output


def test_a_gradient_is_limited_by_default() -> None:
    assert DetectionRecipe().clip_grad == DetectionRecipe(kind="maskrcnn").clip_grad == 10.0
