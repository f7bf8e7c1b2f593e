"""The summary as one self-contained HTML file: no network, no framework, light and dark."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from compile.summary.choices import device_table, find_choices
from compile.summary.collect import find_conflicts
from compile.summary.compare import WORSE
from compile.summary.facts import Summary
from compile.summary.gate import gate_in_one, gate_sentences
from compile.summary.page_tables import page_tables
from compile.summary.pages.first_screen import first_screen
from compile.summary.pages.plots import all_plots
from compile.summary.tables import ABSENT, NO_WEIGHTS
from repghost.svg_figure import BLUE, GREEN, INK, ORANGE, PURPLE
from repghost.tables import Cell, Column, Table, make_table

TITLE = "Which width, at which precision, for which machine"
CHARTS = "Latency, cycles, and what int8 changes"
LONG = 24  # letters; longer texts are broken into lines, but not at every word
# The figures take the colours of the page, which are legible in the light and in the dark.
COLOURS = {INK: "ink", BLUE: "blue", ORANGE: "orange", GREEN: "green", PURPLE: "purple"}


@dataclass(frozen=True)
class Fold:
    """A section that is shown on demand: what it is called, its place in links, and its lines."""

    title: str
    name: str
    lines: Sequence[str]
    open: bool = False


def render_page(summary: Summary, plots: Mapping[str, str] | None = None) -> str:
    """Return the whole file, with the figures of `all_plots`; they are drawn where they are not given."""
    style, script = ((files("compile.summary.pages") / name).read_text("utf-8") for name in ("page.css", "page.js"))
    # Nothing is loaded from anywhere; the policy makes the browser hold the page to it.
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    folds = _folds(summary)
    plots = all_plots(summary) if plots is None else plots
    charts = CHARTS if len(plots) == 3 else "Figures"
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
        '<header id="top">',
        f"<h1>{TITLE}</h1>",
        *_careful(summary),
        *first_screen(summary),
        *_devices(summary),
        "</header>",
        *_contents(charts if plots else "", folds),
        "<main>",
        *_charts(summary, charts, plots),
        *[line for fold in folds for line in _fold(fold)],
        "</main>",
        f"<script>\n{script}</script>",
        "</body>",
        "</html>",
    ]
    return "\n".join(parts) + "\n"


def _careful(summary: Summary) -> list[str]:
    sentences = (*gate_sentences(summary)[1], *find_conflicts(summary))
    return [f'<p class="careful">{escape(sentence)}</p>' for sentence in sentences]


def _contents(charts: str, folds: Sequence[Fold]) -> list[str]:
    links = [("top", "Which to take"), *([("charts", charts)] if charts else [])]
    links += [(fold.name, fold.title) for fold in folds]
    items = [f'<li><a href="#{name}">{escape(title)}</a></li>' for name, title in links]
    return ['<nav aria-label="Contents">', "<p>Contents</p>", "<ol>", *items, "</ol>", "</nav>"]


def _charts(summary: Summary, title: str, plots: Mapping[str, str]) -> list[str]:
    if not plots:
        return []
    parts = [f'<h2 id="charts">{title}</h2>', '<div class="charts">']
    for caption, svg in plots.items():
        parts.append(f"<figure><figcaption>{escape(caption)}</figcaption>{_inline(svg)}</figure>")
    sentence = gate_in_one(summary)
    return [*parts, *([f"<p>{escape(sentence)}</p>"] if sentence else []), "</div>"]


def _inline(svg: str) -> str:
    """Return a figure as a part of the page: without its head, its unused names, its own colours and fonts."""
    drawing = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    used = set(re.findall(r"#([\w-]+)", drawing))
    drawing = re.sub(r' id="([\w-]+)"', lambda found: found[0] if found[1] in used else "", drawing)
    for colour, name in COLOURS.items():
        drawing = drawing.replace(colour, f"var(--{name})")
    return re.sub(r"\n\s*", "\n", re.sub(r"font-family: [^;\"]*; ", "", drawing))


def _folds(summary: Summary) -> list[Fold]:
    folds = [Fold(table.title, table.name, _table(table)) for table in page_tables(summary)]
    worse = [sentence for sentence in summary.comparison if WORSE in sentence]
    rest = [sentence for sentence in summary.comparison if WORSE not in sentence]
    changed = (("What became worse", "worse", worse), ("What changed", "changed", rest))
    folds = [Fold(title, name, _list(found), open=found is worse) for title, name, found in changed if found] + folds
    if summary.layers:
        said = f"Layers of {len(summary.layers)} builds, with their work and error, are in report.json"
        csv, command = "<code>repghost report report.json -o DIR</code>", "<code>repghost explain BUNDLE</code>"
        lines = [f"<p>{said}; {csv} writes them as CSV, and {command} shows those of one build.</p>"]
        folds.append(Fold("Layer by layer", "layers", lines))
    if summary.missing:
        rows = [(it.what, it.command) for it in summary.missing]
        table = make_table(("what", "the command that measures it"), rows, "missing", "Not measured")
        folds.append(Fold(table.title, table.name, _table(table)))
    return [*folds, Fold("Where it comes from", "sources", _sources(summary))]


def _list(sentences: Sequence[str]) -> list[str]:
    return ["<ul>", *[f"<li>{escape(sentence)}</li>" for sentence in sentences], "</ul>"]


def _devices(summary: Summary) -> list[str]:
    """Return the table of all boards, open for who has no script."""
    table = device_table(find_choices(summary))
    return _fold(Fold("All boards in one table", table.name, _table(table), open=True)) if table.rows else []


def _fold(fold: Fold) -> list[str]:
    state = " open" if fold.open else ""
    return [f'<details id="{fold.name}"{state}><summary><h2>{escape(fold.title)}</h2></summary>', *fold.lines,
            "</details>"]  # fmt: skip


def _table(table: Table) -> list[str]:
    heads = "".join(map(_head, table.columns))
    about = [f'<p class="about">{escape(table.about)}</p>'] if table.about else []
    return [
        *about,
        f'<div class="scroll" tabindex="0"><table class="data"><thead><tr>{heads}</tr></thead><tbody>',
        *("<tr>" + "".join(map(_cell, row, table.columns)) + "</tr>" for row in table.rows),
        "</tbody></table></div>",
    ]


def _head(column: Column) -> str:
    unit = f" <small>{escape(column.unit)}</small>" if column.unit else ""
    kind = "" if column.numeric else ' class="t"'
    return f'<th scope="col"{kind}><button>{escape(column.title)}{unit}</button></th>'


def _cell(cell: Cell, column: Column) -> str:
    """Return a cell; a number has no attribute, because there are thousands of them."""
    kind = "" if column.numeric else ' class="t"'
    if cell.text in (ABSENT, NO_WEIGHTS):
        kind = ' class="absent"'
    elif not column.numeric and len(cell.text) > LONG:
        kind = ' class="t long"'
    note = f' title="{escape(cell.note)}"' if cell.note else ""
    return f"<td{kind}{note}>{escape(cell.text)}</td>"


def _sources(summary: Summary) -> list[str]:
    tools = ", ".join(f"{escape(name)} {escape(version)}" for name, version in summary.tools.items())
    made = f"<p>Made {escape(summary.made)} on {escape(summary.machine)}. Tools: {tools}.</p>"
    rows = [(source.name, source.sha256[:16], source.about) for source in summary.sources]
    return [made, *_table(make_table(("file", "sha256", "what it says"), rows))]
