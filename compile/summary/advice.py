"""Which network to take: the Pareto mark, and a plain sentence for each machine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from compile.summary.facts import OURS, Speed, Summary
from compile.summary.published import NetworkFigures, published_figures

BUDGETS_MS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)


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


def advise(summary: Summary) -> list[str]:
    """Return one or two sentences for each machine: what fits a time, and which precision is faster."""
    groups: dict[tuple[str, str, int, int, str], list[Speed]] = defaultdict(list)
    for speed in summary.speeds:
        if speed.runtime == OURS and speed.model in published_figures():
            groups[speed.where, speed.machine, speed.size, speed.threads, speed.unit].append(speed)
    return [sentence for key in sorted(groups) for sentence in _advise(key, groups[key])]


def _advise(key: tuple[str, str, int, int, str], speeds: Sequence[Speed]) -> list[str]:
    _, machine, size, threads, unit = key
    place = f"{machine}, {size} px, {threads} thread{'s' * (threads > 1)}"
    fastest: dict[tuple[str, str], Speed] = {}
    for speed in sorted(speeds, key=lambda speed: speed.value, reverse=True):
        fastest[speed.model, speed.precision] = speed  # of several instruction sets the best one stays
    found = _fitting(place, list(fastest.values())) if unit == "ms" else _relative(place, unit, fastest)
    # Instructions of different precisions do not cost the same: a count recommends nothing.
    return found if unit == "instructions" else [*found, *_precision(place, fastest)]


def _fitting(place: str, speeds: Sequence[Speed]) -> list[str]:
    """Return which width fits a time, for the times that tell widths apart."""
    figures = published_figures()
    chosen: list[tuple[float, Speed]] = []
    for budget in BUDGETS_MS:
        within = [speed for speed in speeds if speed.value <= budget]
        if within:
            take = max(within, key=lambda speed: (figures[speed.model].top1, -speed.value))
            if not chosen or take != chosen[-1][1]:
                chosen.append((budget, take))
    parts = [f"under {budget:g} ms take {figures[take.model].label} {take.precision}" for budget, take in chosen]
    return [f"On {place}: {'; '.join(parts)}."] if parts else []


def _relative(place: str, unit: str, fastest: Mapping[tuple[str, str], Speed]) -> list[str]:
    """Return how the widths compare where no machine ran them."""
    figures = published_figures()
    own = sorted((s for s in fastest.values() if figures[s.model].family == "RepGhostNet"), key=lambda s: s.value)
    if len(own) < 2:
        return []
    base = own[0]
    others = [f"{figures[s.model].label} {s.precision} {s.value / base.value:.2f}" for s in own[1:]]
    name = f"{figures[base.model].label} {base.precision}"
    return [f"On {place}, {unit} as a multiple of {name}: {', '.join(others)}. No machine ran it: no milliseconds."]


def _precision(place: str, fastest: Mapping[tuple[str, str], Speed]) -> list[str]:
    """Return in words whether int8 pays."""
    ratios = {
        model: fastest[model, "int8"].value / speed.value
        for (model, precision), speed in fastest.items()
        if precision == "fp32" and (model, "int8") in fastest
    }
    if not ratios:
        return []
    low, high = min(ratios.values()), max(ratios.values())
    span = f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"
    if high < 1:
        return [f"On {place}, int8 takes {span} of the float32 build's time or work: use int8."]
    if low >= 1:
        return [f"On {place}, int8 is slower ({span} of float32): use float32."]
    labels = [published_figures()[model].label for model, ratio in ratios.items() if ratio >= 1]
    return [f"On {place}, int8 pays except for {', '.join(labels)}, where float32 is as fast."]
