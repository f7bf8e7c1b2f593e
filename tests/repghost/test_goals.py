"""A goal finds its figure in a document and says what it means."""

from __future__ import annotations

import pytest

from repghost.goals import Goal, Verdict, evaluate, find

DOCUMENT = {"runs": [{"width": 0.5, "ms": 3000.0}, {"width": 1.0, "ms": 5000.0, "low": 3500.0}]}


def goal(width: float, limit: float, at_least: bool = False) -> Goal:
    return Goal(
        "time", limit, "s", at_least, ("runs", {"width": width}, "ms"), 1000.0, ("runs", {"width": width}, "low")
    )


def test_a_path_leads_through_objects_and_lists() -> None:
    assert find(DOCUMENT, ("runs", {"width": 1.0}, "ms")) == 5000.0
    assert find(DOCUMENT, ("runs", {"width": 2.0}, "ms")) is None
    assert find(DOCUMENT, ("absent", "ms")) is None


@pytest.mark.parametrize(
    ("asked", "verdict", "missed_by"),
    [
        (goal(0.5, 3.0), Verdict.REACHED, 0.0),
        (goal(0.5, 2.5), Verdict.MISSED, 0.5),
        (goal(1.0, 4.0), Verdict.OPEN, 1.0),  # the interval begins at 3.5
        (goal(1.0, 3.0), Verdict.MISSED, 2.0),
        (goal(0.5, 3.5, at_least=True), Verdict.MISSED, 0.5),
        (goal(0.5, 2.5, at_least=True), Verdict.REACHED, -0.5),
        (goal(2.0, 1.0), Verdict.NOT_MEASURED, 0.0),
    ],
)
def test_the_verdict_is_that_of_the_figure(asked: Goal, verdict: Verdict, missed_by: float) -> None:
    outcome = evaluate(asked, DOCUMENT)
    assert (outcome.verdict, outcome.missed_by) == (verdict, pytest.approx(missed_by))
    assert outcome.reached is (verdict is Verdict.REACHED)
