"""The figures at the front of the README, made from docs/accuracy.json and docs/performance.json alone.

    python -m benchmarks.readme_figures [--docs DIR] [--readme FILE]

rewrites the lines between the two markers and nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.arm64_goals import MILLION, SIZE, find_count
from benchmarks.host_page import bar_rows
from benchmarks.performance_files import read_performance
from compile.bench.compare_page import of_rounds
from compile.storage.strict_json import parse_strict
from compile.summary.collect import SIZE_LIMIT
from compile.summary.facts import Method, Network
from compile.summary.sources import File
from compile.summary.sources.accuracy import read
from compile.summary.tables import first_method, percent, points
from repghost.errors import RepGhostError, UsageError
from repghost.files import write_text_atomically
from repghost.network.spec import WIDTHS

BEGIN, END = "<!-- figures: written by 'make front' -->", "<!-- end of figures -->"
# Precision and core of each column of counted instructions; on these cores the build takes these instruction sets.
COUNTED = (
    ("int8", "cortex-a72", "NEON"),
    ("int8", "cortex-a76", "dot-product"),
    ("int8", "max", "i8mm"),
    ("fp32", "cortex-a72", "NEON"),
    ("fp16", "cortex-a76", "half"),
)

OTHERS_ON = "cortex-a76"  # the core that other runtimes are compared on


def render_front(docs: Path) -> str:
    """Return the figures in Markdown.

    Args:
        docs: the folder of accuracy.json and performance.json.
    """
    path = docs / "accuracy.json"
    networks = read(File(parse_strict(path.read_bytes(), str(path), SIZE_LIMIT), path.name)).networks
    performance = read_performance(docs)
    others = _other_runtimes(docs, performance["arm64"]["rivals"]["rows"])
    parts = [_accuracy(networks), _latency(performance["host"]), _counts(performance["arm64"], others)]
    return "\n".join(line for part in parts for line in (*part, ""))


def _accuracy(networks: tuple[Network, ...]) -> list[str]:
    first = networks[0]
    images = first.fp32.pictures if first.fp32 else 0
    lines = [
        f"**Top-1 in percent**, {images:,} pictures of {first.data} at {first.size} px that chose nothing; the "
        "change in points with its paired 95 % interval. Training learns from labels, too, so it can pass float32; "
        "float32 trained on alike, every way to quantize, and other tools on the same pictures: "
        "[docs/accuracy.md](docs/accuracy.md), `make accuracy`.",
        "",
        "| width | float32 | int8, calibrated | change | int8, trained | change |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for network in networks:
        cells = [_width(network.model), percent(network.fp32.top1) if network.fp32 else "not measured"]
        for kind in ("ptq", "qat"):
            cells += _method(first_method(network, kind))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _width(model: str) -> str:
    return next((f"{row.multiplier:g}x" for row in WIDTHS if row.name == model), model)


def _method(method: Method | None) -> list[str]:
    if method is None or method.change is None:
        return ["not measured", "-"]
    change = method.change
    return [
        percent(method.share.top1),
        f"{points(change.difference)} ({points(change.low)} to {points(change.high)})",
    ]


def _latency(host: Mapping[str, Any]) -> list[str]:
    first = host["networks"][0]
    rows = [row for row in bar_rows(host) if row["threads"] == 1 and row["ours"]["precision"] == "int8"]
    best = {row["width"]: row for row in sorted(rows, key=lambda row: -of_rounds(row["ours"]))}
    lines = [
        f"**Milliseconds on {first['machine']['core']}**, one thread, {first['network']['size']} px, beside the "
        "fastest other runtime at any precision, in paired rounds: [docs/performance.md](docs/performance.md), "
        "`make bars`.",
        "",
        "| width | int8 | the fastest other | ratio |",
        "|---|---:|---:|---:|",
    ]
    for width, row in sorted(best.items()):
        other = f"{of_rounds(row['other']):.2f} ({row['other']['name']})"
        lines.append(f"| {width:g}x | {of_rounds(row['ours']):.2f} | {other} | {row['ratio']['median']:.2f} |")
    return lines


def _other_runtimes(docs: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[float, str]]]:
    """Return what other runtimes execute on OTHERS_ON, in millions, by network: from each file that counts them."""
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
    """Return the least of int8, and the least of all where that is another."""
    groups = ([other for other in others if other[1].endswith("int8")], others)
    best = dict.fromkeys(min(group) for group in groups if group)
    return ", ".join(f"{value:.1f} ({name})" for value, name in best) or "not counted"


def _counts(arm64: Mapping[str, Any], others: Mapping[str, Sequence[tuple[float, str]]]) -> list[str]:
    heads = [f"{precision}, {cpu} ({name})" for precision, cpu, name in COUNTED]
    lines = [
        "**Million instructions on emulated 64-bit ARM cores**, one inference at 224 px. No ARM board was reached, so "
        "there are no milliseconds; modelled cycles and other runtimes: [docs/performance.md](docs/performance.md), "
        "`make counts`.",
        "",
        f"| width | {' | '.join(heads)} | the least of others, {OTHERS_ON} |",
        f"|---|{'---:|' * len(heads)}---|",
    ]
    for width in WIDTHS:
        found = [find_count(arm64, width.multiplier, precision, cpu) for precision, cpu, _ in COUNTED]
        if any(found):
            cells = ["-" if count is None else f"{count['whole']['total'] / MILLION:.1f}" for count in found]
            other = _best_others(others.get(width.name, ()))
            lines.append(f"| {width.multiplier:g}x | {' | '.join(cells)} | {other} |")
    return lines


def put_front(text: str, figures: str, name: str) -> str:
    """Return a page with its figures between the markers replaced.

    Raises:
        UsageError: when the page has no place for them.
    """
    before, found, rest = text.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise UsageError(f"{name} lacks the line {(END if found else BEGIN)!r}, where the figures belong; add it.")
    return f"{before}{BEGIN}\n{figures}{END}{after}"


@click.command()
@click.option("--docs", default="docs", show_default=True, type=click.Path(path_type=Path, exists=True))
@click.option("--readme", default="README.md", show_default=True, type=click.Path(path_type=Path, exists=True))
def main(docs: Path, readme: Path) -> None:
    """Write the figures of today's JSON into the README."""
    try:
        write_text_atomically(readme, put_front(readme.read_text(), render_front(docs), str(readme)))
    except RepGhostError as error:
        raise SystemExit(f"error: {error}") from error
    click.echo(f"written: {readme}")


if __name__ == "__main__":
    main()
