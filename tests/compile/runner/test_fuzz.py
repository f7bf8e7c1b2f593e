"""Every reader of foreign bytes in the runner has a harness; `make fuzz` runs them longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fuzzers import FOLDER, HARNESSES, fuzz, missing_tool

MOST_CORPUS_BYTES = 1 << 17


def test_every_harness_has_a_small_corpus() -> None:
    assert HARNESSES == ("boxes", "bundle", "decode", "json", "labels", "loader", "orientation", "vectors")
    assert {path.name for path in (FOLDER / "corpus").iterdir()} == set(HARNESSES)
    files = [path for path in (FOLDER / "corpus").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_CORPUS_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("name", HARNESSES)
def test_the_corpus_and_a_second_more_find_nothing(name: str, tmp_path: Path) -> None:
    reason = missing_tool()
    if reason:
        pytest.skip(reason)
    problem = fuzz(name, 1, tmp_path, seed=1)
    assert not problem, problem
