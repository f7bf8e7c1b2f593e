"""What is committed under docs: read by the report, free of this machine's paths, and each page as its JSON says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from compile.storage.stage_cache import ROOT
from compile.summary.collect import collect, find_conflicts, find_files
from compile.summary.output import figure_files, read_summary
from compile.summary.pages.html import render_page
from compile.summary.pages.markdown import render_markdown
from compile.summary.pages.plots import all_plots
from compile.summary.tables import all_tables

SVG = re.compile("<svg.*?</svg>", re.DOTALL)
DOCS = ROOT / "docs"
FILES = sorted(DOCS.rglob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(DOCS)) for path in FILES])
def test_no_json_names_a_folder_of_a_machine(path: Path) -> None:
    assert not re.findall(r'"(?:/(?:tmp|home|root|work|usr|opt|var)/|[A-Z]:\\\\)[^"]*"', path.read_text())


@pytest.mark.slow
def test_the_page_over_widths_is_that_of_its_json() -> None:
    folder = DOCS / "widths"
    summary = read_summary(folder / "report.json")
    figures = figure_files(all_plots(summary))
    assert (folder / "report.md").read_text() == render_markdown(summary, figures)
    assert {path.name for path in folder.glob("*.svg")} == set(figures.values())
    page = (folder / "report.html").read_text()  # matplotlib's versions draw in their own ways
    assert SVG.sub("", page) == SVG.sub("", render_page(summary))


def test_the_page_is_small_and_its_summary_is_one_screen() -> None:
    assert (DOCS / "widths/report.html").stat().st_size < 300_000
    page, summary = (DOCS / "widths/report.html").read_text(), (DOCS / "widths/report.md").read_text()
    assert 1 <= page.count("<svg") <= 3
    assert len(summary.splitlines()) <= 45 and "](report.html)" in summary
    assert not re.search(r"87\.50?", page) and "7 of 8" in page


def test_no_sentence_of_the_page_repeats_another() -> None:
    page = (DOCS / "widths/report.html").read_text()
    before = page[: page.index('<details id="widths"')]  # what is open, each board's answers aside
    sentences = re.findall(r"<(?:p|li)[^>]*>(.*?)</(?:p|li)>", re.sub("<section.*?</section>", "", before, flags=re.S))
    assert len(sentences) > 10 and len(sentences) == len(set(sentences))


def test_docs_themselves_can_be_reported_on() -> None:
    summary = collect(find_files([DOCS]))
    assert len({source.format for source in summary.sources}) == 4
    assert find_conflicts(summary) == []
    (accuracy,) = [table for table in all_tables(summary) if table.name == "accuracy"]
    assert any(row[2].text.startswith("TensorRT, symmetric") for row in accuracy.rows)


def test_every_json_of_docs_is_read_or_said_to_be_shown_elsewhere() -> None:
    files = [path for path in FILES if path.name != "report.json" and ".schema." not in path.name]
    sources = {source.name: source.about for source in collect(files).sources}
    assert set(sources) == {str(path) for path in files}
    assert "docs/qat.md" in sources[str(DOCS / "qat.json")]
