from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from repghost.checkpoints.checkpoint import read_checkpoint
from repghost.cli import cli
from tests.support.forked_commands import ForkedCommands, is_running
from tests.support.image_folders import make_set


def arguments(data: Path, output: Path, *more: str) -> list[str]:
    sizes = ["--epochs", "2", "--batch", "32", "--held-out", "40", "--width", "0.25"]
    return ["train", "--data", str(data), "--output", str(output), *sizes, *more]


@pytest.mark.slow
def test_train_writes_a_checkpoint_with_the_test_figure_and_says_what_comes_next(tmp_path: Path) -> None:
    data, output = make_set(tmp_path / "data"), tmp_path / "a run"
    result = CliRunner().invoke(cli, arguments(data, output, "--seed", "5"))
    assert result.exit_code == 0, result.output
    assert "test top-1:" in result.stdout
    assert "repghost validate" in result.stdout
    checkpoint = read_checkpoint(output / "model.safetensors", width=0.25)
    assert checkpoint.metadata["seed"] == 5
    assert checkpoint.metadata["test"]["pictures"] == 20
    written = ["args.yaml", "best.safetensors", "log.csv", "log.jsonl", "model.safetensors", "state.pt"]
    written += ["summary.png", "summary.svg"]
    assert sorted(path.name for path in output.iterdir() if path.is_file()) == written
    again = CliRunner().invoke(cli, arguments(data, output, "--seed", "5"))
    assert again.exit_code == 2
    assert "--resume" in again.output


@pytest.mark.slow
def test_a_network_learns_from_a_teacher_and_goes_on_with_that_one_alone(tmp_path: Path) -> None:
    data, teacher, output = make_set(tmp_path / "data"), tmp_path / "teacher", tmp_path / "run"
    assert CliRunner().invoke(cli, arguments(data, teacher)).exit_code == 0
    taught = ["--teacher", str(teacher / "model.safetensors"), "--distill-alpha", "1", "--distill-kind", "hard"]
    result = CliRunner().invoke(cli, arguments(data, output, *taught))
    assert result.exit_code == 0, result.output
    other = CliRunner().invoke(cli, arguments(data, output, *taught[:3], "0.5", "--resume"))
    assert other.exit_code == 2 and "other values of distillation, distillation_kind" in other.output
    plain, with_teacher = (read_checkpoint(folder / "model.safetensors") for folder in (teacher, output))
    name = "classifier.weight"
    assert not torch.equal(plain.state_dict[name], with_teacher.state_dict[name])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--teacher", "nowhere.onnx"], "nowhere.onnx"),
        (["--teacher", "float"], "for training under quantization"),
        (["--teacher-weights", "x.pt"], "no effect without --teacher"),
    ],
)
def test_a_teacher_that_cannot_be_one_is_refused(more: list[str], message: str, tmp_path: Path) -> None:
    data = make_set(tmp_path / "data")
    result = CliRunner().invoke(cli, arguments(data, tmp_path / "run", *more))
    assert result.exit_code == 2 and message in result.output, result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_train_without_a_test_split_says_not_measured(tmp_path: Path) -> None:
    data = make_set(tmp_path / "data")
    for path in data.glob("t10k*"):
        path.unlink()
    result = CliRunner().invoke(cli, arguments(data, tmp_path / "run"))
    assert result.exit_code == 0, result.output
    assert "not measured" in result.stdout
    assert read_checkpoint(tmp_path / "run" / "model.safetensors").metadata["test"] is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--recipe", "dmo"], "Did you mean 'demo'"),
        (["--held-out", "100"], "--held-out"),
        (["--resume"], "no training state"),
        (["--width", "0"], "width"),
        (["--learning-rate", "-1"], "learning_rate"),
    ],
)
def test_train_names_what_is_wrong(tmp_path: Path, more: list[str], message: str) -> None:
    result = CliRunner().invoke(cli, arguments(make_set(tmp_path / "data"), tmp_path / "run", *more))
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_signal_stops_between_steps_and_resume_goes_on(tmp_path: Path, in_children: ForkedCommands) -> None:
    data, sizes = (
        make_set(tmp_path / "data"),
        ["--epochs", "500", "--batch", "32", "--held-out", "40", "--width", "0.25"],
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        output, said = tmp_path / f"run {number}", tmp_path / f"errors {number}"
        process = in_children.start(["train", "--data", str(data), "--output", str(output), *sizes], said)
        deadline = time.monotonic() + 120
        while not (output / "state.pt").exists():
            assert is_running(process) and time.monotonic() < deadline, said.read_text()
            time.sleep(0.05)
        os.kill(process, number)
        assert in_children.wait() == 128 + number
        assert "--resume" in said.read_text() and "Traceback" not in said.read_text()
        files = sorted(path.name for path in output.iterdir() if path.is_file())
        assert files == ["args.yaml", "best.safetensors", "log.csv", "log.jsonl", "state.pt"]
