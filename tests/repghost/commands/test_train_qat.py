"""`repghost train --qat`: training that goes on under quantization."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from repghost.api.training.quantized_too import quantized_part
from repghost.cli import cli
from repghost.errors import UsageError
from tests.support.image_folders import make_set


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
