"""The goals of int8 accuracy; every figure is a paired difference of top-1 with its 95 % interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from repghost.goals import Goal

POINT = 0.01  # of a share


def drop_goal(limit: float) -> Goal:
    """Return the goal to lose at most `limit` percentage points of top-1, of a change from float to int8."""
    return Goal("drop of top-1", limit, "points", where=("difference",), favourable=("high",), per=-POINT)


GOALS = {"calibrated": drop_goal(0.3), "trained": drop_goal(0.1)}
# Of a change from another tool's predictions to ours: missed where ours is significantly worse.
AGAINST_OTHERS = Goal("best case against the best other tool", 0.0, "points", at_least=True, where=("high",), per=POINT)


def drop_points(change: Mapping[str, Any]) -> tuple[float, float, float]:
    """Return a drop and its 95 % interval in percentage points, positive where accuracy was lost."""
    return -100 * change["difference"], -100 * change["high"], -100 * change["low"]
