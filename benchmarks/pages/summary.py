"""The first lines of docs/performance.md: every width in one table and one figure, from docs/performance.json alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.pages.host import HostRow, host_rows
from benchmarks.shared.documents import PAGE_FILE, Markers, Section, read_performance, write_section
from benchmarks.shared.goals import MILLION, SIZE, count_path
from compile.bench.compare_page import of_rounds
from compile.cycles.boards import BOARDS, Board, estimate
from compile.targets.precisions import FP32, INT8
from repghost.files import write_text_atomically
from repghost.goals import find
from repghost.network.spec import WIDTHS
from repghost.svg_figure import BLUE, INK, ORANGE, figure_style, to_svg
from repghost.tables import make_table, markdown_lines

FIGURE = "performance.svg"
SUMMARY = Markers("<!-- summary: written with every section -->", "<!-- end of summary -->", "the summary belongs")
# Boards that most readers have, and the emulated core that executes the code of theirs.
SHOWN = {"raspberry-pi-3": "cortex-a72", "raspberry-pi-4": "cortex-a72", "raspberry-pi-5": "cortex-a76"}


def write_performance(docs: Path, section: Section, value: Mapping[str, Any]) -> None:
    """Replace one part of docs/performance.json and .md, then the summary of all parts and its figure.

    Raises:
        UsageError: when the page has no place for the part.
    """
    write_section(docs, section, value)
    write_summary(docs)


def write_summary(docs: Path) -> None:
    """Write the summary of all parts into docs/performance.md, where it has a place for it, and its figure."""
    document, page = read_performance(docs), docs / PAGE_FILE
    text = page.read_text()
    if SUMMARY.begin in text:
        write_text_atomically(page, SUMMARY.replace(text, render_summary(document), str(page)))
        if "host" in document:
            write_text_atomically(docs / FIGURE, draw_summary(document))


def render_summary(document: Mapping[str, Any]) -> str:
    """Return the table of every width in Markdown.

    Args:
        document: docs/performance.json; what it lacks is a dash.
    """
    heads = (
        "width", "#int8 here, ms", "#of the fastest other", "#fp32 here, ms", "#int8, M instructions on a Cortex-A76",
        *(f"#{BOARDS[name].label}, estimated ms" for name in SHOWN),
    )  # fmt: skip
    times = fastest_rows(document["host"]) if "host" in document else {}
    rows = [(f"{row.multiplier:g}x", *_cells(document, row.multiplier, times)) for row in WIDTHS]
    return "\n".join(
        [
            f"One image of {SIZE} px, one thread. **Here** is the host below, measured, int8 beside the fastest other "
            "runtime at any precision. **Instructions** are counted under emulation. **Boards** are estimates with "
            "their range ([boards-model.md](boards-model.md)): no board was reached.",
            "",
            *markdown_lines(make_table(heads, rows)),
            "",
            f"![Milliseconds of every width on the host: our int8, our fp32, the fastest other runtime]({FIGURE})",
        ]
    )


def fastest_rows(host: Mapping[str, Any]) -> dict[tuple[str, str], HostRow]:
    """Return the fastest row of each width and precision at one thread.

    Args:
        host: the part of docs/performance.json.
    """
    best: dict[tuple[str, str], HostRow] = {}
    for row in host_rows(host):
        key = (row.network, str(row.ours["precision"]))
        if row.threads == 1 and (key not in best or of_rounds(row.ours) < of_rounds(best[key].ours)):
            best[key] = row
    return best


def draw_summary(document: Mapping[str, Any]) -> str:
    """Return the milliseconds of every width on the host as SVG, both axes logarithmic."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    times = fastest_rows(document["host"])
    widths = [row.multiplier for row in WIDTHS if (f"{row.multiplier:g}x", INT8.name) in times]
    int8 = [times[f"{width:g}x", INT8.name] for width in widths]
    fp32 = [times[f"{width:g}x", FP32.name] for width in widths]
    lines = (
        ("the fastest other in fp32", [of_rounds(row.other) for row in fp32], BLUE, "s--"),
        ("our fp32", [of_rounds(row.ours) for row in fp32], BLUE, "s-"),
        ("the fastest other at any precision", [of_rounds(row.other) for row in int8], INK, "o--"),
        ("our int8", [of_rounds(row.ours) for row in int8], ORANGE, "o-"),
    )
    with figure_style({"font.size": 10}):
        figure = Figure(figsize=(7, 3.6), layout="constrained")
        axes = figure.subplots()
        for label, values, colour, look in lines:
            axes.plot(widths, values, look, color=colour, label=label, markersize=5)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.set_xticks(widths, [f"{width:g}x" for width in widths])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{ms:g}"))
        axes.set_ylabel(f"ms, {SIZE} px, one thread")
        axes.grid(axis="y", color=INK, alpha=0.25)
        axes.legend()
        return to_svg(figure)


def _cells(document: Mapping[str, Any], width: float, times: Mapping[tuple[str, str], HostRow]) -> tuple[str, ...]:
    int8, fp32 = (times.get((f"{width:g}x", precision.name)) for precision in (INT8, FP32))
    total = find(document, ("arm64", *count_path(width, INT8.name, "cortex-a76"), "whole", "total"))
    return (
        "-" if int8 is None else f"{of_rounds(int8.ours):.2f}",
        "-" if int8 is None else f"{int8.ratio['median']:.2f} ({int8.other['name']})",
        "-" if fp32 is None else f"{of_rounds(fp32.ours):.2f}",
        "-" if total is None else f"{total / MILLION:.1f}",
        *(_estimated(document, width, BOARDS[name], cpu) for name, cpu in SHOWN.items()),
    )


def _estimated(document: Mapping[str, Any], width: float, board: Board, cpu: str) -> str:
    whole = find(document, ("arm64", *count_path(width, INT8.name, cpu), "whole"))
    if whole is None:
        return "-"
    misses = {int(size): int(lines) for size, lines in whole.get("lines_missed", {}).items()}
    found = estimate(board, whole["modelled_cycles"], misses)
    return "-" if found is None else str(found)
