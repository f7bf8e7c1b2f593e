"""The page of `repghost explain --html`: every layer once, in its block, with its share of the cost and its error."""

from __future__ import annotations

import html.parser
import itertools
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import repghost
from benchmarks.shared.browser import INSTALL_HINT, find_browser
from benchmarks.shared.page import opened, served
from compile.passes.layers import Layer
from compile.report.layers_page import LayersPage, block_of, render_layers_page
from compile.storage.formats import REPORT
from repghost.cli import cli
from tests.support import ROOT
from tests.support.qdq_models import mini_net, save

PROBE = (ROOT / "tests/compile/summary/page_probe.js").read_text()


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("blocks.1.0.ghost1.primary", "blocks.1.0"), ("conv_stem", "conv_stem"), ("/layer1/0/conv1/Conv", "/layer1/0"),
        ("features.3.conv.0.0", "features.3"), ("input.quantize", "input"), ("stem.node", "stem"), ("7.weight", "7"),
    ],
)  # fmt: skip
def test_the_block_of_a_layer(name: str, block: str) -> None:
    assert block_of(name) == block


def layer(name: str, **fields: object) -> Layer:
    known = {"operator": "Conv2d", "input": (8, 8, 3), "output": (4, 4, 16), "macs": 100, "weight_bytes": 5}
    return Layer(name=name, **{**known, "arithmetic": "int32", **fields})  # type: ignore[arg-type]


def test_costs_and_errors_stand_beside_their_layers() -> None:
    layers = [layer("a.0.first"), layer("a.0.second", arithmetic="int16 + residual"), layer("head")]
    errors = {"a.0.first": 0.02, "head": 0.25}
    page = render_layers_page(LayersPage("t", ["said"], layers, [300.0, 0.0, 100.0], "cycles", errors))
    sections = re.findall(r"<section class='(.*?)'>.*?</section>", page, re.DOTALL)
    assert sections == ["block adds", "block"]
    assert "75.0% of the cost" in page and "largest error 2.0%" in page and "cycles, 400 in all" in page
    assert page.count("class=bad ") == 1  # of the strip; a layer without cost has no place in it
    assert page.count('<i class=bad style="flex:100"') == 1 and 'class="bar bad" title="25.0% of the signal"' in page
    assert "4 x 4 x 16" in page


def test_names_of_others_are_text() -> None:
    evil = "x<script>alert(1)</script>\x1b[2J\u202e"
    page = render_layers_page(LayersPage(evil, [evil], [layer(evil, reason=evil, kernel=evil)], [1.0], evil, {}))
    assert "<script" not in page and "\x1b" not in page and "\u202e" not in page


def test_a_page_is_whole_and_needs_nothing_else(tmp_path: Path) -> None:
    file = save(mini_net(), tmp_path)
    page = repghost.explain(file).to_html()
    tags: list[str] = []

    class Checked(html.parser.HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            tags.append(tag)
            led = {value for name, value in attributes if name in ("src", "href", "onclick")}
            assert led <= {"data:,"}, "an empty icon, which keeps browsers from asking for one"

    Checked().feed(page)
    assert tags.count("section") > 3 and "script" not in tags and "url(" not in page
    assert "error of int8 is not shown" in page


@pytest.mark.slow
def test_it_is_legible_on_every_screen(tmp_path: Path) -> None:
    browser = find_browser()
    if browser is None:
        pytest.skip(f"no Chromium: {INSTALL_HINT}, or: python -m tests.support.fetch")
    rows = [layer(f"blocks.{block}.0.ghost{step}.primary") for block in range(3) for step in (1, 2)]
    errors = {row.name: 0.03 * place for place, row in enumerate(rows)}
    (tmp_path / "page").mkdir()
    page = LayersPage("net: cost and error", ["x" * 64], rows, [1000.0 * it for it in range(6)], "cycles", errors)
    (tmp_path / "page/net.html").write_text(render_layers_page(page))
    with served(tmp_path / "page") as address, opened(browser, tmp_path / "profile") as shown:
        shown.open(f"{address}net.html")
        for (width, height), scheme in itertools.product(((1280, 720), (390, 844)), ("light", "dark")):
            shown.show_as(width, height, scheme)
            probe = shown.run(PROBE)
            assert (probe["faint"], probe["small"], probe["wide"]) == ([], [], 0), (width, scheme)
            shown.screenshot(ROOT / f"build/screenshots/explain-{width}-{scheme}.png")
        assert shown.console == []


def test_the_error_comes_from_the_report_of_the_same_network(tmp_path: Path) -> None:
    file = save(mini_net(), tmp_path)
    digest = repghost.explain(file).digest
    report = {
        "format": REPORT[0], "version": REPORT[1], "model": {"name": "n", "classes": 1}, "folder": ".", "builds": [],
        "programs": {},
        "quantization": {"program_digest": digest, "sqnr": {"pictures": 2, "decibels": {"stem.node": 20.0}}},
    }  # fmt: skip
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert repghost.explain(file).errors == {"stem.node": pytest.approx(0.1)}
    result = CliRunner().invoke(cli, ["explain", str(file), "--html", str(tmp_path / "page.html")])
    assert result.exit_code == 0 and f"written: {tmp_path}/page.html" in result.output
    assert 'title="10.0% of the signal"' in (tmp_path / "page.html").read_text()
    report["quantization"] = {"program_digest": "0" * 64, "sqnr": {"decibels": {"stem.node": 20.0}}}
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert repghost.explain(file).errors == {}
