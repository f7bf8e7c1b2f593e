"""The figures of a summary, as SVG that takes the colours of the page around it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from compile.cycles.boards import BOARDS
from compile.summary.facts import OURS, Change, Method, Network, Pixels, Speed, Summary, by_size
from compile.summary.published import CLASSES, SAME, published_figures
from repghost.svg_figure import BLUE, GREEN, INK, ORANGE, PURPLE, figure_style, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FAMILY_COLOURS = {"RepGhostNet": ORANGE, "GhostNet": BLUE, "MobileNetV3": GREEN, "MobileNetV2": PURPLE}
PRECISION_MARKS = {"int8": "o", "fp32": "s", "fp16": "^"}
INT8 = "int8"
SHIFTED = "\nint8 with an interval: the published accuracy moved by int8's change, measured here"
METHOD_COLOURS = {"fp32": INK, "ptq": BLUE, "qat": ORANGE}


def all_plots(summary: Summary) -> dict[str, str]:
    """Return every figure that there is something to draw for: its title and the SVG."""
    found: dict[str, str] = {}
    for key, speeds in speed_groups(summary).items():
        machine, size, threads, unit = key  # a key of _AXIS
        title = f"Published accuracy against {_AXIS[unit]}: {machine}, {size} px, {threads} thread{'s' * (threads > 1)}"
        found[title] = draw_pareto(speeds, unit, int8_changes(summary, size))
    evaluated = [network for network in summary.networks if network.fp32 is not None and network.methods]
    if evaluated:
        found["What int8 keeps, with 95 % intervals of the change"] = draw_changes(evaluated)
    return found


# Cycles are drawn as what they are told in: the milliseconds of the boards that people buy.
_AXIS = {"ms": "latency", "estimated": "estimated latency", "instructions": "executed instructions"}
_AXIS_LABEL = {"ms": "median latency, ms", "estimated": "estimated latency, ms", "instructions": "million instructions"}
DRAWN_BOARDS = {board.label for board in BOARDS.values() if board.known_as and not board.like}


def speed_groups(summary: Summary) -> dict[tuple[str, Pixels, int, str], list[Speed]]:
    """Return our builds of networks with a published accuracy, by machine, size, threads and unit.

    Of several instruction sets of one precision the fastest is kept; groups with fewer than three networks have no
    figure.
    """
    groups: dict[tuple[str, Pixels, int, str], dict[tuple[str, str], Speed]] = defaultdict(dict)
    for speed in summary.speeds:
        axis = speed.kind if speed.kind in _AXIS else speed.unit
        drawn = axis in _AXIS and (axis != "estimated" or speed.machine in DRAWN_BOARDS)
        if drawn and speed.runtime == OURS and speed.model in published_figures():
            group = groups[speed.machine, speed.size, speed.threads, axis]
            known = group.get((speed.model, speed.precision))
            if known is None or speed.value < known.value:
                group[speed.model, speed.precision] = speed
    enough = {key: list(group.values()) for key, group in groups.items() if len({s.model for s in group.values()}) > 2}
    return dict(sorted(enough.items(), key=lambda item: (item[0][0], by_size(item[0][1]), *item[0][2:])))


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
    """Return top-1 against time or work, one line per family and precision.

    Args:
        speeds: of networks with a published accuracy.
        unit: of all of them.
        changes: from `int8_changes`; an int8 build of such a network stands so far above or below what is published,
            with the interval of the change. All others stand at what is published for float32.
    """
    figures = published_figures()
    with _figure(7.5, 4.6) as (axes, finish):
        lines: dict[tuple[str, str], list[Speed]] = defaultdict(list)
        for speed in speeds:
            lines[figures[speed.model].family, speed.precision].append(speed)
        shown = False
        for (family, precision), members in sorted(lines.items(), key=_order):
            members.sort(key=lambda speed: speed.value)
            is_int8, colour = precision == INT8, FAMILY_COLOURS.get(family, INK)
            scale = 1e-6 if unit == "instructions" else 1.0
            found = [changes.get(speed.model) if is_int8 else None for speed in members]
            x = [speed.value * scale for speed in members]
            y = [figures[s.model].top1 + _points(change)[1] for s, change in zip(members, found, strict=True)]
            axes.plot(
                x, y, marker=PRECISION_MARKS.get(precision, "d"), label=f"{family}, {precision}", color=colour,
                linestyle="-" if is_int8 else "--", markerfacecolor=None if is_int8 else "none",
            )  # fmt: skip
            for left, top, change in zip(x, y, found, strict=True):
                if change is not None:
                    low, middle, high = _points(change)
                    axes.errorbar([left], [top], [[middle - low], [high - middle]], capsize=4, color=colour)
                    shown = True
            if is_int8:  # ours are named to the left of their line, the others to the right of theirs
                place, side = ((-4, 6), "right") if family == "RepGhostNet" else ((5, -10), "left")
                for speed, left, top in zip(members, x, y, strict=True):
                    axes.annotate(figures[speed.model].label, (left, top), place, textcoords="offset points",
                                  ha=side, fontsize=8, color=colour)  # fmt: skip
        axes.set_xlabel(_AXIS_LABEL[unit] + SHIFTED * shown)
        axes.set_ylabel("ImageNet top-1, %, published (float32)")
        axes.set_xlim(left=0)
        axes.margins(y=0.08)
        axes.figure.legend(loc="outside lower center", ncols=4, fontsize=9)
        return finish()


def _points(change: Change | None) -> tuple[float, float, float]:
    """Return the low end, the middle and the high end of a change in percentage points; zeros for none."""
    return (0.0, 0.0, 0.0) if change is None else (100 * change.low, 100 * change.difference, 100 * change.high)


def _order(line: tuple[tuple[str, str], object]) -> tuple[int, int]:
    """Return where a line stands in the legend: our family first, int8 before float."""
    family, precision = line[0]
    return list(FAMILY_COLOURS).index(family), list(PRECISION_MARKS).index(precision)


def shown_methods(network: Network) -> list[Method]:
    """Return what stands for a network in the figure: the first calibrated method, and every trained one."""
    known = [method for method in network.methods if method.change is not None]
    return [*[method for method in known if method.kind == "ptq"][:1], *[it for it in known if it.kind == "qat"]]


def draw_changes(networks: Sequence[Network]) -> str:
    """Return the change from float32 to int8, calibrated and trained, in points with its 95 % interval."""
    rows = [
        (f"{network.model.removeprefix('repghostnet_').replace('_', '.')} {method.name}", method)
        for network in networks
        for method in shown_methods(network)
    ]
    with _figure(7.5, 1.2 + 0.32 * len(rows)) as (axes, finish):
        for index, (_, method) in enumerate(rows):
            change = method.change
            if change is None:
                continue
            middle = 100 * change.difference
            reach = [[max(0.0, middle - 100 * change.low)], [max(0.0, 100 * change.high - middle)]]
            axes.errorbar([middle], [index], xerr=reach, fmt="o", capsize=3, color=METHOD_COLOURS[method.kind])
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.invert_yaxis()
        axes.set_xlabel("change of top-1, points")
        return finish()


@contextmanager
def _figure(width: float, height: float) -> Iterator[tuple[Axes, Callable[[], str]]]:
    """Give the axes of a figure of so many inches, and a function that returns the finished SVG."""
    from matplotlib.figure import Figure

    with figure_style({"font.size": 11}):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
        axes.grid(color=INK, alpha=0.25, linewidth=0.6)
        yield axes, lambda: to_svg(figure)
