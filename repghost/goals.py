"""Goals: limits for figures that were measured, and whether they are reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

NEAR = 1e-9  # a figure this close to its limit reaches it: less than rounding changes

Path = tuple[str | Mapping[str, Any], ...]


@dataclass(frozen=True)
class Goal:
    """A limit for one figure of a JSON document.

    Attributes:
        what: the figure, for tables.
        limit: the largest value that reaches the goal; with `at_least` the smallest.
        unit: of the limit.
        at_least: whether more is better.
        where: how to find the figure, see `find`.
        per: what the figure in the JSON is divided by to be in `unit`.
        favourable: how to find the better end of the figure's 95 % interval; () where it has none.
        stretch: a stricter limit that is hoped for.
        subject: which network it is about.
        note: what else is said of it.
    """

    what: str
    limit: float
    unit: str = ""
    at_least: bool = False
    where: Path = ()
    per: float = 1.0
    favourable: Path = ()
    stretch: float | None = None
    subject: str = ""
    note: str = ""


class Verdict(Enum):
    """What a measurement says of a goal."""

    REACHED = "reached"
    OPEN = "open"  # missed, but not by more than the interval: the measurement cannot tell
    MISSED = "missed"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Outcome:
    """A goal and what was measured, in its unit; None where nothing was."""

    goal: Goal
    measured: float | None
    verdict: Verdict

    @property
    def reached(self) -> bool:
        """Whether the goal is reached."""
        return self.verdict is Verdict.REACHED

    @property
    def missed_by(self) -> float:
        """How far the figure is on the wrong side of the limit, in the goal's unit; below 0 on the right side."""
        if self.measured is None:
            return 0.0
        return self.goal.limit - self.measured if self.goal.at_least else self.measured - self.goal.limit


def evaluate(goal: Goal, document: Mapping[str, Any]) -> Outcome:
    """Return whether the figure of a document reaches a goal, and by how much it misses it otherwise."""
    found = find(document, goal.where)
    if found is None:
        return Outcome(goal, None, Verdict.NOT_MEASURED)
    measured = float(found) / goal.per
    if _reaches(goal, measured):
        return Outcome(goal, measured, Verdict.REACHED)
    best = find(document, goal.favourable) if goal.favourable else None
    within = best is not None and _reaches(goal, float(best) / goal.per)
    return Outcome(goal, measured, Verdict.OPEN if within else Verdict.MISSED)


def _reaches(goal: Goal, value: float) -> bool:
    return value >= goal.limit - NEAR if goal.at_least else value <= goal.limit + NEAR


def find(document: Any, path: Path) -> Any:
    """Return what lies at a path of a JSON value, None where there is nothing.

    Args:
        document: JSON values.
        path: keys of objects; for an entry of a list, values of its keys, which only that entry has.
    """
    for step in path:
        if isinstance(step, Mapping):
            entries = document if isinstance(document, Sequence) else ()
            document = next((it for it in entries if all(it.get(key) == step[key] for key in step)), None)
        else:
            document = document.get(step) if isinstance(document, Mapping) else None
        if document is None:
            return None
    return document
