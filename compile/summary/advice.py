"""Which network to take: the Pareto mark, and a plain sentence for each machine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compile.cycles.boards import BOARDS
from compile.summary.facts import OURS, Pixels, Speed, Summary, by_size
from compile.summary.published import NetworkFigures, published_figures

BUDGETS_MS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
INT8, FLOATS = "int8", ("fp32", "fp16")
OUR_FAMILY = "RepGhostNet"

# Units in the order of their sentences, times first: measured ms, ms estimated for a board from modelled cycles, and
# instructions counted under emulation, which compare widths only: those of two precisions do not take the same time.
TIMES = ("ms", "estimated")
UNITS = (*TIMES, "instructions")
Fastest = dict[tuple[str, str], Speed]  # by network and precision; of several instruction sets the best one


@dataclass(frozen=True)
class Advice:
    """Which build to take on one machine, in a sentence, and which of `UNITS` the figures behind it have."""

    unit: str
    sentence: str


def pareto(speeds: Sequence[Speed], figures: Mapping[str, NetworkFigures]) -> frozenset[Speed]:
    """Return the builds that no other build with as many threads beats in both time and published accuracy.

    int8 and float builds compete: what int8 costs in accuracy is measured in tenths of a point, and shown elsewhere.
    """
    known = [speed for speed in speeds if speed.model in figures]

    def beaten(speed: Speed) -> bool:
        top1 = figures[speed.model].top1
        return any(
            other.threads == speed.threads
            and other.value <= speed.value
            and figures[other.model].top1 >= top1
            and (other.value < speed.value or figures[other.model].top1 > top1)
            for other in known
        )

    return frozenset(speed for speed in known if not beaten(speed))


def advise(summary: Summary) -> list[Advice]:
    """Return a sentence for each machine: what fits a time, and which precision is faster; times first.

    Where no machine ran anything one size speaks for a machine, the one of most builds; the tables have them all.
    """
    groups: dict[tuple[str, str, Pixels, int], list[Speed]] = defaultdict(list)
    for speed in summary.speeds:
        if speed.runtime == OURS and speed.model in published_figures():
            unit = speed.kind if speed.kind in UNITS else speed.unit
            groups[unit, speed.machine, speed.size, speed.threads].append(speed)
    most = {key: len(speeds) for key, speeds in groups.items()}
    shown = [
        key
        for key in sorted(
            (key for key in groups if key[0] in UNITS),
            key=lambda key: (UNITS.index(key[0]), _place(key[1]), by_size(key[2]), key[3]),
        )
        if key[0] == "ms" or most[key] == max(most[other] for other in groups if other[:2] == key[:2])
    ]
    return [advice for key in shown if (advice := _advise(key, groups[key]))]


def _place(machine: str) -> tuple[int, str]:
    """Return what machines are sorted by: boards as in their table, others by name."""
    labels = [board.label for board in BOARDS.values()]
    return labels.index(machine) if machine in labels else len(labels), machine


def _advise(key: tuple[str, str, Pixels, int], speeds: Sequence[Speed]) -> Advice | None:
    unit, machine, size, threads = key
    fastest: Fastest = {}
    for speed in sorted(speeds, key=lambda speed: speed.value, reverse=True):
        fastest[speed.model, speed.precision] = speed
    parts = [_fitting(fastest), _precision(fastest)] if unit in TIMES else [_relative(fastest)]
    place = f"{machine}, {size} px, {threads} thread{'s' * (threads > 1)}"
    said = "; ".join(part for part in parts if part)
    return Advice(unit, f"On {place}: {said}.") if said else None


def _fitting(fastest: Fastest) -> str:
    """Return which width fits a time, for the times that tell widths apart, and what other network is better there."""
    chosen: list[tuple[float, Speed, Speed]] = []
    for budget in BUDGETS_MS:
        within = [speed for speed in fastest.values() if _surely(speed) <= budget]
        own = [speed for speed in within if published_figures()[speed.model].family == OUR_FAMILY]
        if own:
            take = max(own, key=_worth)
            if not chosen or take != chosen[-1][1]:
                chosen.append((budget, take, max(within, key=_worth)))
    return ", ".join(f"under {budget:g} ms take {_name(take)}{_better(take, best)}" for budget, take, best in chosen)


def _surely(speed: Speed) -> float:
    """Return the time a build stays under: of an estimate the high end of its range."""
    return speed.value if speed.kind != "estimated" or speed.high is None else speed.high


def _worth(speed: Speed) -> tuple[float, float]:
    return published_figures()[speed.model].top1, -speed.value


def _better(take: Speed, best: Speed) -> str:
    """Return by how much another network's published accuracy is above what is advised."""
    points = published_figures()[best.model].top1 - published_figures()[take.model].top1
    return f" ({_name(best)}: {points:.1f} points more, published)" if points > 0 else ""


def _name(speed: Speed) -> str:
    return f"{_label(speed.model)} {speed.precision}"


def _label(model: str) -> str:
    """Return a network's short name; the family is named where it is not ours."""
    figures = published_figures()[model]
    return figures.label if figures.family == OUR_FAMILY else f"{figures.family} {figures.label}"


def _precision(fastest: Fastest) -> str:
    """Return in words whether int8 pays beside the fastest float build of the same width."""
    ratios = {}
    for (model, precision), speed in fastest.items():
        floats = [fastest[model, name].value for name in FLOATS if (model, name) in fastest]
        if precision == INT8 and floats and published_figures()[model].family == OUR_FAMILY:
            ratios[model] = speed.value / min(floats)
    if not ratios:
        return ""
    low, high = min(ratios.values()), max(ratios.values())
    span = f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"
    if high < 1:
        return f"int8 takes {span} of the fastest float build's time: use int8"
    if low >= 1:
        return f"int8 takes {span} times the fastest float build's time: use float"
    names = ", ".join(_label(model) for model, ratio in ratios.items() if ratio >= 1)
    return f"int8 pays ({span} of the fastest float build's time) except for {names}"


def _relative(fastest: Fastest) -> str:
    """Return how our widths compare where no machine ran them, in the precision that takes least."""
    figures = published_figures()
    own = [speed for speed in fastest.values() if figures[speed.model].family == OUR_FAMILY]
    if not own:
        return ""
    precision = min(own, key=lambda speed: speed.value).precision
    base, *others = sorted((s for s in own if s.precision == precision), key=lambda speed: speed.value)
    ratios = ", ".join(f"{_label(speed.model)} {speed.value / base.value:.2f}" for speed in others)
    return f"as a multiple of {_label(base.model)} {precision}: {ratios}" if others else ""
