"""Every format of the page as it was once looked at. Written again by: REPGHOST_GOLDEN=write pytest THIS_FILE."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from compile.report.card import render_card
from compile.summary.collect import collect, find_files
from compile.summary.facts import Summary
from compile.summary.output import render, write_all
from compile.summary.pages.plots import all_plots
from tests.support.summary_cases import NAMES, run_report, write_runs

GOLDEN = Path(__file__).parent / "golden"
DROPS = (0.001, 0.002, 0.05)  # the last one misses the gate
SVG = re.compile("<svg.*?</svg>", re.DOTALL)


@pytest.fixture
def summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Summary:
    monkeypatch.chdir(tmp_path)  # so that the sources are named without the folder of the test
    reports = [run_report(name, DROPS[index], 1.5 * (index + 1)) for index, name in enumerate(NAMES)]
    found = collect(find_files([write_runs(Path("build"), *reports)]), max_drop=0.3)
    return replace(found, made="2026-01-01T00:00:00+00:00", machine="the machine of the test")


def compare(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("REPGHOST_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("form", ["md", "csv", "json"])
def test_text_is_as_it_was(summary: Summary, form: str) -> None:
    compare(f"report.{form}", render(summary, form))


def test_page_is_as_it_was(summary: Summary) -> None:
    """Drawings are left out: matplotlib's versions write them in their own ways."""
    compare("report.html", SVG.sub("<svg></svg>", render(summary, "html")))


def test_figures_say_what_they_said(summary: Summary) -> None:
    """What is written at the axes is chosen by matplotlib, and left out."""
    lines = []
    for title, svg in all_plots(summary).items():
        words = [word.strip() for word in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]
        lines += [title, *[f"  {word}" for word in words if re.search("[a-z]", word)]]
    compare("figures.txt", "\n".join(lines) + "\n")


def test_model_card_is_as_it_was() -> None:
    report = run_report(NAMES[0], DROPS[0], 1.5)
    compare("card.md", render_card(report, report["builds"][0]))


def test_written_page_shows_the_figures_beside_it(summary: Summary, tmp_path: Path) -> None:
    write_all(summary, tmp_path / "page")
    shown = re.findall(r"^- \[[^]]*\]\((.+)\)$", (tmp_path / "page" / "report.md").read_text(), re.MULTILINE)
    assert sorted(shown) == sorted(path.name for path in (tmp_path / "page").glob("*.svg")) and shown
    assert ".svg" not in render(summary, "md")
