from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.readme_figures import MARKERS, command, render_figures
from compile.storage.stage_cache import ROOT
from repghost.errors import UsageError


def test_the_page_shows_the_figures_of_the_committed_json() -> None:
    text = (ROOT / "docs/figures.md").read_text()
    assert MARKERS.replace(text, render_figures(ROOT / "docs"), "figures.md") == text, "run: make front"


def test_one_changed_number_changes_the_figures(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs/rivals", tmp_path / "rivals")
    for name in ("accuracy.json", "performance.json"):
        shutil.copy(ROOT / "docs" / name, tmp_path)
    values = json.loads((tmp_path / "accuracy.json").read_text())
    values["networks"][0]["fp32"]["top1"] = 0.1234
    (tmp_path / "accuracy.json").write_text(json.dumps(values))
    assert "| 12.34 |" in render_figures(tmp_path) and "| 12.34 |" not in render_figures(ROOT / "docs")
    page = tmp_path / "figures.md"
    page.write_text(f"head\n{MARKERS.begin}\nold\n{MARKERS.end}\ntail\n")
    done = CliRunner().invoke(command, ["--docs", str(tmp_path), "--page", str(page)])
    assert done.exit_code == 0, done.output
    text = page.read_text()
    assert (
        text.startswith("head\n") and text.endswith(f"{MARKERS.end}\ntail\n") and "12.34" in text and "old" not in text
    )


@pytest.mark.parametrize(
    ("text", "words"), [("nothing", "lacks the line .<!-- figures"), (MARKERS.begin, "<!-- end of")]
)
def test_a_page_without_a_place_is_named(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        MARKERS.replace(text, "x\n", "README.md")
