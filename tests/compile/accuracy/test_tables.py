"""The evidence without a network: its rows, its verdicts and its page."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from compile.accuracy.goals import AGAINST_OTHERS, GOALS, drop_goal, drop_points
from compile.accuracy.methods import FUSED, GROUPS, METHODS, UNFUSED, Calibrated, Foreign, Trained, choose_methods
from compile.accuracy.overview import FIGURE, draw_overview, name_of, overview
from compile.accuracy.page import held_out_table, render, training_note
from repghost.errors import UsageError
from repghost.evaluation.accuracy import accuracy, agresti_min
from repghost.goals import Verdict, evaluate
from tests.support import ROOT


def test_every_row_has_a_name_of_its_own_and_a_group_of_the_table() -> None:
    names = [method.name for method in METHODS]
    assert len(set(names)) == len(names)
    assert {method.group for method in METHODS} == set(GROUPS)
    assert {method.goal for method in METHODS} - {""} == set(GOALS)
    keys = [repr(method.quantizer.key()) for method in METHODS if not isinstance(method.quantizer, Calibrated)]
    assert len(set(keys)) == len(keys)


def test_both_modes_and_every_tool_are_among_the_rows() -> None:
    modes = {method.quantizer.settings.mode for method in METHODS if isinstance(method.quantizer, Trained)}
    assert modes == {"fused", "reparam"}
    foreign = [method.quantizer for method in METHODS if isinstance(method.quantizer, Foreign)]
    assert {it.tool for it in foreign} == {"onnxruntime", "nncf", "modelopt"}
    assert {it.form for it in foreign} == {FUSED, UNFUSED}


@pytest.mark.parametrize(
    ("patterns", "names"),
    [(("QAT*",), {"QAT fused", "QAT reparam"}), (("min-max", "NNCF"), {"min-max", "NNCF"})],
)
def test_rows_are_chosen_by_patterns(patterns: tuple[str, ...], names: set[str]) -> None:
    assert {method.name for method in choose_methods(patterns)} == names
    assert choose_methods(()) == METHODS


def test_a_pattern_without_a_row_is_refused() -> None:
    with pytest.raises(UsageError, match="Did you mean 'entropy'"):
        choose_methods(("entropi",))


@pytest.mark.parametrize(
    ("lost", "won", "limit", "verdict"),
    [
        (10, 10, 0.1, Verdict.REACHED),
        (0, 40, 0.1, Verdict.REACHED),
        (30, 20, 0.1, Verdict.REACHED),  # exactly at the limit
        (60, 45, 0.1, Verdict.OPEN),  # 0.15 points, and the interval reaches below 0.1
        (200, 100, 0.3, Verdict.MISSED),
    ],
)
def test_a_drop_is_evaluated_by_its_interval(lost: int, won: int, limit: float, verdict: Verdict) -> None:
    change = agresti_min(lost, won, 9000, 10_000).to_dict()
    drop, low, high = drop_points(change)
    assert low <= drop <= high
    assert drop == pytest.approx((lost - won) / 100)
    assert evaluate(drop_goal(limit), change).verdict is verdict


@pytest.mark.parametrize(
    ("lost", "won", "verdict"),
    [(50, 50, Verdict.REACHED), (60, 50, Verdict.REACHED), (120, 50, Verdict.MISSED), (0, 9, Verdict.REACHED)],
)
def test_ours_is_behind_another_only_where_that_is_significant(lost: int, won: int, verdict: Verdict) -> None:
    assert evaluate(AGAINST_OTHERS, agresti_min(lost, won, 9000, 10_000).to_dict()).verdict is verdict


def _row(name: str, group: str, lost: int, won: int, bar: str = "") -> dict[str, Any]:
    predictions, labels = np.zeros(1000, np.int64), np.arange(1000) % 2
    change = agresti_min(lost, won, 900, 1000).to_dict()
    top1 = accuracy(predictions, labels).to_dict() | {"top1": 0.5 + (won - lost) / 1000}
    return {"name": name, "group": group, "bar": bar, "top1": top1, "change": change, "seconds": 3.2,
            "versions": {"nncf": "9.9"}}  # fmt: skip


def document() -> dict[str, Any]:
    """Return a small document with a row of each kind."""
    rows = [
        _row("default", "calibrated", 1, 2, "calibrated"),
        _row("QAT fused", "trained", 90, 10, "trained") | {"held_out": {"chosen": "epoch 1", "pictures": 2000}},
        _row("QAT reparam", "trained", 12, 8, "trained"),
        _row("float32, as QAT fused", "float", 10, 60),
        _row("NNCF", "other", 4, 3),
        _row("ONNX Runtime min-max", "other", 30, 3),
        {"name": "ModelOpt max", "group": "other", "not_measured": "no interpreter has 'modelopt'"},
    ]
    against = [
        {"ours": "default", "other": "NNCF", "change": agresti_min(3, 5, 900, 1000).to_dict()},
        {"ours": "default", "other": "ONNX Runtime min-max", "change": agresti_min(3, 30, 900, 1000).to_dict()},
        {"ours": "QAT fused", "other": "NNCF", "change": agresti_min(90, 8, 900, 1000).to_dict()},
    ]
    network = {
        "name": "repghostnet_0_5x", "width": 0.5, "file": "a.safetensors", "sha256": "ab" * 32,
        "machine": {"system": "here"}, "training": {"command": "repghost train --data DIR --recipe cifar --seed 3"},
        "calibration": {"pictures": 512, "sha256": "cd" * 32, "data": "set", "split": "train"},
        "test": {"pictures": 1000, "sha256": "ef" * 32, "data": "set", "split": "test"},
        "fp32": accuracy(np.zeros(1000, np.int64), np.arange(1000) % 2).to_dict(),
        "rows": rows, "against": against,
        "against_float": [{"ours": "QAT fused", "change": agresti_min(70, 20, 900, 1000).to_dict()}],
        "arm64": {"not_measured": "it was not asked for"},
    }  # fmt: skip
    return {"format": "repghost-accuracy", "version": 2, "networks": [network]}


def test_networks_that_were_not_trained_alike_are_told_apart() -> None:
    narrow, wide = {"width": 0.5, "training": {"epochs": "24/24"}}, {"width": 2.0, "training": {"epochs": "6"}}
    other = {"width": None, "name": "net"}
    assert "(epochs: 0.5x 24, 2x 6)" in training_note([narrow, wide])
    assert "(epochs: 0.5x 24, net unknown)" in training_note([narrow, other])
    assert training_note([narrow]) == training_note([other, other]) == ""


def test_the_page_says_what_was_kept_missed_and_not_measured() -> None:
    page = render(document())
    lines = page.splitlines()
    goals = {
        line.split("|")[3].strip(): line for line in lines if line.startswith("| 0.5x |") and line.count("|") == 11
    }
    assert "| 0.3 | kept |" in goals["default"]
    assert "NNCF" in goals["default"]  # the better one of the others, not the one with the larger distance
    assert "| 0.1 | **missed** |" in goals["QAT fused"] and goals["QAT fused"].rstrip().endswith("**missed** |")
    assert "open, 0.30 over" in goals["QAT reparam"] and "not measured" in goals["QAT reparam"]
    assert any("ModelOpt max" in line and "no interpreter has 'modelopt'" in line for line in lines)
    assert any("not asked for" in line for line in lines)
    assert "nncf 9.9" in page and "- 0.5x: system here." in page
    assert "`repghost train --data DIR --recipe cifar --seed 3`" in page
    assert "| QAT fused, epoch 1 | " in page and "2,000 held-out" in page
    assert "| QAT reparam | " in page
    assert "| float32, as QAT fused | 55.00% | -5.00 (" in page
    assert "QAT fused 5.00 (" in page
    assert "| 0.5x | 2.70 (1.57 to 3.82) | not measured | not measured |" in page


@pytest.mark.parametrize(
    ("lost", "said"),
    [(35, "at most 0.50 points"), (60, "loses 3.00 points")],
)
def test_the_guard_is_as_strict_as_the_measured_loss_asks_for(lost: int, said: str) -> None:
    values = document()
    assert "always fuses first" in render(values)
    values["networks"][0]["rows"].append(_row("ONNX Runtime, as exported", "unfused", lost, 3))
    assert said in render(values)


def test_what_held_out_images_chose_stands_in_a_table() -> None:
    values = document()
    rows = values["networks"][0]["rows"]
    assert not list(held_out_table(values["networks"]))  # nothing is known of the candidates
    figures = ((0.02, 0.5, 0.7), (0.04, 0.4, 0.69), (0.03, 0.3, 0.71))
    candidates = [
        {"name": name, "divergence": divergence, "loss": loss, "top1": top1}
        for name, (divergence, loss, top1) in zip(("calibrated", "epoch 1", "epoch 2"), figures, strict=True)
    ]
    for row, chosen in ((rows[1], "epoch 1"), (rows[2], "calibrated")):
        row["held_out"] = {"chosen": chosen, "pictures": 2000, "candidates": candidates}
        row["key"] = {"trained": {"distillation": 0.25}}
    title, _, *lines = held_out_table(values["networks"])
    table = "\n".join(lines)
    assert "| 0.5x | QAT fused | 2,000 | 380, 70.00 | 310, 69.00 | epoch 1 |" in table
    assert "| 0.5x | QAT reparam | 2,000 | 380, 70.00 | 232, 71.00 | calibrated |" in table  # the last one is shown
    assert table in render(values) and f"{title}\n\n<details" in render(values)
    rows[2]["held_out"]["candidates"] = candidates[:1]
    assert "| no epoch fits its integers | calibrated |" in "\n".join(held_out_table(values["networks"]))


@pytest.mark.parametrize("folder", ["docs", "docs/imagenet-sample", "docs/flowers"])
def test_the_committed_page_is_made_from_the_committed_json(folder: str) -> None:
    committed = json.loads((ROOT / folder / "accuracy.json").read_text())
    page = (ROOT / folder / "accuracy.md").read_text()
    assert render(committed) == page
    words = re.findall(r"<text[^>]*>([^<]*)</text>", (ROOT / folder / FIGURE).read_text())
    assert [name for name in words if name in {name_of(it) for it in committed["networks"]}]


def test_the_first_table_says_what_is_lost_beside_the_best_other_tool() -> None:
    values = document()["networks"]
    lines = overview(values)
    assert "on 1 of 1 networks" in lines[0]
    assert "| 0.5x | 50.00% | 50.10% | -0.10 (-0.49 to 0.29) | 42.00% | NNCF | 0.10 (-0.45 to 0.65) |" in lines
    assert lines[-1].endswith(f"({FIGURE})") and "goal: at most 0.3" in draw_overview(values)
    values[0]["rows"] = values[0]["rows"][-1:]  # nothing of ours was measured
    assert f"({FIGURE})" not in "".join(overview(values)) and "not measured" in overview(values)[-1]
