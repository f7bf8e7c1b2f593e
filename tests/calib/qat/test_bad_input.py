"""What training under quantization is given that it cannot use, and runs that end early: nothing half is written."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import onnx
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from calib.qdq import writer as qdq
from calib.qdq.writer import training_record
from compile.frontend.qdq_file import read_qdq
from compile.passes import lower
from repghost.checkpoints.checkpoint import write_checkpoint
from repghost.network.fuse import fuse
from repghost.network.model import repghost_model_convert
from tests.support.forked_commands import ForkedCommands, is_running
from tests.support.lively_network import lively_model
from tests.support.qat_command import PREPROCESS, data, qat
from tests.support.training_commands import finish

__all__ = ["data"]  # the fixture

LABELS = tuple("abcde")


def damaged(source: Path, path: Path, value: float) -> Path:
    """Write a checkpoint of which the classifier holds one wrong value."""
    tensors = load_file(source)
    tensors["classifier.weight"][0, 0] = value
    with safe_open(source, "pt") as file:
        save_file(tensors, path, file.metadata())
    return path


@pytest.mark.parametrize("mode", ["fused", "reparam"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(mode: str, value: float, data: Path, tmp_path: Path) -> None:
    wrong = damaged(data / "model.safetensors", tmp_path / "wrong.safetensors", value)
    result = qat(wrong, "--data", data, "--mode", mode, "-o", tmp_path / "m.qdq.onnx")
    assert result.exit_code == 2, result.output
    assert "NaN or infinite" in result.output and "classifier" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["wrong.safetensors"]


def test_a_set_that_is_too_small_is_refused(data: Path, tmp_path: Path) -> None:
    for label in LABELS:
        (tmp_path / "few/train" / label).mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(tmp_path / "few/train/a/1.png")
    result = qat(data / "model.safetensors", "--data", tmp_path / "few", "-o", tmp_path / "m.qdq.onnx")
    assert result.exit_code == 2, result.output
    assert not (tmp_path / "m.qdq.onnx").exists()


@pytest.mark.slow
def test_images_that_cannot_be_read_are_left_out_and_counted(data: Path, tmp_path: Path) -> None:
    for index in range(20):
        folder = tmp_path / "set/train" / LABELS[index % 5]
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{index}.png"
        path.write_bytes((data / f"train/{LABELS[index % 5]}/{index}.png").read_bytes())
        if index in (3, 11):
            path.write_bytes(path.read_bytes()[:40])
    output = tmp_path / "m.qdq.onnx"
    result = qat(data / "model.safetensors", "--data", tmp_path / "set", "--batch", 4, "-o", output)
    assert result.exit_code == 0, result.output
    assert output.exists()


@pytest.mark.slow
def test_a_fused_checkpoint_trains_fused_and_says_why_not_otherwise(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "fused.safetensors"
    write_checkpoint(path, fuse(lively_model()), PREPROCESS.to_dict(), LABELS)
    refused = qat(path, "--data", data, "--mode", "reparam", "-o", tmp_path / "m.qdq.onnx")
    assert refused.exit_code == 2 and "use --mode fused" in refused.output
    trained = qat(path, "--data", data, "--batch", 8, "-o", tmp_path / "m.qdq.onnx")
    assert trained.exit_code == 0, trained.output


@pytest.mark.slow
def test_a_converted_checkpoint_says_that_its_branches_are_gone(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "converted.safetensors"
    write_checkpoint(path, repghost_model_convert(lively_model()), PREPROCESS.to_dict(), LABELS)
    for mode, said in (("reparam", True), ("fused", False)):
        result = qat(path, "--data", data, "--mode", mode, "--batch", 8, "-o", tmp_path / "m.qdq.onnx")
        assert result.exit_code == 0, result.output
        assert ("these layers train fused" in result.stderr) == said
        assert "steps in all: too few" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["fused", "reparam"])
def test_the_symmetric_policy_stays_symmetric_after_training(mode: str, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.qdq.onnx"
    result = qat(
        data / "model.safetensors", "--data", data, "--mode", mode, "--policy", "tensorrt", "--batch", 8, "-o", output
    )
    assert result.exit_code == 0, result.output
    file = onnx.load(output)
    zero_points = [onnx.numpy_helper.to_array(it) for it in file.graph.initializer if it.name.endswith("zero_point")]
    assert zero_points and not any(it.any() for it in zero_points)
    assert lower(read_qdq(output)).operators
    assert {entry.key for entry in file.metadata_props} >= {qdq.DIGEST, qdq.QUANTIZATION}


STOPPED = ("--batch", "2", "--epochs", "3", "--learning-rate", "0.01", "--recovery-interval", "5")


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a run writes that nothing stops."""
    output = tmp_path_factory.mktemp("whole") / "m.qdq.onnx"
    result = qat(data / "model.safetensors", "--data", data, *STOPPED, "-o", output)
    assert result.exit_code == 0, result.output
    assert [path.name for path in output.parent.iterdir()] == [output.name]
    return output.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_stopped_goes_on_to_the_same_bytes(
    number: signal.Signals, whole: bytes, in_children: ForkedCommands, data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "stopped"
    folder.mkdir()
    output, state, said = folder / "m.qdq.onnx", folder / "m.qdq.onnx.state.pt", tmp_path / "said"
    words = [str(data / "model.safetensors"), "--data", str(data), *STOPPED, "-o", str(output)]
    process, deadline = in_children.start(["qat", *words], said), time.monotonic() + 200
    while not state.exists():
        assert is_running(process) and time.monotonic() < deadline, said.read_text()
        time.sleep(0.01)
    os.kill(process, number)
    assert in_children.wait() == (-signal.SIGKILL if number == signal.SIGKILL else 130), said.read_text()
    assert number == signal.SIGKILL or "give --resume" in said.read_text()
    assert [path.name for path in folder.iterdir()] == [state.name]
    refused = qat(*words)
    assert refused.exit_code == 2 and "give --resume" in refused.output
    assert qat(*words, "--resume").exit_code == 0
    assert output.read_bytes() == whole
    assert [path.name for path in folder.iterdir()] == [output.name]


@pytest.mark.slow
def test_processes_train_together_and_write_once(data: Path, tmp_path: Path) -> None:
    """Started by the command itself; a run with the same images to each step differs by the order of float sums."""
    arguments = [str(data / "model.safetensors"), "--data", str(data), "--epochs", "2", "--images", "12"]
    command = [sys.executable, "-m", "repghost.cli", "qat", *arguments, "--device", "cpu"]
    two = finish([*command, "--batch", "3", "--processes", "2", "-o", str(tmp_path / "two.onnx")])
    assert two.returncode == 0, two.stderr
    assert two.stdout.count("written:") == 1 and two.stdout.count("epoch 2:") == 1
    one = qat(*arguments, "--batch", 6, "-o", tmp_path / "one.onnx")
    assert one.exit_code == 0, one.output
    records = [training_record(onnx.load(tmp_path / name)) for name in ("one.onnx", "two.onnx")]
    assert records[1]["processes"] == 2 and "processes" not in records[0]
    for mine, theirs in zip(*(record["candidates"] for record in records), strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=0.02)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.onnx", "two.onnx"]


@pytest.mark.slow
def test_a_teacher_that_cannot_be_one_is_refused(data: Path, tmp_path: Path) -> None:
    for given, said in (
        ("nowhere.onnx", "nowhere.onnx"),
        (str(data / "other.safetensors"), "names its classes otherwise"),
    ):
        result = qat(data / "model.safetensors", "--data", data, "--teacher", given, "-o", tmp_path / "m.onnx")
        assert result.exit_code == 2 and said in result.output, result.output
    assert not list(tmp_path.iterdir())
