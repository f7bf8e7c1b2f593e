"""The summary as Markdown, for a repository and a terminal: one screen, and where the rest is."""

from __future__ import annotations

from collections.abc import Mapping

from compile.summary.choices import device_table, find_choices
from compile.summary.collect import find_conflicts
from compile.summary.compare import WORSE
from compile.summary.facts import Summary
from compile.summary.gate import gate_in_one, gate_sentences
from compile.summary.tables import change_table
from repghost.tables import markdown_lines

SHOWN_CHANGES = 8  # sentences on what changed; the page has all of them
FEW = 3  # networks whose accuracy the screen has room for; the page has all of them
REST = (
    "[report.html](report.html) is the page: a board is picked there, and it has every table. report.json holds "
    "everything it knows; `repghost report report.json -o DIR` writes every number in full as CSV."
)
UNWRITTEN = "`repghost report PATHS -o DIR` writes the page with every table, and every number as CSV and JSON."


def render_markdown(summary: Summary, figures: Mapping[str, str] | None = None) -> str:
    """Return the page.

    Args:
        summary: everything it shows.
        figures: files beside the page by their titles; a page that is printed has none.
    """
    lines = ["# Which width, at which precision, for which machine"]
    for sentence in (*gate_sentences(summary)[1], *find_conflicts(summary)):
        lines += ["", f"**Careful**: {sentence}"]
    lines += ["", UNWRITTEN if figures is None else REST]
    lines += _changed(summary)
    devices, changes = device_table(find_choices(summary)), change_table(summary)
    lines += ["", *markdown_lines(devices)] if devices.rows else []
    lines += ["", *markdown_lines(changes)] if 0 < len(changes.rows) <= FEW else []
    said = gate_in_one(summary)
    lines += ["", said] if said else []
    lines += ["", "Figures:", "", *(f"- [{title}]({file})" for title, file in figures.items())] if figures else []
    tools = ", ".join(f"{name} {version}" for name, version in summary.tools.items())
    count = len(summary.sources)
    made = f"Made {summary.made} on {summary.machine}, from {count} file{'s' * (count != 1)}. Tools: {tools}."
    lines += ["", made]
    return "\n".join(lines) + "\n"


def _changed(summary: Summary) -> list[str]:
    """Return what changed, the worst first, as far as a screen has room."""
    sentences = sorted(summary.comparison, key=lambda sentence: WORSE not in sentence)
    more = len(sentences) - SHOWN_CHANGES
    shown = [f"- {sentence}" for sentence in sentences[:SHOWN_CHANGES]]
    shown += [f"- and {more} more, in the page"] if more > 0 else []
    return ["", "## What changed", "", *shown] if shown else []
