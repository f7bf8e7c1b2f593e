"""The tables of docs/figures.md, made from docs/accuracy.json, docs/performance.json and docs/rivals alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.pages.host import HostRow, host_rows
from benchmarks.shared.command import run_command
from benchmarks.shared.documents import Markers, read_performance
from benchmarks.shared.goals import MILLION, SIZE, count_path
from compile.accuracy.page import training_note
from compile.bench.compare_page import of_rounds
from compile.storage.strict_json import parse_strict
from compile.summary.collect import SIZE_LIMIT
from compile.summary.facts import Method, Network
from compile.summary.sources import File
from compile.summary.sources.accuracy import read
from compile.summary.tables import first_method, percent, points
from compile.targets.precisions import INT8
from repghost.files import write_text_atomically
from repghost.goals import find
from repghost.network.spec import WIDTHS
from repghost.tables import make_table, markdown_lines

MARKERS = Markers("<!-- figures: written by 'make front' -->", "<!-- end of figures -->", "the figures belong")
# Precision and core of each column of counted instructions; on these cores the build takes these instruction sets.
COUNTED = (
    ("int8", "cortex-a72", "NEON"),
    ("int8", "cortex-a76", "dot-product"),
    ("int8", "max", "i8mm"),
    ("fp32", "cortex-a72", "NEON"),
    ("fp16", "cortex-a76", "half"),
)

OTHERS_ON = "cortex-a76"  # the core that other runtimes are compared on


def render_figures(docs: Path) -> str:
    """Return the figures in Markdown.

    Args:
        docs: the folder of accuracy.json and performance.json.
    """
    path = docs / "accuracy.json"
    accuracy = parse_strict(path.read_bytes(), str(path), SIZE_LIMIT)
    networks = read(File(accuracy, path.name)).networks
    performance = read_performance(docs)
    others = _other_runtimes(docs, performance["arm64"]["rivals"]["rows"])
    parts = [
        _accuracy(networks, training_note(accuracy["networks"])),
        _latency(performance["host"]),
        _counts(performance["arm64"], others),
    ]
    return "\n\n".join("\n".join(part) for part in parts)


def _accuracy(networks: tuple[Network, ...], note: str) -> list[str]:
    first = networks[0]
    images = first.fp32.pictures if first.fp32 else 0
    about = (
        f"**Top-1 in percent**, {images:,} pictures of {first.data} at {first.size} px that chose nothing; the "
        "change in points with its paired 95 % interval. Training learns from labels, too, so it can pass float32; "
        "float32 trained on alike, every way to quantize, and other tools on the same pictures: "
        f"[accuracy.md](accuracy.md), `make accuracy`. {note}"
    ).strip()
    rows = [
        (
            _width(network.model),
            percent(network.fp32.top1) if network.fp32 else "not measured",
            *_method(first_method(network, "ptq")),
            *_method(first_method(network, "qat")),
        )
        for network in networks
    ]
    heads = ("width", "#float32", "#int8, calibrated", "#change", "#int8, trained", "#change")
    return markdown_lines(make_table(heads, rows, about=about))


def _width(model: str) -> str:
    return next((f"{row.multiplier:g}x" for row in WIDTHS if row.name == model), model)


def _method(method: Method | None) -> tuple[str, str]:
    if method is None or method.change is None:
        return "not measured", "-"
    change = method.change
    return percent(method.share.top1), f"{points(change.difference)} ({points(change.low)} to {points(change.high)})"


def _latency(host: Mapping[str, Any]) -> list[str]:
    first = host["networks"][0]
    best: dict[str, HostRow] = {}
    for row in host_rows(host):
        if row.threads == 1 and row.ours["precision"] == INT8.name:
            best[row.network] = min(row, best.get(row.network, row), key=lambda row: of_rounds(row.ours))
    about = (
        f"**Milliseconds on {first['machine']['core']}**, one thread, {first['network']['size']} px, beside the "
        "fastest other runtime at any precision, in paired rounds: [performance.md](performance.md), "
        "`make bars`."
    )
    rows = [
        (
            width,
            f"{of_rounds(row.ours):.2f}",
            f"{of_rounds(row.other):.2f} ({row.other['name']})",
            f"{row.ratio['median']:.2f}",
        )
        for width, row in best.items()
    ]
    return markdown_lines(make_table(("width", "#int8", "#the fastest other", "#ratio"), rows, about=about))


def _other_runtimes(docs: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[float, str]]]:
    """Return millions of instructions and the runtime, by network: what others execute on OTHERS_ON."""
    found: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for width in WIDTHS:
        for row in rows:
            figures = row.get(f"{width.multiplier:.1f}", {})
            if OTHERS_ON in figures:
                name = row["runtime"].lower().replace(" ", "")
                found[width.name].append((float(figures[OTHERS_ON]), f"{name} {row['precision']}"))
    for path in sorted((docs / "rivals").glob("*.json")):
        counts = parse_strict(path.read_bytes(), str(path), SIZE_LIMIT)
        if (counts["cpu"], counts["size"]) == (OTHERS_ON, SIZE):
            for entry in counts["results"]:
                total = entry["whole"]["total"] / MILLION
                found[counts["model"]].append((total, f"{entry['runtime']} {entry['precision']}"))
    return found


def _best_others(others: Sequence[tuple[float, str]]) -> str:
    """Return the fewest instructions of int8, and of any precision where that is fewer."""
    groups = ([other for other in others if other[1].endswith("int8")], others)
    best = dict.fromkeys(min(group) for group in groups if group)
    return ", ".join(f"{value:.1f} ({name})" for value, name in best) or "not counted"


def _counts(arm64: Mapping[str, Any], others: Mapping[str, Sequence[tuple[float, str]]]) -> list[str]:
    about = (
        "**Million instructions on emulated 64-bit ARM cores**, one inference at 224 px. No ARM board was reached: "
        "milliseconds of boards are estimates with [their errors](boards-model.md) in [widths](widths/report.md); "
        "other runtimes: [performance.md](performance.md)."
    )
    rows = []
    for width in WIDTHS:
        paths = [count_path(width.multiplier, precision, cpu) for precision, cpu, _ in COUNTED]
        found = [find(arm64, (*path, "whole", "total")) for path in paths]
        if any(found):
            cells = ["-" if total is None else f"{total / MILLION:.1f}" for total in found]
            rows.append((f"{width.multiplier:g}x", *cells, _best_others(others.get(width.name, ()))))
    counted = [f"#{precision}, {cpu} ({name})" for precision, cpu, name in COUNTED]
    return markdown_lines(make_table(("width", *counted, f"the least of others, {OTHERS_ON}"), rows, about=about))


@click.command("readme_figures")
@click.option(
    "--docs",
    default="docs",
    show_default=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The folder of the JSON files.",
)
@click.option("--page", default="docs/figures.md", show_default=True, type=click.Path(path_type=Path, exists=True))
def command(docs: Path, page: Path) -> None:
    """Write the figures of today's JSON into their page."""
    write_text_atomically(page, MARKERS.replace(page.read_text(), render_figures(docs), str(page)))
    click.echo(f"written: {page}")


if __name__ == "__main__":
    run_command(command)
