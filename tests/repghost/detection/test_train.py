from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from repghost.cli import cli
from repghost.detection.checkpoint import read_detector
from repghost.detection.data.coco import open_coco
from repghost.detection.recipe import DetectionRecipe
from repghost.detection.state import FORM
from repghost.detection.train import DetectionHooks, build, train
from repghost.errors import RepGhostError, UsageError
from repghost.training.core.hooks import StepRecord, TrainingStoppedError
from repghost.training.options import Loading, Options
from repghost.training.transfer import Start
from tests.support.drawn import draw
from tests.support.networks import network
from tests.support.two_processes import TwoProcesses

RECIPE = DetectionRecipe(
    width=0.25, epochs=2, batch=1, accumulate=2, milestones=(1,), warmup_steps=2, min_size=64, max_size=96,
    train_norm=True, learning_rate=0.002, freeze="none", amp="bfloat16", ema=True,
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return draw(tmp_path / "set", "train", 6)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return read_detector(path / "detector.safetensors").model.state_dict()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The weights of a run that nothing stops, on what `folder` holds too."""
    place = tmp_path_factory.mktemp("whole")
    train(RECIPE, open_coco(draw(place / "set", "train", 6), "train", masks=False), place / "run")
    return weights(place / "run")


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_stopped_run_ends_with_the_weights_of_one_that_was_not(
    steps: int, folder: Path, whole: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    dataset = open_coco(folder, "train", masks=False)
    asked: list[None] = []
    hooks = DetectionHooks(should_stop=lambda: asked.append(None) or len(asked) > steps)  # type: ignore[func-returns-value]
    with pytest.raises(TrainingStoppedError):
        train(RECIPE, dataset, tmp_path / "cut", hooks=hooks)
    _, history = train(RECIPE, dataset, tmp_path / "cut", options=Options(Loading(0), resume="continue"))
    assert len(history) == 2
    actual = weights(tmp_path / "cut")
    assert all(torch.equal(value, actual[name]) for name, value in whole.items())


@pytest.mark.slow
def test_a_killed_run_goes_on_from_the_last_state(folder: Path, whole: dict[str, torch.Tensor], tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def kill(record: StepRecord) -> None:
        if (record.epoch, record.batch) == (1, 4):
            raise Killed

    dataset, loading = open_coco(folder, "train", masks=False), Loading(0)
    with pytest.raises(Killed):
        train(RECIPE, dataset, tmp_path, DetectionHooks(step=kill), options=Options(loading, state_interval=2))
    assert FORM.read(tmp_path / "state.pt").progress.batches == 4
    _, history = train(RECIPE, dataset, tmp_path, options=Options(loading, resume="auto"))
    assert [record.weights for record in history] == ["averaged", "averaged"]  # no split judges
    actual = weights(tmp_path)
    assert all(torch.equal(value, actual[name]) for name, value in whole.items())


@pytest.mark.slow
def test_another_recipe_or_a_finished_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    dataset, run = open_coco(folder, "train", masks=False), tmp_path / "run"
    with pytest.raises(UsageError, match="no training state"):
        train(RECIPE, dataset, run, options=Options(Loading(0), resume="continue"))
    train(DetectionRecipe(**{**RECIPE.to_dict(), "epochs": 1}), dataset, run)
    with pytest.raises(UsageError, match="exists; give resume"):
        train(RECIPE, dataset, run)
    with pytest.raises(UsageError, match="other values of epochs"):
        train(RECIPE, dataset, run, options=Options(Loading(0), resume="auto"))
    (run / "state.pt").write_bytes(b"no state")
    with pytest.raises(UsageError, match="not a state"):
        train(RECIPE, dataset, run, options=Options(Loading(0), resume="auto"))


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "works"), [(1, True), (0, False)])
def test_broken_images_are_skipped_up_to_a_limit(limit: int, works: bool, folder: Path, tmp_path: Path) -> None:
    (folder / "train" / "3.png").write_bytes(b"no picture")
    dataset = open_coco(folder, "train", masks=False)
    recipe = DetectionRecipe(**{**RECIPE.to_dict(), "epochs": 1})
    if works:
        train(recipe, dataset, tmp_path / "run", options=Options(Loading(0, broken_limit=limit)))
    else:
        with pytest.raises(RepGhostError, match=r"3\.png"):
            train(recipe, dataset, tmp_path / "run", options=Options(Loading(0, broken_limit=limit)))


def test_too_few_images_for_a_step_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lower batch="):
        train(DetectionRecipe(**{**RECIPE.to_dict(), "batch": 4}), open_coco(folder, "train", False), tmp_path / "run")


def test_the_backbone_begins_with_the_weights_of_a_classifier_and_keeps_fixed_statistics() -> None:
    classifier = network(0.5)
    start = Start("a file", classifier.state_dict(), classifier.num_classes)
    recipe = DetectionRecipe(width=0.5, freeze="stride 4")
    model: Any = build(recipe, 2, start)
    body = model.backbone.body
    assert all(torch.equal(value, start.tensors[name]) for name, value in body.state_dict().items())
    assert not body.conv_stem.weight.requires_grad
    assert body.blocks[3][0].ghost1.primary_conv[0].weight.requires_grad


@pytest.mark.slow
def test_the_commands_train_validate_and_export(folder: Path, tmp_path: Path) -> None:
    draw(folder, "val", 2, seed=1)
    run = tmp_path / "a run"
    sizes = ["--width", "0.25", "--epochs", "1", "--batch", "2", "--min-size", "64", "--max-size", "96", "-j", "0"]
    splits = ["--train-split", "train", "--val-split", "val"]
    shared = ["--model-ema", "--model-ema-decay", "0.9", "--accumulate", "1", "--amp-dtype", "float16"]
    shared += ["--sched", "cosine", "--recovery-interval", "2"]
    result = CliRunner().invoke(cli, ["detect-train", "--data", str(folder), *sizes, *splits, *shared, "-o", str(run)])
    assert result.exit_code == 0, result.output
    assert "average precision: boxes" in result.stdout
    assert "too few to learn much" in result.stderr and "as with --amp-dtype off" in result.stderr
    (record,) = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert record["boxes"]["ap"] == max(record["raw_ap"], record["averaged_ap"])
    assert sorted(path.name for path in run.iterdir()) == ["detector.safetensors", "log.jsonl", "state.pt"]
    path = str(run / "detector.safetensors")
    result = CliRunner().invoke(cli, ["detect-validate", path, "--data", str(folder), "--split", "val", "--fused"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("2 pictures, 2 objects")
    result = CliRunner().invoke(cli, ["detect-export", path, str(run / "pyramid.onnx")])
    assert result.exit_code == 0, result.output
    assert (run / "pyramid.onnx").stat().st_size > 1_000_000


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batch(
    folder: Path, tmp_path: Path, two_processes: TwoProcesses
) -> None:
    draw(folder, "val", 3, seed=1)
    words = ["detect-train", "--data", str(folder), "--width", "0.25", "--epochs", "1", "--min-size", "64"]
    words += ["--max-size", "96", "-j", "0", "--train-split", "train", "--val-split", "val", "--fixed-norm"]
    words += ["--device", "cpu", "--lr", "0.001"]
    two = two_processes.run(*words, "--batch", "1", "-o", tmp_path / "two")
    assert two.codes == [0, 0], two.stderr
    assert "FutureWarning" not in two.stderr
    assert two.stdout.count("written:") == 1
    one = CliRunner().invoke(cli, [*words, "--batch", "2", "-o", str(tmp_path / "one")])
    assert one.exit_code == 0, one.output
    expected, actual = weights(tmp_path / "one"), weights(tmp_path / "two")
    start: Any = build(DetectionRecipe(**{**RECIPE.to_dict(), "train_norm": False}), 2)
    assert not torch.equal(start.backbone.body.conv_stem.weight, expected["backbone.body.conv_stem.weight"])
    for name, value in expected.items():
        assert torch.allclose(value, actual[name], atol=1e-6), name
    first, second = (json.loads((tmp_path / name / "log.jsonl").read_text()) for name in ("one", "two"))
    assert first["loss"] == pytest.approx(second["loss"], rel=1e-5)
    assert first["boxes"] == pytest.approx(second["boxes"], abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--detector", "yolo"], "kind"),
        (["--milestones", "a,b"], "--milestones"),
        (["--resume", "maybe"], "--resume"),
        (["--width", "x"], "width"),
        (["--data", "nowhere"], "no such file"),
        (["--val-split", "train"], "is trained on"),
        (["--sched", "cosine", "--milestones", "1"], "--milestones has no effect"),
        (["--model-ema-decay", "0.9"], "without --model-ema"),
        (["--amp-dtype", "int4"], "int4"),
    ],
)
def test_wrong_arguments_are_refused(arguments: list[str], message: str, folder: Path, tmp_path: Path) -> None:
    given = [
        "detect-train",
        "--data",
        str(folder),
        "--train-split",
        "train",
        "--val-split",
        "",
        "-o",
        str(tmp_path / "r"),
    ]
    result = CliRunner().invoke(cli, given + arguments)
    assert result.exit_code == 2
    assert message in result.output
