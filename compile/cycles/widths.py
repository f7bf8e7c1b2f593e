"""The published widths on boards: milliseconds that somebody measured, else estimates from counted instructions.

counted.json is written by `python -m benchmarks.boards` from docs/performance.json and docs/boards.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from compile.cycles.boards import Board, Estimate, digits, estimates, significant

COUNTED = Path(__file__).with_name("counted.json")


@dataclass(frozen=True)
class Figure:
    """Milliseconds of one inference of a build on one thread of a board.

    Attributes:
        model: e.g. "repghostnet_0_5x".
        size: pixels of its input, e.g. 224 or "96x160".
        precision: of the build.
        variant: the instruction set.
        kind: whether a board ran it.
        ms: the median, or the estimate.
        low: the fastest, or the low end of the estimate's range.
        high: the 90th percentile, or the high end.
    """

    model: str
    size: int | str
    precision: str
    variant: str
    kind: Literal["measured", "estimated"]
    ms: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.kind == "measured":
            return f"measured {significant(self.ms, 3)}"
        return f"estimated {Estimate(self.ms, self.low, self.high)}"

    @property
    def short(self) -> str:
        """The milliseconds with the digits they deserve."""
        return significant(self.ms, 3) if self.kind == "measured" else digits(self.ms)


@cache
def _counted() -> dict[str, Any]:
    return dict(json.loads(COUNTED.read_text()))


def forget() -> None:
    """Read counted.json again at the next question, because it was written."""
    _counted.cache_clear()


def figures(board: Board, size: int) -> list[Figure]:
    """Return one figure for each network and precision that is known of a board, by network; the fastest variant's.

    Args:
        board: a row of `BOARDS`.
        size: pixels of the input.
    """
    found = [*_measured(_counted()["measured"], board), *_estimated(_counted()["counts"], board)]
    return best_of(figure for figure in found if figure.size == size)


def best_of(found: Iterable[Figure]) -> list[Figure]:
    """Return one figure for each network and precision, by network: a measured one before all estimates."""
    best: dict[tuple[str, str], Figure] = {}
    for figure in sorted(found, key=lambda it: (it.kind == "estimated", it.ms)):
        best.setdefault((figure.model, figure.precision), figure)
    return [best[key] for key in sorted(best)]


def sizes() -> list[int]:
    """Return the sizes of images whose figures are known."""
    return sorted({int(entry["size"]) for entry in _counted()["counts"]}, reverse=True)


def _measured(entries: Iterable[dict[str, Any]], board: Board) -> list[Figure]:
    return [
        Figure(it["model"], it["size"], it["precision"], it["variant"], "measured",
               it["median_ms"], it["min_ms"], it["p90_ms"])
        for it in entries if it["board"] == board.name
    ]  # fmt: skip


def _estimated(entries: Iterable[dict[str, Any]], board: Board) -> list[Figure]:
    return [
        Figure(it["model"], it["size"], it["precision"], it["variant"], "estimated", ms.ms, ms.low, ms.high)
        for it in entries for other, ms in estimates(it) if other == board
    ]  # fmt: skip
