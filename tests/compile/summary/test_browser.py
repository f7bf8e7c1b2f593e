"""The page in a real browser. Images of it are kept in build/screenshots, to be looked at."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.shared.browser import INSTALL_HINT, Browser, find_browser
from compile.storage.strict_json import canonical_json
from compile.summary.collect import collect, find_files
from compile.summary.facts import Summary
from compile.summary.output import write_all
from compile.summary.pages.html import render_page
from compile.summary.tables import all_tables
from repghost.network.spec import WIDTHS
from tests.support import ROOT
from tests.support.summary_cases import NAMES, run_report, write_runs

SCREENSHOTS = ROOT / "build" / "screenshots"
SIZES = {"desktop": (1280, 1600), "phone": (390, 844)}


@pytest.fixture(scope="module")
def browser() -> Browser:
    found = find_browser()
    if found is None:
        pytest.skip(f"no Chromium: {INSTALL_HINT}, or: python -m tests.support.fetch")
    return found


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    reports = [run_report(name, 0.002, 1.5 * (index + 1)) for index, name in enumerate(NAMES)]
    return collect(find_files([write_runs(tmp_path_factory.mktemp("runs") / "build", *reports)]), max_drop=0.3)


def answer(browser: Browser, page: str, script: str, folder: Path) -> Any:
    """Open a page, run a script in it, and return the JSON value it computes; a message on the console fails."""
    extra = f"<script>document.title = JSON.stringify((() => {{ {script} }})());</script></body>"
    file = folder / "page.html"
    file.write_text(page.replace("</body>", extra))
    done = browser.run(["--dump-dom", file.as_uri()], folder / "profile")
    assert "CONSOLE" not in done.stderr
    (title,) = re.findall("<title>(.*?)</title>", done.stdout, re.DOTALL)
    return json.loads(title.replace("&quot;", '"').replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))


def test_a_table_sorts_by_a_press_on_its_head(browser: Browser, summary: Summary, tmp_path: Path) -> None:
    script = (
        "const t = document.querySelector('table'); const b = t.tHead.rows[0].cells[3].querySelector('button');"
        "b.click(); b.click(); return [...t.tBodies[0].rows].map(r => r.cells[0].textContent);"
    )
    expected = [f"{width.multiplier:g}x" for width in sorted(WIDTHS, key=lambda row: -row.top1)]
    assert answer(browser, render_page(summary), script, tmp_path) == expected


def test_every_number_that_is_shown_is_that_of_the_json(browser: Browser, summary: Summary, tmp_path: Path) -> None:
    written = Summary.from_dict(json.loads(canonical_json(summary.to_dict())), "report.json")
    expected = [[[cell.text, cell.value] for row in table.rows for cell in row] for table in all_tables(written)]
    script = (
        "return [...document.querySelectorAll('table')].map(t => [...t.tBodies[0].querySelectorAll('td, th')].map("
        "c => [c.textContent, c.dataset.value === undefined ? null : Number(c.dataset.value)]));"
    )
    assert answer(browser, render_page(summary), script, tmp_path) == expected


@pytest.mark.parametrize("device", SIZES)
def test_image_of_the_page_is_kept(browser: Browser, summary: Summary, tmp_path: Path, device: str) -> None:
    write_all(summary, tmp_path / "report")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    width, height = SIZES[device]
    path = SCREENSHOTS / f"report-{device}.png"
    page = (tmp_path / "report" / "report.html").as_uri()
    browser.run([f"--screenshot={path}", f"--window-size={width},{height}", page], tmp_path / "profile")
    image = np.asarray(Image.open(path).convert("L"))
    assert image.shape == (height, width)
    assert np.unique(image).size > 20  # text and a figure, not an empty page
