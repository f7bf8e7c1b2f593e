"""The first lines of docs/accuracy.md: every network in one table and one figure, from the document alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compile.accuracy.goals import GOALS, drop_points
from repghost.goals import evaluate
from repghost.svg_figure import BLUE, INK, ORANGE, figure_style, to_svg
from repghost.tables import make_table, markdown_lines

FIGURE = "accuracy.svg"
CALIBRATED, TRAINED = "calibrated", "trained"  # groups of rows; the first row of one is the default
ALT = "Points of top-1 that int8 loses, ours and the best other tool's, with 95 % intervals"


def name_of(network: Mapping[str, Any]) -> str:
    """Return what a row calls a network: its width, e.g. "0.5x", or its name."""
    return str(network["name"]) if network["width"] is None else f"{network['width']:g}x"


def overview(networks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what every network keeps by default calibration and training, beside the best other tool; the figure."""
    heads = ("network", "#float32", "#int8, calibrated", "#drop (95 %)", "#int8, trained", "best other tool",
             "#its drop (95 %)")  # fmt: skip
    rows = [
        (
            name_of(network), f"{network['fp32']['top1']:.2%}", *_cells(_first(network, CALIBRATED)),
            _cells(_first(network, TRAINED))[0], other["name"] if other else "-", _cells(other)[1],
        )
        for network in networks for other in [best_other(network)]
    ]  # fmt: skip
    lines = [*_kept(networks), *markdown_lines(make_table(heads, rows))]
    return [*lines, "", f"![{ALT}]({FIGURE})"] if drawn(networks) else lines


def _kept(networks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return how many networks lose no more than the goal by default calibration."""
    found = [row for network in networks if (row := _first(network, CALIBRATED))]
    if not found:
        return []
    goal = GOALS[CALIBRATED]
    kept = sum(evaluate(goal, row["change"]).reached for row in found)
    return [f"Int8 by default calibration loses at most {goal.limit:g} points on {kept} of {len(found)} networks.", ""]


def _first(network: Mapping[str, Any], group: str) -> Mapping[str, Any] | None:
    return next((row for row in network["rows"] if row["group"] == group and "change" in row), None)


def best_other(network: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the row of the best of the other tools that were compared with ours on the test images."""
    compared = {entry["other"] for entry in network["against"]}
    rows = [row for row in network["rows"] if row["name"] in compared and "change" in row]
    return max(rows, key=lambda row: row["top1"]["top1"], default=None)


def _cells(row: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return the accuracy of a row and its drop."""
    if row is None:
        return "not measured", "-"
    drop, low, high = drop_points(row["change"])
    return f"{row['top1']['top1']:.2%}", f"{drop + 0.0:.2f} ({low:.2f} to {high:.2f})"


def drawn(networks: Sequence[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any], Mapping[str, Any] | None]]:
    """Return what the figure shows: each network that was calibrated, with its default row and the best other one."""
    return [(name_of(it), row, best_other(it)) for it in networks if (row := _first(it, CALIBRATED))]


def draw_overview(networks: Sequence[Mapping[str, Any]]) -> str:
    """Return the drops of `drawn` as SVG."""
    from matplotlib.figure import Figure

    rows = drawn(networks)
    with figure_style({"font.size": 11}):
        figure = Figure(figsize=(4.8, 1.4 + 0.4 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        for shift, colour, mark, label in (
            (-0.15, ORANGE, "o", "ours, calibrated"),
            (0.15, BLUE, "s", "best other tool"),
        ):
            for place, row in enumerate(row if shift < 0 else other for _, row, other in rows):
                if row is not None:
                    drop, low, high = drop_points(row["change"])
                    reach = [[max(0.0, drop - low)], [max(0.0, high - drop)]]
                    axes.errorbar([drop], [place + shift], xerr=reach, fmt=mark, capsize=3, color=colour, label=label)
                    label = ""
        axes.axvline(0, color=INK, linewidth=0.8)
        limit = GOALS[CALIBRATED].limit
        axes.axvline(limit, color=INK, linestyle="--", label=f"goal: at most {limit:g}")
        axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel("points of top-1 lost")
        axes.grid(axis="x", color=INK, alpha=0.25)
        figure.legend(loc="outside lower center", ncols=2)
        return to_svg(figure)
