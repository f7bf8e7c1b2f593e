"""A sensitivity analysis as rows with the cost of float, as a text table, and as an SVG figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

from calib.analysis.sensitivity import Sensitivity
from repghost.errors import UsageError

FORMAT, VERSION = "repghost-sensitivity", 1
PROFILE_FORMAT = "repghost-profile"
HEADER = ("layer", "output in int8", "weights in int8", "of all", "of the work", "float costs, us")
SHOWN = 40  # rows of the figure: behind them the changes are too small to see
ROW, LEFT, WIDTH = 18, 250, 420  # pixels
# Okabe and Ito's colours, which the colour-blind can tell apart (https://jfly.uni-koeln.de/color/).
ACTIVATION, WEIGHT, INK = "#0072b2", "#d55e00", "#7a7a7a"


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
    """

    name: str
    activation: float | None
    weight: float | None
    share: float
    work: float | None
    price_us: float | None


def make_rows(
    entries: Sequence[Sensitivity], work: Mapping[str, float], prices: Mapping[str, float] | None = None
) -> tuple[Row, ...]:
    """Return a row for each entry, the most sensitive first.

    Args:
        entries: from `calib.analysis.sensitivity.measure_sensitivity`.
        work: from `repghost.graph.macs.shares_of_work`.
        prices: from `float_prices`, where they were measured.
    """
    total = sum(entry.total for entry in entries) or 1.0
    prices = prices or {}
    rows = [
        Row(it.name, it.activation, it.weight, it.total / total, work.get(it.name), prices.get(it.name))
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


def to_cells(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return the rows of a text table with its header; the price's column is left out where none is known."""
    columns = len(HEADER) if any(row.price_us is not None for row in rows) else len(HEADER) - 1
    cells = [
        (
            row.name,
            "" if row.activation is None else f"{row.activation:.2e}",
            "" if row.weight is None else f"{row.weight:.2e}",
            f"{row.share:.1%}",
            "" if row.work is None else f"{row.work:.1%}",
            "" if row.price_us is None else f"{row.price_us:+.1f}",
        )
        for row in rows
    ]
    return [line[:columns] for line in (HEADER, *cells)]


def to_svg(rows: Sequence[Row], title: str) -> str:
    """Return horizontal bars, the most sensitive layer on top, on whatever background the page has."""
    shown = rows[:SHOWN]
    largest = max(((row.activation or 0.0) + (row.weight or 0.0) for row in shown), default=0.0) or 1.0
    height = (len(shown) + 4) * ROW
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 130} {height}" '
        f'font-family="sans-serif" font-size="12" fill="{INK}">',
        f'<text x="8" y="{ROW}" font-size="14">{escape(title)}</text>',
        _legend(ACTIVATION, "output in int8", LEFT),
        _legend(WEIGHT, "weights in int8", LEFT + 140),
    ]
    for index, row in enumerate(shown):
        lines += _bar(row, (index + 3) * ROW, WIDTH / largest)
    lines.append("</svg>")
    return "\n".join(lines) + "\n"


def _legend(colour: str, text: str, x: int) -> str:
    y = 2 * ROW
    return (
        f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{colour}"/><text x="{x + 18}" y="{y}">{text}</text>'
    )


def _bar(row: Row, y: int, scale: float) -> list[str]:
    first, second = (max(value or 0.0, 0.0) * scale for value in (row.activation, row.weight))
    total = (row.activation or 0.0) + (row.weight or 0.0)
    return [
        f'<text x="{LEFT - 8}" y="{y}" text-anchor="end">{escape(row.name)}</text>',
        f'<rect x="{LEFT}" y="{y - 10}" width="{first:.1f}" height="12" fill="{ACTIVATION}"/>',
        f'<rect x="{LEFT + first:.1f}" y="{y - 10}" width="{second:.1f}" height="12" fill="{WEIGHT}"/>',
        f'<text x="{LEFT + first + second + 6:.1f}" y="{y}">{total:.1e} nats, {row.share:.0%}</text>',
    ]
