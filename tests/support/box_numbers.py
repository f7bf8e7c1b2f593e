"""Numbers of a detector that decide, tie, and are none, for every program that makes boxes of them."""

from __future__ import annotations

import numpy as np

from repghost.detection.boxes import BoxRule, Level

RULE = BoxRule(3, (Level(7, 5, ((0.2, 0.3), (0.5, 0.25))), Level(2, 3, ((0.9, 0.7),))), 0.1, 0.4, 40, 30)
KINDS = ("random", "certain", "tied", "not finite", "huge", "none")


def numbers_of(kind: str, rule: BoxRule = RULE) -> np.ndarray:
    """Return a detector's numbers of one of `KINDS`, float32 [rule.numbers]."""
    random = np.random.default_rng(KINDS.index(kind))
    values = random.normal(0, 2, rule.numbers)
    if kind == "certain":
        values *= 8
    elif kind == "tied":
        values = np.round(values)
    elif kind == "huge":
        values[: rule.anchors * 4] *= 1e6
        values[rule.anchors * 4 + 2 :: 4] *= 1e3
    elif kind == "none":
        values[: rule.anchors * 4 : 4] = 50
    elif kind == "not finite":
        values[random.integers(0, len(values), 40)] = [np.nan, np.inf, -np.inf, 1e38] * 10
    return values.astype(np.float32)


def crowd() -> tuple[BoxRule, np.ndarray]:
    """Return a rule under which thousands of anchors have boxes, of which 70 come out, and its numbers."""
    rule = BoxRule(2, (Level(40, 40, ((0.02, 0.02), (0.5, 0.5))),), 0.0, 1.0, 500, 70)
    return rule, np.random.default_rng(0).normal(0, 1, rule.numbers).astype(np.float32)
