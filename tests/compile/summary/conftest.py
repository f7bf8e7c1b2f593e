from __future__ import annotations

from pathlib import Path

import pytest

from compile.summary.collect import collect, find_files
from compile.summary.facts import Summary
from tests.support.summary_cases import NAMES, run_report, write_runs


@pytest.fixture
def summary(tmp_path: Path) -> Summary:
    reports = [run_report(name, 0.002, 1.5 * (index + 1)) for index, name in enumerate(NAMES)]
    return collect(find_files([write_runs(tmp_path / "build", *reports)]), max_drop=0.3)
