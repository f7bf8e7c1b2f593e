"""The three figures of a summary, as SVG: narrow, so that their text can be read on a phone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from compile.cycles.boards import BOARDS, significant
from compile.summary.facts import OURS, Change, Method, Network, Pixels, Speed, Summary, by_size
from compile.summary.page_tables import core_order
from compile.summary.published import CLASSES, SAME, place, published_figures, short_name
from repghost.network.spec import WIDTHS
from repghost.svg_figure import BLUE, GREEN, INK, ORANGE, PURPLE, figure_style, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OUR_FAMILY = "RepGhostNet"
FAMILY_COLOURS = {OUR_FAMILY: ORANGE, "GhostNet": BLUE, "MobileNetV3": GREEN, "MobileNetV2": PURPLE}
FAMILY_MARKS = {OUR_FAMILY: "o", "GhostNet": "s", "MobileNetV3": "^", "MobileNetV2": "D"}
PRECISION_COLOURS = {"int8": ORANGE, "fp16": GREEN, "fp32": BLUE}
INT8 = "int8"
SHIFTED = "\nwith a bar: moved by int8's measured change, 95 %"
WIDTH, FONT = 4.8, 11  # inches and points: 346 points wide, so that text of 11 is no smaller on a phone of 390 pixels
# Cycles are drawn as what they are told in: the milliseconds of the boards that people buy.
_AXIS = {"ms": "latency", "estimated": "estimated latency", "instructions": "executed instructions"}
_AXIS_LABEL = {
    "ms": "measured median latency, ms",
    "estimated": "estimated latency, ms",
    "instructions": "million instructions",
}
GAP = 0.8  # between the bars of two cores, in bars
DRAWN_BOARDS = {board.label for board in BOARDS.values() if board.known_as and not board.like}
Group = tuple[str, Pixels, int, str]  # machine, size, threads, and a key of _AXIS


def all_plots(summary: Summary) -> dict[str, str]:
    """Return every figure that there is something to draw for: its title and the SVG."""
    found: dict[str, str] = {}
    groups = speed_groups(summary)
    if groups:
        key = drawn_group(groups)
        machine, size, threads, unit = key
        title = f"Published accuracy against {_AXIS[unit]}: {machine}, {size} px, {threads} thread{'s' * (threads > 1)}"
        found[title] = draw_pareto(groups[key], unit, int8_changes(summary, size))
    cycles = cycles_by_core(summary)
    if cycles:
        model, size = next(iter(cycles.values()))[INT8].model, next(iter(cycles.values()))[INT8].size
        found[f"Modelled cycles by core: {published_figures()[model].label}, {size} px"] = draw_cycles(cycles)
    changed = changed_networks(summary)
    if changed:
        found["What int8 changes, with 95 % intervals"] = draw_changes(changed, summary.max_drop)
    return found


def speed_groups(summary: Summary) -> dict[Group, list[Speed]]:
    """Return our builds of networks with a published accuracy, by machine, size, threads and unit.

    Of several instruction sets of one precision the fastest is kept; groups with fewer than three networks are none.
    """
    groups: dict[Group, dict[tuple[str, str], Speed]] = defaultdict(dict)
    for speed in summary.speeds:
        axis = speed.kind if speed.kind in _AXIS else speed.unit
        drawn = axis in _AXIS and (axis != "estimated" or speed.machine in DRAWN_BOARDS)
        if drawn and speed.runtime == OURS and speed.model in published_figures():
            group = groups[speed.machine, speed.size, speed.threads, axis]
            known = group.get((speed.model, speed.precision))
            if known is None or speed.value < known.value:
                group[speed.model, speed.precision] = speed
    return {key: list(group.values()) for key, group in groups.items() if len({s.model for s in group.values()}) > 2}


def drawn_group(groups: Mapping[Group, Sequence[Speed]]) -> Group:
    """Return the group that is drawn: a time before a count, then the one of most builds, then fewer threads."""
    units = list(_AXIS)
    return min(groups, key=lambda key: (units.index(key[3]), -len(groups[key]), key[2], by_size(key[1]), key[0]))


def int8_changes(summary: Summary, size: Pixels) -> dict[str, Change]:
    """Return by how much int8 changes the top-1 of networks of ImageNet, where it was measured at that size."""
    return {
        SAME.get(network.model, network.model): change
        for network in summary.networks
        if network.classes == CLASSES and network.size == size
        for method in network.methods[:1]
        if (change := method.change) is not None
    }


def draw_pareto(speeds: Sequence[Speed], unit: str, changes: Mapping[str, Change]) -> str:
    """Return top-1 against time or work: every family in int8, and ours in float32, too.

    Args:
        speeds: of networks with a published accuracy.
        unit: of all of them.
        changes: from `int8_changes`; an int8 build of such a network stands so far above or below what is published,
            with the interval of the change. All others stand at what is published for float32.
    """
    figures = published_figures()
    lines = _drawn_lines(speeds)
    with _figure(4.3) as (axes, finish):
        shown = False
        for (family, precision), members in sorted(lines.items(), key=_order):
            members.sort(key=lambda speed: speed.value)
            is_int8, colour = precision == INT8, FAMILY_COLOURS.get(family, INK)
            scale = 1e-6 if unit == "instructions" else 1.0
            found = [changes.get(speed.model) if is_int8 else None for speed in members]
            x = [speed.value * scale for speed in members]
            y = [figures[s.model].top1 + _points(change)[1] for s, change in zip(members, found, strict=True)]
            axes.plot(
                x, y, marker=FAMILY_MARKS.get(family, "d"), label=f"{family}, {precision}", color=colour,
                linestyle="-" if is_int8 else "--", markerfacecolor=None if is_int8 else "none", markersize=5,
            )  # fmt: skip
            for left, top, change in zip(x, y, found, strict=True):
                if change is not None:
                    low, middle, high = _points(change)
                    axes.errorbar([left], [top], [[middle - low], [high - middle]], capsize=4, color=colour)
                    shown = True
            if is_int8 and family == OUR_FAMILY:
                for speed, left, top in zip(members, x, y, strict=True):
                    axes.annotate(figures[speed.model].label, (left, top), (-6, 2), textcoords="offset points",
                                  ha="right", color=INK)  # fmt: skip
        axes.set_xlabel(_AXIS_LABEL[unit] + SHIFTED * shown)
        axes.set_ylabel("ImageNet top-1, %, published")
        _logarithmic(axes, [speed.value * scale for members in lines.values() for speed in members])
        axes.figure.legend(loc="outside lower center", ncols=2, handlelength=1.6, columnspacing=1)
        return finish()


def _drawn_lines(speeds: Sequence[Speed]) -> dict[tuple[str, str], list[Speed]]:
    """Return the builds by family and precision: int8 and our float32, and what a family has that has neither."""
    found: dict[tuple[str, str], list[Speed]] = defaultdict(list)
    for speed in speeds:
        found[published_figures()[speed.model].family, speed.precision].append(speed)
    chosen = {key for key in found if key[1] == INT8 or key == (OUR_FAMILY, "fp32")}
    families = {family for family, _ in chosen}
    return {key: members for key, members in found.items() if key in chosen or key[0] not in families}


def _logarithmic(axes: Axes, values: Sequence[float]) -> None:
    """Scale the x axis by powers of 2, wide enough for a name left of the least value."""
    from matplotlib.ticker import FuncFormatter

    axes.set_xscale("log", base=2)
    axes.set_xlim(min(values) / 1.6, max(values) * 1.12)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.margins(y=0.08)


def _points(change: Change | None) -> tuple[float, float, float]:
    """Return the low end, the middle and the high end of a change in percentage points; zeros for none."""
    return (0.0, 0.0, 0.0) if change is None else (100 * change.low, 100 * change.difference, 100 * change.high)


def _order(line: tuple[tuple[str, str], object]) -> tuple[int, int]:
    """Return where a line stands in the legend: our family first, int8 before float."""
    family, precision = line[0]
    return list(FAMILY_COLOURS).index(family), int(precision != INT8)


def cycles_by_core(summary: Summary) -> dict[str, dict[str, Speed]]:
    """Return, by core and precision, the modelled cycles of the width most cores know, the published 1x of equals."""
    widths = {row.name for row in WIDTHS}
    found = [it for it in summary.speeds if (it.unit, it.runtime) == ("cycles", OURS) and it.model in widths]
    counts = Counter((it.model, it.size) for it in found)
    if not counts:
        return {}
    model, size = max(counts, key=lambda key: (counts[key], published_figures()[key[0]].label == "1x", *place(key[0])))
    rows: dict[str, dict[str, Speed]] = defaultdict(dict)
    for speed in (it for it in found if (it.model, it.size) == (model, size)):
        known = rows[speed.machine].get(speed.precision)
        if known is None or speed.value < known.value:
            rows[speed.machine][speed.precision] = speed
    return {core: rows[core] for core in sorted(rows, key=core_order) if INT8 in rows[core]}


def draw_cycles(cores: Mapping[str, Mapping[str, Speed]]) -> str:
    """Return a bar for each core and precision, in million cycles."""
    bars = [
        (core, name, row[name].value / 1e6) for core, row in cores.items() for name in PRECISION_COLOURS if name in row
    ]
    steps = [index + list(cores).index(core) * GAP for index, (core, *_) in enumerate(bars)]  # down the page
    with _figure(1.0 + 0.17 * steps[-1]) as (axes, finish):
        for name, colour in PRECISION_COLOURS.items():
            members = [(step, value) for step, (_, of, value) in zip(steps, bars, strict=True) if of == name]
            if members:
                axes.barh([it[0] for it in members], [it[1] for it in members], 0.9, color=colour, label=name)
        for step, (_, _, value) in zip(steps, bars, strict=True):
            axes.annotate(significant(value, 3), (value, step), (3, 0), textcoords="offset points", va="center")
        middles = [np.mean([step for step, bar in zip(steps, bars, strict=True) if bar[0] == core]) for core in cores]
        axes.set_yticks(middles, [core.removesuffix(" model").partition(",")[0] for core in cores])
        axes.set_ylim(steps[-1] + 1, -1)
        axes.set_xlim(right=1.15 * max(value for *_, value in bars))
        axes.set_xlabel("million cycles")
        axes.grid(visible=False, axis="y")
        axes.figure.legend(loc="outside lower center", ncols=3)
        return finish()


def changed_networks(summary: Summary) -> list[tuple[Network, Method]]:
    """Return our networks whose default calibration was measured, with it; others where none of ours was."""
    found = [
        (network, method)
        for network in summary.networks
        for method in [it for it in network.methods if it.kind == "ptq"][:1]
        if method.change is not None and network.fp32 is not None
    ]
    own = [(network, method) for network, method in found if place(network.model)[0] < len(WIDTHS)]
    return own or found


def draw_changes(networks: Sequence[tuple[Network, Method]], max_drop: float | None) -> str:
    """Return the change from float32 to calibrated int8, in points with its 95 % interval, and what was allowed."""
    with _figure(1.1 + 0.3 * len(networks)) as (axes, finish):
        for index, (_, method) in enumerate(networks):
            low, middle, high = _points(method.change)
            reach = [[max(0.0, middle - low)], [max(0.0, high - middle)]]
            axes.errorbar([middle], [index], xerr=reach, fmt="o", capsize=3, color=ORANGE)
        axes.axvline(0, color=INK, linewidth=0.8)
        if max_drop is not None:
            axes.axvline(-max_drop, color=BLUE, linestyle="--", label=f"allowed: {-max_drop:+g}")
            axes.figure.legend(loc="outside lower center")
        labels = [short_name(network.model) for network, _ in networks]
        axes.set_yticks(range(len(networks)), labels)
        axes.set_ylim(len(networks) - 0.5, -0.5)
        axes.set_xlabel("change of top-1, points")
        return finish()


@contextmanager
def _figure(height: float) -> Iterator[tuple[Axes, Callable[[], str]]]:
    """Give the axes of a figure of so many inches, and a function that returns the finished SVG."""
    from matplotlib.figure import Figure

    with figure_style({"font.size": FONT, "legend.fontsize": FONT, "xtick.labelsize": FONT, "ytick.labelsize": FONT,
                       "axes.labelsize": FONT}):  # fmt: skip
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.add_subplot()
        axes.grid(color=INK, alpha=0.25, linewidth=0.6)
        yield axes, lambda: to_svg(figure)
