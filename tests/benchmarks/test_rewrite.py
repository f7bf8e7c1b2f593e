"""The pages of performance and accuracy are those of their JSON, and begin with one table and one figure."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.rewrite import ACCURACY, SECTIONS, command
from benchmarks.shared.goals import goals_in_one
from repghost.goals import Goal, evaluate
from tests.support import ROOT

PAGES = ("performance.md", "accuracy.md", "imagenet-sample/accuracy.md", "flowers/accuracy.md")
TABLE = re.compile(r"^\|[-:|]+\|$", re.MULTILINE)


@pytest.mark.slow
def test_rewriting_measures_nothing_and_changes_nothing(tmp_path: Path) -> None:
    names = [*PAGES, "performance.json", *(f"{folder}/accuracy.json" for folder in ACCURACY)]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / "docs" / name, tmp_path / name)
    done = CliRunner().invoke(command, ["--docs", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert [name for name in names if (tmp_path / name).read_text() != (ROOT / "docs" / name).read_text()] == []
    assert (tmp_path / "performance.svg").is_file() and (tmp_path / "imagenet-sample/accuracy.svg").is_file()


def test_a_page_begins_with_one_table_and_one_figure_and_folds_the_rest() -> None:
    for name in PAGES:
        page = (ROOT / "docs" / name).read_text()
        opened = re.sub("<details.*?</details>", "", page, flags=re.DOTALL)
        assert (len(TABLE.findall(opened)), opened.count("![")) == (1, 1), name
        assert len(opened.split()) < 650 and len(TABLE.findall(page)) > 3
        assert opened.index("![") < page.index("<details")
        assert page.count("<details") == page.count("</details>")


def test_every_section_says_in_one_line_what_it_comes_to() -> None:
    assert all(section.says for section in SECTIONS)
    goals = [Goal("a time", 2, where=("a",), subject="x"), Goal("a time", 2, where=("b",), subject="y")]
    outcomes = [evaluate(goal, {"a": 1, "b": 2.5}) for goal in goals]
    assert goals_in_one(outcomes) == "1 of 2 goals are reached. Missed, a time: y by 0.5."
    assert goals_in_one(outcomes[:1]) == "1 of 1 goals is reached."
