"""The bars, evaluated on paired 95 % intervals on the images that evaluate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BARS = {"calibrated": 0.3, "trained": 0.1}  # largest allowed drop of top-1, in percentage points

KEPT, OPEN, MISSED = "kept", "open", "missed"


def drop_points(change: Mapping[str, Any]) -> tuple[float, float, float]:
    """Return a drop and its 95 % interval in percentage points, positive where accuracy was lost."""
    return -100 * change["difference"], -100 * change["high"], -100 * change["low"]


def evaluate_drop(change: Mapping[str, Any], bar: float) -> str:
    """Return whether a drop keeps a bar.

    "missed" where the whole interval lies above the bar; "kept" where the measured drop does not exceed it; "open"
    where it does, but the interval reaches below the bar, so that these images cannot tell.
    """
    drop, low, _ = drop_points(change)
    if drop <= bar + 1e-9:  # an image is at least a thousandth of a point
        return KEPT
    return MISSED if low > bar else OPEN


def evaluate_against(change: Mapping[str, Any]) -> str:
    """Return whether ours is behind another: `change` goes from the other's answers to ours.

    "missed" where ours is significantly worse, "kept" otherwise.
    """
    return MISSED if change["high"] < 0 else KEPT
