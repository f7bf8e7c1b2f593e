"""The runner's threads: who wakes too late for one step is there for the next."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from compile.link.toolchain import RUNNER_SOURCES
from compile.link.zig import run_zig
from compile.targets.table import Target
from tests.support import ROOT

OUTCOMES = {0: "looks", 2: "never sleeps", 3: "sleeps again at once"}


@pytest.mark.slow
def test_a_thread_that_wakes_too_late_looks_for_the_next_step(host: Target, tmp_path: Path) -> None:
    source, program = ROOT / "tests/support/late_sleeper.c", tmp_path / "late_sleeper"
    run_zig(
        ["cc", "-target", host.zig_triple, "-O2", f"-I{RUNNER_SOURCES}", str(source), "-lpthread", "-o", str(program)]
    )
    assert OUTCOMES[subprocess.run([program], timeout=120, check=False).returncode] == "looks"
