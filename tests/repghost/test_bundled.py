"""The word "bundled" where a path is expected, and what is said where the package has nothing of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from repghost import bundled
from repghost.checkpoints.checkpoint import read_checkpoint
from repghost.cli import cli
from repghost.data import open_dataset
from repghost.errors import UsageError


def test_the_word_names_the_network_and_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_checkpoint("bundled").digest == read_checkpoint(bundled.WEIGHTS).digest
    assert len(open_dataset("bundled", "calibration")) == 1024


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bundled").touch()
    assert bundled.resolve("bundled", bundled.WEIGHTS) == Path("bundled")
    assert bundled.resolve("./other", bundled.WEIGHTS) == Path("other")


def test_an_installation_without_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bundled, "WEIGHTS", tmp_path / "absent.safetensors")
    monkeypatch.setattr(bundled, "DATA", tmp_path / "absent")
    with pytest.raises(UsageError, match=r"the bundled network should be .*absent.safetensors and is not there"):
        read_checkpoint("bundled")
    with pytest.raises(UsageError, match="the bundled pictures should be"):
        open_dataset("bundled", "test")
    result = CliRunner().invoke(cli, ["compile", "--target", "host"])
    assert result.exit_code == 2 and "Install the package again" in result.stderr
