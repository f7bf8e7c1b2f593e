"""The summary as one self-contained HTML file: no network, no framework, light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files

from compile.summary.advice import advice_by_heading
from compile.summary.collect import find_conflicts
from compile.summary.facts import Summary
from compile.summary.gate import gate_sentences
from compile.summary.pages.plots import all_plots
from compile.summary.tables import ABSENT, LAYERS, NO_WEIGHTS, all_tables
from repghost.tables import Cell, Column, Table

TITLE = "Which width, at which precision, for which machine"
BY_LAYER = "Layer by layer"
LONG = 20  # letters; longer texts are broken into lines, but not at every word


def render_page(summary: Summary, plots: Mapping[str, str] | None = None) -> str:
    """Return the whole file, with the figures of `all_plots`; they are drawn where they are not given."""
    style, script = ((files("compile.summary.pages") / name).read_text("utf-8") for name in ("page.css", "page.js"))
    # Nothing is loaded from anywhere; the policy makes the browser hold the page to it.
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    parts = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,">',
        f"<title>RepGhostNet: {TITLE.lower()}</title>",
        f"<style>\n{style}</style>",
        "</head>",
        "<body>",
        f"<h1>{TITLE}</h1>",
        *_advice(summary),
        *_body(summary, all_plots(summary) if plots is None else plots),
        *_missing(summary),
        *_sources(summary),
        f"<script>\n{script}</script>",
        "</body>",
        "</html>",
    ]
    return "\n".join(parts) + "\n"


def _advice(summary: Summary) -> list[str]:
    passed, missed = gate_sentences(summary)
    parts = [f'<p class="careful">{escape(sentence)}</p>' for sentence in (*missed, *find_conflicts(summary))]
    for heading, sentences in advice_by_heading(summary).items():
        parts += [f"<h3>{escape(heading)}</h3>", *_list(sentences)]
    parts += ["<h3>Accuracy</h3>", *_list(passed)] if passed else []
    parts += ["<h2>What changed</h2>", *_list(summary.comparison)] if summary.comparison else []
    return parts


def _list(sentences: Sequence[str]) -> list[str]:
    return ['<ul class="advice">', *[f"<li>{escape(sentence)}</li>" for sentence in sentences], "</ul>"]


def _body(summary: Summary, plots: Mapping[str, str]) -> list[str]:
    tables = all_tables(summary)
    folded = [table for table in tables if _is_folded(table)]
    targets: dict[str, str] = {}  # one link for each kind of table
    for table in tables:
        targets.setdefault(BY_LAYER if table in folded else table.title.partition(":")[0], table.name)
    links = [f'<a href="#{name}">{escape(title)}</a>' for title, name in targets.items()]
    parts = [f"<nav>{' · '.join(links)}</nav>", *_table(tables[0])]
    for title, svg in plots.items():
        drawing = svg[svg.index("<svg") :]  # without the XML head, which HTML has no use for
        parts.append(f"<figure>{drawing}<figcaption>{escape(title)}</figcaption></figure>")
    for table in tables[1:]:
        parts += [f"<h2>{BY_LAYER}</h2>"] if folded and table is folded[0] else []
        parts += _table(table)
    return parts


def _is_folded(table: Table) -> bool:
    """Return whether a table is long, and shown on demand."""
    return table.name.startswith(LAYERS)


def _table(table: Table) -> list[str]:
    heads = "".join(_head(column) for column in table.columns)
    rows = ["<tr>" + "".join(map(_cell, row, table.columns)) + "</tr>" for row in table.rows]
    folded = _is_folded(table)
    opening = [f'<details id="{table.name}"><summary>{escape(table.title)}</summary>'] if folded else [
        f'<h2 id="{table.name}">{escape(table.title)}</h2>'
    ]  # fmt: skip
    closing = ["</details>"] if folded else []
    return [
        *opening,
        f'<p class="about">{escape(table.about)}</p>',
        f'<div class="scroll" tabindex="0"><table><thead><tr>{heads}</tr></thead><tbody>',
        *rows,
        "</tbody></table></div>",
        *closing,
    ]


def _head(column: Column) -> str:
    unit = f" <small>{escape(column.unit)}</small>" if column.unit else ""
    kind = ' class="number"' if column.numeric else ""
    return f'<th scope="col"{kind}><button type="button">{escape(column.title)}{unit}</button></th>'


def _cell(cell: Cell, column: Column) -> str:
    classes = ["number"] if column.numeric else []
    if cell.text in (ABSENT, NO_WEIGHTS):
        classes = ["absent"]
    elif not column.numeric and len(cell.text) > LONG:
        classes = ["long"]
    attributes = f' class="{" ".join(classes)}"' if classes else ""
    attributes += "" if cell.value is None else f' data-value="{cell.value!r}"'
    attributes += f' title="{escape(cell.note)}"' if cell.note else ""
    return f"<td{attributes}>{escape(cell.text)}</td>"


def _missing(summary: Summary) -> list[str]:
    if not summary.missing:
        return []
    items = [f"<li>{escape(it.what)}. Measure it: <code>{escape(it.command)}</code></li>" for it in summary.missing]
    return ['<h2 id="missing">Not measured</h2>', "<ul>", *items, "</ul>"]


def _sources(summary: Summary) -> list[str]:
    items = [
        f"<li>{escape(source.name)} (<code>{source.sha256[:16]}</code>): {escape(source.about)}</li>"
        for source in summary.sources
    ]
    tools = ", ".join(f"{escape(name)} {escape(version)}" for name, version in summary.tools.items())
    made = f"<p>Made {escape(summary.made)} on {escape(summary.machine)}. Tools: {tools}.</p>"
    return ['<h2 id="sources">Where it comes from</h2>', made, "<ul>", *items, "</ul>"]
