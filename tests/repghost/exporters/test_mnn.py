"""MNN's own converter and interpreter, and what is said when they are absent or fail."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from repghost.checkpoints.checkpoint import write_checkpoint
from repghost.cli import cli
from repghost.errors import IntegrityError, RepGhostError, ToolMissingError, install_command
from repghost.exporters import mnn as mnn_export
from repghost.exporters.onnx import to_onnx
from repghost.network.model import RepGhostNet
from tests.support.networks import network

needs_mnn = pytest.mark.skipif(find_spec("MNN") is None, reason="no MNN: pip install '.[mnn]'")


@pytest.fixture(scope="module")
def model() -> RepGhostNet:
    return network()


@pytest.mark.slow
@needs_mnn
def test_command_writes_a_file_that_mnn_runs_to_the_same_scores(model: RepGhostNet, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "net.safetensors", model)
    arguments = ["export", str(tmp_path / "net.safetensors"), str(tmp_path / "net.mnn"), "--format", "mnn"]
    done = CliRunner().invoke(cli, [*arguments, "--size", "64"])
    assert done.exit_code == 0, done.output
    assert "input 3 x 64 x 64" in done.output
    assert (tmp_path / "net.mnn").stat().st_size > 1_000_000


@needs_mnn
def test_a_file_of_another_network_is_refused(model: RepGhostNet) -> None:
    torch.manual_seed(1)
    other = RepGhostNet(0.5, num_classes=model.spec.num_classes).eval()
    with pytest.raises(IntegrityError, match="does not compute what the checkpoint computes"):
        mnn_export.to_mnn(to_onnx(other, 64), model)


def test_without_mnn_the_line_that_installs_it_is_named(model: RepGhostNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnn_export, "find_spec", lambda name: None)
    with pytest.raises(ToolMissingError, match=re.escape(install_command("mnn"))):
        mnn_export.to_mnn(to_onnx(model, 64), model)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit('no such operator')", "failed with code 1: no such operator"),
        ("import os; os.abort()", "failed with code -6"),
        ("pass", "wrote no file"),
        ("import time; time.sleep(60)", "did not end within 1 s"),
    ],
)
def test_a_converter_that_fails_is_told_of(
    code: str, message: str, model: RepGhostNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mnn_export, "find_spec", lambda name: name)
    monkeypatch.setattr(mnn_export, "CONVERT", code)
    monkeypatch.setattr(mnn_export, "LIMIT", 1 if "sleep" in code else 60)
    with pytest.raises(RepGhostError, match=message):
        mnn_export.to_mnn(to_onnx(model, 64), model)
