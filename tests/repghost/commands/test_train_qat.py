"""`repghost train --qat`: training that goes on under quantization."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from click.testing import CliRunner

import repghost
from calib.qat.loop import QatStep
from calib.qdq.writer import training_record
from repghost.api.training.quantized_too import quantized_part
from repghost.checkpoints.checkpoint import read_checkpoint
from repghost.cli import cli
from repghost.errors import UsageError
from tests.support.image_folders import make_set
from tests.support.two_processes import TwoProcesses


def test_training_under_quantization_is_asked_for_by_its_mode(tmp_path: Path) -> None:
    assert quantized_part(None, None, None, 0, tmp_path, "new") is None
    part = quantized_part("reparam", 2, 300, 7, tmp_path, "continue")
    assert part is not None and part.resume == "auto"
    settings = part.settings
    assert (settings.mode, settings.epochs, settings.images, settings.seed) == ("reparam", 2, 300, 7)
    with pytest.raises(UsageError, match=r"qat_epochs= .* without qat=; give qat='fused'"):
        quantized_part(None, 2, None, 0, tmp_path, "new")
    with pytest.raises(UsageError, match="Did you mean 'fused'"):
        quantized_part("fusd", None, None, 0, tmp_path, "new")


def test_a_state_that_is_there_is_refused_before_hours_of_training(tmp_path: Path) -> None:
    (tmp_path / "model.qdq.onnx.state.pt").touch()
    with pytest.raises(UsageError, match="exists"):
        quantized_part("fused", None, None, 0, tmp_path, "new")


@pytest.mark.slow
def test_train_goes_on_under_quantization(tmp_path: Path) -> None:
    data, output = make_set(tmp_path / "data", 80), tmp_path / "run"
    sizes = ["--epochs", "2", "--batch", "16", "--held-out", "40", "--width", "0.1"]
    command = ["train", "--data", str(data), "--output", str(output), *sizes, "--qat", "reparam", "--qat-images", "16"]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, result.output
    assert "epoch 1: top-1" in result.output
    first = (output / "model.qdq.onnx").read_bytes()
    (output / "model.qdq.onnx").unlink()
    resumed = CliRunner().invoke(cli, [*command, "--resume"])  # as after an interruption of the second part
    assert resumed.exit_code == 0, resumed.output
    assert (output / "model.qdq.onnx").read_bytes() == first


SIZES = ["--epochs", "2", "--batch", "16", "--held-out", "40", "--width", "0.1", "--device", "cpu"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Images, and the folder of a run on them that is finished but for the part under quantization."""
    data = make_set(tmp_path_factory.mktemp("images") / "data")
    folder = tmp_path_factory.mktemp("runs") / "run"
    repghost.train(data, output=folder, **SMALL, say=lambda note: None)
    return data, folder


SMALL: Any = {"epochs": 2, "batch": 16, "held_out": 40, "width": 0.1, "device": "cpu"}


@pytest.mark.slow
def test_the_part_under_quantization_goes_on_where_it_was_stopped(trained: tuple[Path, Path]) -> None:
    data, folder = trained
    again: Any = {"output": folder, "resume": "continue", **SMALL, "qat": "fused", "qat_images": 128, "qat_epochs": 2}

    def stop(step: QatStep) -> None:
        if step.number == 2:
            raise ConnectionError

    with pytest.raises(ConnectionError):
        repghost.train(data, **again, on_qat_step=stop, recovery_interval=0, say=lambda note: None)
    state = folder / "model.qdq.onnx.state.pt"
    assert not (folder / "model.qdq.onnx").exists() and not state.exists()  # no epoch was done
    steps: list[int] = []

    def stop_later(step: QatStep) -> None:
        steps.append(step.number)
        if step.epoch == 1:
            raise ConnectionError

    with pytest.raises(ConnectionError):
        repghost.train(data, **again, on_qat_step=stop_later, say=lambda note: None)
    assert state.exists()
    rest: list[int] = []
    found = repghost.train(data, **again, on_qat_step=lambda step: rest.append(step.number), say=lambda note: None)
    assert rest[0] == steps[-1] > 0 and not state.exists()
    assert found.quantized is not None and found.quantized.trained
    resumed = (folder / "model.qdq.onnx").read_bytes()
    (folder / "model.qdq.onnx").unlink()
    repghost.train(data, **again, say=lambda note: None)
    assert (folder / "model.qdq.onnx").read_bytes() == resumed


@pytest.mark.slow
def test_processes_train_on_under_quantization_together(tmp_path: Path, two_processes: TwoProcesses) -> None:
    data, output = make_set(tmp_path / "data"), tmp_path / "run"
    two = two_processes.run("train", "--data", data, "-o", output, *SIZES, "--qat", "fused", "--qat-images", "256")
    assert two.codes == [0, 0], two.stderr
    assert two.stdout.count("epoch 1: top-1") == 1 and two.stdout.count("program digest:") == 1
    record = training_record(onnx.load(output / "model.qdq.onnx"))
    assert record["processes"] == 2 and record["mode"] == "fused"
    assert (
        read_checkpoint(output / "model.safetensors").metadata["test"]["pictures"] == 20
    )  # both evaluated their share
