"""`repghost widths`: several widths in a row, of which nothing is made twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from benchmarks.ledger import LEDGER, Ledger
from repghost.cli import cli
from repghost.commands.training.train_qat import qat_settings
from repghost.errors import UsageError
from repghost.training.train import STATE_FILE
from tests.repghost.commands.test_train import make_set

FILES = ("model.safetensors", "model.qdq.onnx", "model.qat-fused.qdq.onnx")


def widths(data: Path, output: Path, *more: str) -> Result:
    sizes = ["--epochs", "2", "--batch", "32", "--held-out", "40", "--images", "16", "--qat-images", "64"]
    return CliRunner().invoke(cli, ["widths", "--data", str(data), "-o", str(output), *sizes, *more])


def test_an_interrupted_run_goes_on_and_repeats_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, output = make_set(tmp_path / "data"), tmp_path / "runs"

    def interrupt(*arguments: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("calib.qat.train_on_set.train_on_set", interrupt)
        stopped = widths(data, output, "--widths", "0.1,0.2", "--qat", "fused")
    assert stopped.exit_code == 130
    first = output / "repghostnet_0_1x"
    assert not (first / FILES[2]).exists()
    before = {path: path.stat().st_mtime_ns for path in (first / FILES[0], first / FILES[1], first / STATE_FILE)}
    finished = widths(data, output, "--widths", "0.1,0.2", "--qat", "fused")
    assert finished.exit_code == 0, finished.output
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "repghostnet_0_1x: model.qdq.onnx, as in an earlier run" in finished.output
    made = [output / name / file for name in ("repghostnet_0_1x", "repghostnet_0_2x") for file in FILES]
    times = [path.stat().st_mtime_ns for path in made]
    again = widths(data, output, "--widths", "0.1,0.2", "--qat", "fused")
    assert again.exit_code == 0, again.output
    assert [path.stat().st_mtime_ns for path in made] == times
    assert again.output.count("as in an earlier run") == len(made)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--widths", "0"], "width"),
        (["--widths", "0.1", "--recipe", "finetune", "--held-out", "0"], "demo or cifar"),
        (["--widths", "0.1", "--qat", "fusd"], "Did you mean 'fused'"),
        (["--widths", "0.1", "--data", "/nowhere"], "/nowhere"),
    ],
)
def test_wrong_usage_trains_nothing(more: list[str], message: str, tmp_path: Path) -> None:
    result = widths(make_set(tmp_path / "data", 8), tmp_path / "runs", *more)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("harm", ["nothing", "another key", "changed", "gone", "ledger gone"])
def test_the_ledger_makes_again_what_is_not_as_it_was_made(harm: str, tmp_path: Path) -> None:
    ledger, calls = Ledger(tmp_path), []

    def make(path: Path) -> None:
        calls.append(path)
        path.write_text("content")

    assert ledger.make("file", {"a": 1}, make)
    if harm == "changed":
        (tmp_path / "file").write_text("other")
    elif harm == "gone":
        (tmp_path / "file").unlink()
    elif harm == "ledger gone":
        (tmp_path / LEDGER).unlink()
    assert ledger.make("file", {"a": 2 if harm == "another key" else 1}, make) == (harm != "nothing")
    assert (tmp_path / "file").read_text() == "content"


def test_training_under_quantization_is_asked_for_by_its_mode() -> None:
    assert qat_settings(None, None, None, 0) is None
    settings = qat_settings("reparam", 2, 300, 7)
    assert settings is not None
    assert (settings.mode, settings.epochs, settings.images, settings.seed) == ("reparam", 2, 300, 7)
    with pytest.raises(UsageError, match="without --qat"):
        qat_settings(None, 2, None, 0)
    with pytest.raises(UsageError, match="Did you mean 'fused'"):
        qat_settings("fusd", None, None, 0)


def test_train_goes_on_under_quantization(tmp_path: Path) -> None:
    data, output = make_set(tmp_path / "data"), tmp_path / "run"
    sizes = ["--epochs", "2", "--batch", "32", "--held-out", "40", "--width", "0.1"]
    command = ["train", "--data", str(data), "--output", str(output), *sizes, "--qat", "reparam", "--qat-images", "64"]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, result.output
    assert "epoch 1: top-1" in result.output
    first = (output / "model.qdq.onnx").read_bytes()
    (output / "model.qdq.onnx").unlink()
    resumed = CliRunner().invoke(cli, [*command, "--resume"])  # as after an interruption of the second part
    assert resumed.exit_code == 0, resumed.output
    assert (output / "model.qdq.onnx").read_bytes() == first
