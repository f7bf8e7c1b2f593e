"""A summary as files: the page, Markdown, CSV, JSON and the figures."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from compile.storage.strict_json import canonical_json, read_strict
from compile.summary.collect import SIZE_LIMIT
from compile.summary.facts import FORMAT, Summary
from compile.summary.pages.csv_sheet import render_csv
from compile.summary.pages.html import render_page
from compile.summary.pages.markdown import render_markdown
from compile.summary.pages.plots import all_plots
from compile.summary.schema import schema
from repghost.errors import UsageError
from repghost.files import write_bytes_atomically, write_text_atomically
from repghost.locks import locked

NAME = "report"
FORMATS = {"md": render_markdown, "csv": render_csv, "html": render_page}


def render(summary: Summary, form: str) -> str:
    """Return the summary in one of FORMATS, or as "json"."""
    return canonical_json(summary.to_dict()).decode() if form == "json" else FORMATS[form](summary)


def figure_files(titles: Iterable[str]) -> dict[str, str]:
    """Return the name of each figure's file by its title."""
    return {title: f"{re.sub('[^a-z0-9]+', '-', title.lower()).strip('-')}.svg" for title in titles}


def write_all(summary: Summary, folder: Path) -> list[Path]:
    """Write report.json, its schema, .md, .csv, .html and one SVG per figure; each file is whole or absent.

    The JSON is read back and everything else made from that, so that no page can know more than the JSON.
    """
    with locked(folder):  # the files belong together
        return _write_all(summary, folder)


def _write_all(summary: Summary, folder: Path) -> list[Path]:
    first = folder / f"{NAME}.json"
    write_bytes_atomically(first, canonical_json(summary.to_dict()))
    known = read_summary(first)
    plots = all_plots(known)
    figures = figure_files(plots)
    texts = {
        f"{NAME}.md": render_markdown(known, figures),
        f"{NAME}.csv": render_csv(known),
        f"{NAME}.html": render_page(known, plots),
    }
    texts[f"{NAME}.schema.json"] = canonical_json(schema()).decode()
    texts |= {figures[title]: svg for title, svg in plots.items()}
    for name, text in texts.items():
        write_text_atomically(folder / name, text)
    return [first, *[folder / name for name in texts]]


def is_summary(path: Path) -> bool:
    """Return whether a file says that it is a summary."""
    if not path.is_file():
        return False
    return read_strict(path, SIZE_LIMIT).get("format") == FORMAT


def read_summary(path: Path) -> Summary:
    """Read report.json of an earlier summary.

    Raises:
        UsageError: when there is none.
        IntegrityError: when it is something else, or damaged.
    """
    if not path.is_file():
        raise UsageError(f"{path} does not exist; 'repghost report PATHS -o DIR' writes DIR/{NAME}.json.")
    return Summary.from_dict(read_strict(path, SIZE_LIMIT), str(path))
