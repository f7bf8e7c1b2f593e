"""The summary as Markdown, for a repository."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from compile.summary.advice import advice_by_heading
from compile.summary.collect import find_conflicts
from compile.summary.facts import Summary
from compile.summary.gate import gate_sentences
from compile.summary.tables import LAYERS, all_tables
from repghost.tables import markdown_lines


def render_markdown(summary: Summary, figures: Mapping[str, str] | None = None) -> str:
    """Return the page.

    Args:
        summary: everything it shows.
        figures: files beside the page by their titles; a page that is printed has none.
    """
    lines = ["# Which width, at which precision, for which machine"]
    passed, missed = gate_sentences(summary)
    for sentence in (*missed, *find_conflicts(summary)):
        lines += ["", f"**Careful**: {sentence}"]
    for heading, sentences in advice_by_heading(summary).items():
        lines += _list(heading, sentences)
    lines += _list("Accuracy", passed) if passed else []
    lines += _list("What changed", summary.comparison) if summary.comparison else []
    tables = all_tables(summary)
    for index, table in enumerate(tables):
        if not table.name.startswith(LAYERS):
            lines += ["", *markdown_lines(table)]
        if index == 0:
            for title, file in (figures or {}).items():
                lines += ["", f"![{title}]({file})", "", title]
    if any(table.name.startswith(LAYERS) for table in tables):
        lines += ["", "Layer by layer: in the page and in the CSV."]
    if summary.missing:
        lines += ["", "## Not measured", ""]
        lines += [f"- {item.what}. Measure it: `{item.command}`" for item in summary.missing]
    lines += ["", "## Where it comes from", "", f"Made {summary.made} on {summary.machine}.", ""]
    lines += [f"- {source.name} (`{source.sha256[:16]}`): {source.about}" for source in summary.sources]
    tools = ", ".join(f"{name} {version}" for name, version in summary.tools.items())
    return "\n".join([*lines, "", f"Tools: {tools}."]) + "\n"


def _list(heading: str, sentences: Sequence[str]) -> list[str]:
    return ["", f"## {heading}", "", *[f"- {sentence}" for sentence in sentences]]
