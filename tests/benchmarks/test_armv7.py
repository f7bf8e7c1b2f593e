"""The armv7 section of the performance page: goals beside other runtimes, who was not counted, made from the JSON."""

from __future__ import annotations

import copy
import json
from typing import Any

from benchmarks.armv7 import SECTION
from benchmarks.pages.armv7 import render_counts
from benchmarks.shared.goals import armv7_goals
from repghost.goals import evaluate
from tests.support import ROOT


def committed() -> dict[str, Any]:
    part: dict[str, Any] = json.loads((ROOT / "docs/performance.json").read_text())[SECTION.key]
    return part


def test_the_committed_page_is_made_from_the_committed_json_and_the_goals_are_reached() -> None:
    part = committed()
    section = f"{SECTION.markers.begin}\n{SECTION.text(part)}\n{SECTION.markers.end}"
    assert section in (ROOT / "docs/performance.md").read_text()
    assert [evaluate(goal, part).reached for goal in armv7_goals(part)] == [True, True]


def test_a_runtime_with_fewer_instructions_misses_the_goal() -> None:
    part = copy.deepcopy(committed())
    part["others"]["results"][-1]["whole"]["total"] = 19_000_000
    below_limit, below_others = (evaluate(goal, part) for goal in armv7_goals(part))
    assert below_limit.reached and not below_others.reached
    assert below_others.goal.note.startswith("19.00 (ncnn ")
    part["others"]["results"][0]["whole"]["total"] = 77_216_020
    assert "Our fp32 executes 0.50 times as many" in render_counts(part)


def test_who_was_not_counted_is_told_once_for_each_reason() -> None:
    part = copy.deepcopy(committed())
    part["others"]["absent"] = [{"name": "mnn fp32", "reason": "no wheel"}, {"name": "mnn int8", "reason": "no wheel"}]
    assert render_counts(part).endswith("\n- mnn fp32, mnn int8: not counted: no wheel")
