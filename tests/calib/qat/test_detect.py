"""A light detector under quantization: its loss on the numbers, and a run from its file to a QDQ file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import repghost
from calib.integer.reference import run
from calib.qat.detect.pictures import box_images
from calib.qat.settings import QatSettings, Schedule
from compile.frontend.qdq_file import read_qdq
from compile.passes import lower
from compile.subject.from_qdq_file import rule_of
from repghost.cli import cli
from repghost.detection.checkpoint import Category, Detector, write_detector
from repghost.detection.data.coco import image_paths, open_coco
from repghost.detection.number_loss import NumberLoss
from repghost.detection.recipe import DetectionRecipe
from repghost.detection.ssdlite import SSDLite
from repghost.detection.train import build
from repghost.distributed.ranks import Ranks
from repghost.errors import UsageError
from repghost.training.options import Loading
from tests.support.drawn import draw

SIZE = 64
TRAINING = {"epochs": 2, "batch": 2, "held_out": 2, "learning_rate": 0.01}
CATEGORIES = (Category(7, "red"), Category(9, "blue"))


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("coco"), "train", 8)


@pytest.fixture(scope="module")
def model() -> SSDLite:
    sizes = {"min_size": SIZE, "max_size": SIZE, "freeze": "none", "train_norm": True}
    built: Any = build(DetectionRecipe("ssdlite", 0.25, **sizes), len(CATEGORIES))  # type: ignore[arg-type]
    return built.eval()  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def file(model: SSDLite, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("detector") / "detector.safetensors"
    recipe = DetectionRecipe("ssdlite", 0.25, min_size=SIZE, max_size=SIZE)
    write_detector(path, Detector(model, recipe, CATEGORIES, "train", {}))
    return path


@pytest.fixture(scope="module")
def start(file: Path, coco: Path) -> repghost.QuantizedNetwork:
    return repghost.quantize(str(file), image_paths(coco, "train")[:5], progress=False)


@pytest.fixture(scope="module")
def trained(file: Path, coco: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("qat") / "detector.qdq.onnx"
    options = [word for name, value in TRAINING.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    arguments = ["qat", str(file), "--data", str(coco), *options, "-o", str(path)]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    assert "AP50" in result.output and "repghost detect-validate" in result.output
    return path


def test_the_loss_of_numbers_is_the_detectors_own(model: SSDLite, coco: Path) -> None:
    dataset = open_coco(coco, "train", masks=False)
    samples = [dataset.sample(place) for place in range(2)]
    images = [torch.nn.functional.interpolate(one.image[None], (SIZE, SIZE))[0] for one in samples]
    boxes = torch.tensor([[4.0, 4.0, 30.0, 40.0]])
    targets = [
        {"boxes": boxes, "labels": torch.tensor([2])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    model.training = True  # its norms keep their statistics
    try:
        with torch.no_grad():
            expected = model(images, targets)
    finally:
        model.training = False
    inputs = torch.stack(images)
    mean, std = (torch.tensor(values)[:, None, None] for values in (model.preprocess.mean, model.preprocess.std))
    with torch.no_grad():
        maps = model.head(list(model.backbone((inputs - mean) / std).values()))
    numbers = torch.cat([maps[name].flatten(1) for name in ("cls_logits", "bbox_regression")], 1)
    found = NumberLoss(model.rule, SIZE)(numbers, targets)
    assert found.keys() == expected.keys()
    assert all(float(found[name]) == pytest.approx(float(value), rel=1e-5) for name, value in expected.items())


@pytest.mark.slow
def test_before_its_first_step_a_detector_has_the_integers_of_calibration(start: repghost.QuantizedNetwork) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    module = repghost.prepare_qat(start).eval()
    with torch.no_grad():
        numbers = module(torch.from_numpy(start.preprocess.normalize(images))).numpy()
    expected = start.logits(images)
    assert numbers.shape == expected.shape
    # Float sums round otherwise, here and there to the next step.
    assert float(np.mean(np.abs(numbers - expected) > 1e-4)) < 0.05
    assert np.abs(numbers - expected).max() < 0.2 * np.abs(expected).max()
    assert repghost.convert(module).network.detection == start.network.detection


@pytest.mark.slow
def test_a_trained_detector_is_an_integer_program_with_the_rule_of_its_boxes(
    trained: Path, start: repghost.QuantizedNetwork
) -> None:
    graph = read_qdq(trained)
    assert rule_of(graph) == rule_of(start_graph(start, trained.parent))
    record = json.loads(graph.metadata["repghost.quantization"])["training"]
    assert [one["name"] for one in record["candidates"]] == ["calibrated", "epoch 1", "epoch 2"]
    assert all({"ap50", "loss"} <= one.keys() for one in record["candidates"])
    losses = [one["loss"] for one in record["candidates"]]
    assert losses[2] < losses[0]  # of pictures that were not trained on
    images = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3), dtype=np.uint8)
    assert np.isfinite(run(lower(graph), images)).all()


def start_graph(start: repghost.QuantizedNetwork, folder: Path) -> Any:
    start.save(folder / "start.qdq.onnx")
    return read_qdq(folder / "start.qdq.onnx")


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_network(
    trained: Path, start: repghost.QuantizedNetwork, coco: Path, tmp_path: Path
) -> None:
    class Killed(BaseException):
        pass

    def kill(step: Any) -> None:
        if step.number == 2:
            raise Killed

    options: dict[str, Any] = {**TRAINING, "split": "train", "state": tmp_path / "state.pt", "progress": False}
    options |= {"say": lambda note: None}
    with pytest.raises(Killed):
        repghost.train_quantized(start, coco, on_step=kill, recovery_interval=1, **options)
    again = repghost.train_quantized(start, coco, resume="continue", **options)
    record = json.loads(read_qdq(trained).metadata["repghost.quantization"])["training"]
    assert again.training is not None and again.training["candidates"] == record["candidates"]
    assert again.digest == read_qdq(trained).digest


def test_held_out_pictures_that_cannot_be_read_are_named_and_choose_nothing(
    start: repghost.QuantizedNetwork, tmp_path: Path
) -> None:
    dataset = open_coco(draw(tmp_path, "train", 8), "train", masks=False)
    settings = QatSettings(batch=2, held_out=2, distillation=0.0, schedule=Schedule(observe=5))
    rule = rule_of(start_graph(start, tmp_path))
    assert rule is not None
    given = (start.calibration.images, rule, start.preprocess, settings, Loading(0), Ranks())
    whole = box_images(dataset, *given)
    assert (whole.held_out_images, whole.steps_per_epoch, whole.broken) == (2, 3, ())
    names = [whole.held.dataset.coco.imgs[number]["file_name"] for number in whole.held.dataset.ids]
    (tmp_path / "train" / names[0]).write_bytes(b"no picture")
    one = box_images(dataset, *given)
    assert one.held_out_images == 1 and len(one.broken) == 1 and names[0] in one.broken[0]
    (tmp_path / "train" / names[1]).write_bytes(b"no picture")
    with pytest.raises(UsageError, match="not one of 2 held-out pictures"):
        box_images(dataset, *given)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode", "reparam"], "--mode has no effect on a detector"),
        (["--flip"], "--flip has no effect on a detector"),
        (["--distill-alpha", "1"], "--distill-alpha has no effect"),
        (["--split", "val"], "no such file"),
    ],
)
def test_what_a_detector_does_not_learn_by_is_refused(
    arguments: list[str], message: str, file: Path, coco: Path, tmp_path: Path
) -> None:
    given = ["qat", str(file), "--data", str(coco), *arguments, "--held-out", "2", "-o", str(tmp_path / "x.onnx")]
    result = CliRunner().invoke(cli, given)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert not list(tmp_path.iterdir())
