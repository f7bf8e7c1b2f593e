"""The page of boards, the README's table and what is packaged for `repghost advise` are those of the committed JSON."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.boards import FOLDER, MARKERS, PAGE, SCHEMA, command, counted, read_sent
from benchmarks.pages.on_boards import render_devices, render_on_boards
from benchmarks.published_on_boards import PUBLISHED
from benchmarks.shared.documents import read_performance
from compile.cycles import widths
from compile.cycles.boards import BOARDS
from compile.storage.strict_json import canonical_json
from compile.summary.schema import submission_schema
from repghost.errors import IntegrityError
from tests.support import ROOT
from tests.support.submissions import submission

DOCS = ROOT / "docs"


def test_the_committed_page_table_and_figures_are_those_of_the_committed_json() -> None:
    sent = read_sent(DOCS)
    again = "make front writes them again"
    known = json.loads(json.dumps(counted(read_performance(DOCS), sent)))
    assert json.loads(widths.COUNTED.read_text()) == known, again
    assert (DOCS / PAGE).read_text() == render_on_boards(sent), again
    assert json.loads((DOCS / SCHEMA).read_text()) == submission_schema(), again
    readme = (ROOT / "README.md").read_text()
    assert MARKERS.replace(readme, render_devices("docs/"), "README.md") == readme, again


def test_the_table_is_short_and_its_introduction_is_markdown() -> None:
    about, _, table = render_devices("docs/").partition("| board |")
    assert max(map(len, about.splitlines())) <= 120 and about.count("`repghost advise") == 1
    assert "(docs/boards-model.md)" in about and "(docs/jetson.md)" in about and "{" not in about
    cells = [cell.strip() for line in table.splitlines()[2:] for cell in line.strip("|").split("|")]
    assert len(cells) == 6 * 13 and max(map(len, cells)) <= 45 and not any("published" in cell for cell in cells)


def test_a_measurement_takes_the_place_of_an_estimate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / FOLDER).mkdir()
    shutil.copy(DOCS / "performance.json", tmp_path)
    (tmp_path / FOLDER / "pi.json").write_bytes(canonical_json(submission(median_ms=8.25).to_dict()))
    of_32_bits = submission(target="armv7")  # is listed, and stands for no 64-bit build
    (tmp_path / FOLDER / "pi-32.json").write_bytes(canonical_json(replace(of_32_bits, made="2026-11-29").to_dict()))
    (tmp_path / "README.md").write_text(f"head\n{MARKERS.begin}\n{MARKERS.end}\n")
    monkeypatch.setattr(widths, "COUNTED", tmp_path / "counted.json")
    try:
        done = CliRunner().invoke(command, ["--docs", str(tmp_path), "--readme", str(tmp_path / "README.md")])
        assert done.exit_code == 0, done.output
        (pi,) = (it for it in widths.figures(BOARDS["raspberry-pi-4"], 224) if it.kind == "measured")
        assert (pi.model, pi.precision, pi.ms, pi.high) == ("repghostnet_0_5x", "int8", 8.25, 9.0)
    finally:
        widths.forget()
    page = (tmp_path / PAGE).read_text()
    assert "| **8.25** |" in page and "partly measured" in page and "97.00 % of 100, 100 to the bit" in page
    assert "Nothing yet" not in page and "pi.json" in page
    assert "partly measured" in (tmp_path / "README.md").read_text()


def test_a_submission_with_a_private_field_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    file = tmp_path / FOLDER / "pi.json"
    file.write_bytes(canonical_json({**submission().to_dict(), "serial": "100000003d1d1c36"}))
    with pytest.raises(IntegrityError, match=r"pi\.json: the keys \['serial'\] are missing or unknown"):
        read_sent(tmp_path)


def test_published_times_have_a_source_and_a_board() -> None:
    assert all(row.ms > 0 and row.source and row.network for row in PUBLISHED)
    assert {row.board for row in PUBLISHED if "-" in row.board and row.board.islower()} <= set(BOARDS)
