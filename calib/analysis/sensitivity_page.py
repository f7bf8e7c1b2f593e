"""A sensitivity analysis as rows with the cost of float and of 16 bits, as a text table, and as an SVG figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from calib.analysis.sensitivity import Sensitivity
from repghost.errors import UsageError
from repghost.svg_figure import BLUE, ORANGE, figure_style
from repghost.svg_figure import to_svg as figure_svg
from repghost.tables import Table, make_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT, VERSION = "repghost-sensitivity", 1
PROFILE_FORMAT = "repghost-profile"
HEADS = (
    "layer", "#output in int8", "#weights in int8", "#of all", "#of the work", "#gain in 16 bits", "#costs",
    "#float costs, us",
)  # fmt: skip
SHOWN = 40  # rows of the figure: behind them the changes are too small to see
LOOK = {"font.size": 10, "text.parse_math": False, "axes.spines.bottom": False}
ROW_INCHES, BAR_HEIGHT, LABEL_ROOM = 0.25, 0.7, 1.3  # of the figure; shares of a row and of the longest bar


@dataclass(frozen=True)
class Row:
    """One layer or tensor.

    Attributes:
        name: of the layer.
        activation: divergence in nats with its output alone in int8; None where it has none.
        weight: the same with its weights.
        share: of the sum over all rows.
        work: share of the network's multiply-adds; None where it has none.
        price_us: microseconds that it takes longer in float than in int8; None where it was not measured.
        gain: nats by which the answers come nearer to the float network's where it reads 16 bits and the rest is int8;
            None where it cannot, or does.
        instructions: estimated share of the network's by which they grow then (`calib.analysis.wide_cost`).
    """

    name: str
    activation: float | None
    weight: float | None
    share: float
    work: float | None
    price_us: float | None
    gain: float | None = None
    instructions: float | None = None


def make_rows(
    entries: Sequence[Sensitivity],
    work: Mapping[str, float],
    prices: Mapping[str, float] | None = None,
    gains: Mapping[str, float] | None = None,
    costs: Mapping[str, float] | None = None,
) -> tuple[Row, ...]:
    """Return a row for each entry, the most sensitive first.

    Args:
        entries: from `calib.analysis.sensitivity.measure_sensitivity`.
        work: from `repghost.graph.macs.shares_of_work`.
        prices: from `float_prices`, where they were measured.
        gains: from `calib.analysis.wide_gain.measure_wide_gains`, where a layer can read 16 bits.
        costs: from `calib.analysis.wide_cost.added_shares`.
    """
    total = sum(entry.total for entry in entries) or 1.0
    prices, gains, costs = prices or {}, gains or {}, costs or {}
    rows = [
        Row(
            it.name,
            it.activation,
            it.weight,
            it.total / total,
            work.get(it.name),
            prices.get(it.name),
            gains.get(it.name),
            costs.get(it.name) if it.name in gains else None,
        )
        for it in entries
    ]
    return tuple(sorted(rows, key=lambda row: (-row.share, row.name)))


def float_prices(integer: Mapping[str, Any], real: Mapping[str, Any]) -> dict[str, float]:
    """Return how many microseconds longer each layer takes in float than in int8.

    Args:
        integer: the profile of an int8 bundle, from `repghost bench BUNDLE --per-layer --json FILE`.
        real: that of the fp32 bundle of the same network on the same machine.

    Raises:
        UsageError: when they are not two such profiles.
    """
    for profile, precision in ((integer, "int8"), (real, "fp32")):
        if profile.get("format") != PROFILE_FORMAT or profile.get("precision") != precision:
            raise UsageError(
                f"a profile of the {precision} bundle is needed, not {profile.get('format')!r} of precision "
                f"{profile.get('precision')!r}. Write it with `repghost bench BUNDLE --per-layer --json FILE`."
            )
    for key in ("model", "size"):
        if integer.get(key) != real.get(key):
            raise UsageError(f"the profiles have different {key}s: {integer.get(key)!r} and {real.get(key)!r}.")
    times = {str(layer["name"]): float(layer["min_us"]) for layer in integer["layers"]}
    return {
        str(layer["name"]): float(layer["min_us"]) - times[str(layer["name"])]
        for layer in real["layers"]
        if str(layer["name"]) in times
    }


def to_dict(rows: Sequence[Row], about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON form: what was measured on what, and the rows."""
    return {"format": FORMAT, "version": VERSION, **about, "unit": "nats", "layers": [asdict(row) for row in rows]}


def to_table(rows: Sequence[Row]) -> Table:
    """Return the rows as a table; columns of what is known of no layer are left out."""
    known = [True] * 5 + [
        any(getattr(row, field) is not None for row in rows) for field in ("gain", "instructions", "price_us")
    ]
    cells = [
        (
            row.name,
            "" if row.activation is None else f"{row.activation:.2e}",
            "" if row.weight is None else f"{row.weight:.2e}",
            f"{row.share:.1%}",
            "" if row.work is None else f"{row.work:.1%}",
            "" if row.gain is None else f"{row.gain:+.2e}",
            "" if row.instructions is None else f"{row.instructions:+.1%}",
            "" if row.price_us is None else f"{row.price_us:+.1f}",
        )
        for row in rows
    ]
    heads, *lines = ([cell for cell, shown in zip(line, known, strict=True) if shown] for line in (HEADS, *cells))
    return make_table(heads, lines)


def to_svg(rows: Sequence[Row], title: str) -> str:
    """Return the figure of `to_figure` as SVG, on whatever background the page has."""
    with figure_style(LOOK):
        return figure_svg(to_figure(rows, title))


def to_figure(rows: Sequence[Row], title: str, kind: type[Figure] | None = None) -> Figure:
    """Return a figure of horizontal bars, the most sensitive layer on top.

    Args:
        rows: from `make_rows`.
        title: above the bars.
        kind: the class of the figure, where it is not matplotlib's own.
    """
    from matplotlib.figure import Figure

    shown = rows[:SHOWN]
    places = range(len(shown))
    outputs = [max(row.activation or 0.0, 0.0) for row in shown]
    weights = [max(row.weight or 0.0, 0.0) for row in shown]
    with figure_style(LOOK):
        figure = (kind or Figure)(figsize=(8.4, 0.75 + ROW_INCHES * len(shown)), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        axes = figure.add_subplot()
        first = axes.barh(places, outputs, BAR_HEIGHT, color=BLUE, label="output in int8")
        second = axes.barh(places, weights, BAR_HEIGHT, left=outputs, color=ORANGE, label="weights in int8")
        for place in places:
            first[place].set_gid(f"output-{place}")
            second[place].set_gid(f"weights-{place}")
        totals = [f"{(row.activation or 0.0) + (row.weight or 0.0):.1e} nats, {row.share:.0%}" for row in shown]
        axes.bar_label(second, totals, padding=5)
        axes.set_yticks(places, [row.name for row in shown])
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_visible(False)
        longest = max((output + weight for output, weight in zip(outputs, weights, strict=True)), default=0.0)
        axes.set_xlim(0, LABEL_ROOM * (longest or 1.0))
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
        return figure
