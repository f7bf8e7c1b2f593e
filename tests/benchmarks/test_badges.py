"""The badges of the README are those of today's pyproject.toml."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.badges import badges, main, read_project
from tests.support import ROOT

BADGES = badges(read_project(ROOT / "pyproject.toml"))


@pytest.mark.parametrize("name", BADGES)
def test_a_badge_says_what_the_project_says(name: str) -> None:
    assert (ROOT / "docs" / "badges" / f"{name}.svg").read_text() == BADGES[name].to_svg()
    assert f"(docs/badges/{name}.svg)" in (ROOT / "README.md").read_text()


def test_no_other_badge_is_there() -> None:
    assert {path.stem for path in (ROOT / "docs" / "badges").iterdir()} == set(BADGES)


def test_the_command_writes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(main, ["--docs", str(tmp_path)])
    assert not result.exit_code, result.output
    assert (tmp_path / "badges" / "version.svg").read_text() == BADGES["version"].to_svg()
