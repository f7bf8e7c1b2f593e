"""The summary as Markdown, for a repository."""

from __future__ import annotations

from compile.summary.advice import advise
from compile.summary.collect import find_conflicts
from compile.summary.facts import Summary
from compile.summary.gate import gate_sentences
from compile.summary.tables import LAYERS, Cell, Table, all_tables


def render_markdown(summary: Summary) -> str:
    """Return the page without its figures."""
    lines = ["# Which width, at which precision, for which machine", ""]
    lines += [f"- {sentence}" for sentence in advise(summary)]
    passed, missed = gate_sentences(summary)
    lines += [f"- {sentence}" for sentence in passed]
    for sentence in (*missed, *find_conflicts(summary)):
        lines += ["", f"**Careful**: {sentence}"]
    if summary.comparison:
        lines += ["", "## What changed", "", *[f"- {sentence}" for sentence in summary.comparison]]
    tables = all_tables(summary)
    for table in tables:
        if not table.name.startswith(LAYERS):
            lines += ["", *_table(table)]
    if any(table.name.startswith(LAYERS) for table in tables):
        lines += ["", "Layer by layer: in the page and in the CSV."]
    if summary.missing:
        lines += ["", "## Not measured", ""]
        lines += [f"- {item.what}. Measure it: `{item.command}`" for item in summary.missing]
    lines += ["", "## Where it comes from", "", f"Made {summary.made} on {summary.machine}.", ""]
    lines += [f"- {source.name} (`{source.sha256[:16]}`): {source.about}" for source in summary.sources]
    tools = ", ".join(f"{name} {version}" for name, version in summary.tools.items())
    return "\n".join([*lines, "", f"Tools: {tools}."]) + "\n"


def _table(table: Table) -> list[str]:
    heads = [f"{column.title} ({column.unit})" if column.unit else column.title for column in table.columns]
    ruler = "|".join("---:" if column.numeric else "---" for column in table.columns)
    rows = [f"| {' | '.join(_text(cell) for cell in row)} |" for row in table.rows]
    return [f"## {table.title}", "", table.about, "", f"| {' | '.join(heads)} |", f"|{ruler}|", *rows]


def _text(cell: Cell) -> str:
    return cell.text.replace("|", "\\|")
