"""The notebooks of docs/ run as they stand."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import pytest

import repghost
from compile.bundle.manifest import check_bundle
from tests.support import ROOT
from tests.support.fake_board import MEASURED, VERIFIED, FakeBoard, in_place_of_ssh
from tests.support.notebooks import run_notebook

NOTEBOOKS = sorted((ROOT / "docs").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BOARD", raising=False)
    names = run_notebook(path)
    assert names["bundle"].verify().replays  # it ended with a bundle that computes what it should


class Board(FakeBoard):
    """A board that proves and measures what the notebook brings."""

    def _runner(self, words: str, **_: Any) -> bytes:
        answer = VERIFIED | {"pictures": 36} if "--verify" in words else MEASURED
        return json.dumps(answer).encode()


@pytest.mark.slow
def test_a_notebook_brings_its_bundle_to_a_board(host_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOARD", "pi@board")
    board = Board(platform.machine(), [check_bundle(host_bundle)])
    with in_place_of_ssh(board):
        names = run_notebook(ROOT / "docs/own-pictures.ipynb")
        assert repghost.status("pi@board").current == names["bundle"].digest
        assert repghost.rollback("pi@board").version.digest == check_bundle(host_bundle).digest


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_kept_without_what_a_run_leaves(path: Path) -> None:
    cells = json.loads(path.read_text())["cells"]
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)
