from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import training, training_loader
from benchmarks.pages.training import render_training
from benchmarks.shared import turns
from benchmarks.training_demo import compare_runs
from repghost import bundled
from repghost.checkpoints.checkpoint import write_checkpoint
from repghost.errors import UsageError
from repghost.network.model import RepGhostNet
from repghost.training.feeds.choose import open_feed
from repghost.training.follow.hooks import Hooks
from repghost.training.options import Options
from tests.support import ROOT
from tests.support.training_recipe import RECIPE, made_set

CARRIED = bundled.WEIGHTS


class Clock:
    """A processor whose time passes only where a step says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def step(self, seconds: list[float]) -> turns.Step:
        turns = iter(seconds)

        def take() -> None:
            self.now += next(turns)

        return take


def test_pairs_are_compared_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(turns.time, "process_time", lambda: clock.now)
    # the machine becomes ten times slower in the middle: the ratio of the sums would still be 2, that of unpaired
    # medians not
    slow = [1.0] * 12 + [10.0] * 9
    found = training.paired(clock.step([2 * value for value in slow]), clock.step(slow), 20)
    assert (found["ratio"], found["low"], found["high"], found["pairs"]) == (2.0, 2.0, 2.0, 20)
    noisy = [1.0, *(1 + place / 100 for place in range(20))]
    found = training.paired(clock.step(noisy), clock.step([1.0] * 21), 20)
    assert found["low"] < found["ratio"] < found["high"]
    assert found["ratio"] == pytest.approx(1.095)


def test_an_epoch_does_not_pay_for_the_bare_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(training.time, "process_time", lambda: clock.step([0.001])() or clock.now)
    feed = open_feed(RECIPE, made_set(), None, 3, Hooks(), Options())
    found = training.whole_epoch(RECIPE, feed, clock.step([1.0] * 9), 3)
    assert found["seconds"]["bare"] == pytest.approx(feed.batches_per_epoch, abs=0.01)
    assert 0 < found["seconds"]["ours"] < 0.1
    assert found["pictures"] == 96


FOUND: dict[str, Any] = {
    "machine": {"threads": 1, "torch": "2"}, "pictures": {"set": "set", "size": 64, "batch": 128},
    "epoch": {
        "ratio": 1.1, "ratio_with_judging": 1.2, "limit": 1.15, "pictures": 9, "ours_pictures_per_second": 400,
        "seconds": {"ours": 1.1, "bare": 1.0, "judging": 0.1},
    },
    "step": {"ratio": 0.98, "low": 0.97, "high": 0.99, "limit": 1.0, "timm": "1", "pairs": 9},
    "loader": {"pictures_per_second": 300}, "peak_bytes": [1, 100, 102],
}  # fmt: skip


def test_the_page_says_what_is_met_and_what_is_missed() -> None:
    lines = {line.split(" | ")[0]: line for line in render_training(FOUND).splitlines() if line.startswith("| ")}
    verdicts = [line.rstrip(" |").rsplit(" ", 1)[1] for name, line in lines.items() if name != "| bar"]
    assert verdicts == ["met", "missed", "met", "missed", "missed"]
    assert "was not run again" in render_training(FOUND)


def test_the_page_has_the_photographs_where_they_were_measured() -> None:
    photographs = {"ratio": 1.02, "low": 0.99, "high": 1.03, "ms": {"ours": 3.06, "timm": 3.0}, "size": [500, 375],
                   "photographs": 64, "rounds": 10}  # fmt: skip
    shown = render_training(FOUND | {"photographs": photographs})
    assert "| 1.020 (0.990 to 1.030) | 1.0 at most | missed |" in shown and "JPEG of 500 x 375" in shown


@pytest.mark.slow
def test_both_loaders_are_measured_on_the_same_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_loader, "PHOTOGRAPHS", 6)
    monkeypatch.setattr(training_loader, "ROUNDS", 6)
    found = training_loader.paired_loaders(made_set())
    assert 0.3 < found["ratio"] < 3 and found["low"] <= found["ratio"] <= found["high"]
    assert 0 < found["ms"]["ours"] < 1000


def test_a_run_of_the_demo_is_compared_with_what_is_carried(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(CARRIED.read_bytes())
    (tmp_path / "log.jsonl").write_text(json.dumps({"seconds": 90.0}) + "\n" + json.dumps({"seconds": 30.0}) + "\n")
    found = compare_runs(tmp_path, CARRIED)
    assert (found["points"], found["seconds"]) == (0.0, 120.0)
    shown = render_training(FOUND | {"demo": found | {"points": -0.51}})
    assert "| 0.5 points apart at most | missed |" in shown
    assert "9273 of 10000 test pictures right" in shown
    write_checkpoint(tmp_path / "other.safetensors", RepGhostNet(0.25, 3).eval())
    with pytest.raises(UsageError, match=r"other\.safetensors: not a network of"):
        compare_runs(tmp_path, tmp_path / "other.safetensors")


def test_the_committed_page_is_made_from_the_committed_json() -> None:
    found = json.loads((ROOT / "docs/training-bars.json").read_text())
    assert render_training(found) == (ROOT / "docs/training-bars.md").read_text()
