"""Programs that run at the same time: how many, what is said of them, and that they end with whoever started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.shared import side_by_side
from benchmarks.shared.side_by_side import run_side_by_side
from repghost.errors import RepGhostError
from tests.support import ROOT


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "LOOK_S", 0.01)


def test_the_output_is_in_logs_and_a_failure_stops_no_other(tmp_path: Path) -> None:
    logs = {tmp_path / name / "log": ["sh", "-c", f"echo {name}; exit {code}"] for name, code in (("a", 3), ("b", 0))}
    said: list[str] = []
    with pytest.raises(RepGhostError, match=r"1 of 2 failed\. Why is at the end of .*a/log\.$"):
        run_side_by_side(logs, 1, said.append)
    assert [log.read_text() for log in logs] == ["a\n", "b\n"]
    assert [line.partition(";")[0] for line in said] == ["a: begun", "a: failed with code 3", "b: begun", "b: done"]


def test_no_more_run_than_was_asked_for(tmp_path: Path) -> None:
    words = ["sh", "-c", f"touch {tmp_path}/$0.on; sleep 0.5; echo {tmp_path}/*.on; rm {tmp_path}/$0.on"]
    logs = {tmp_path / str(number) / "log": [*words, str(number)] for number in range(4)}
    run_side_by_side(logs, 2, lambda line: None)
    assert max(len(log.read_text().split()) for log in logs) == 2


def test_who_is_stopped_stops_what_it_started(tmp_path: Path) -> None:
    log = tmp_path / "a" / "log"
    program = (
        "from pathlib import Path; from benchmarks.shared.side_by_side import run_side_by_side; "
        f"run_side_by_side({{Path({str(log)!r}): ['sh', '-c', 'echo $$; exec sleep 100']}}, 1, print)"
    )
    started = [sys.executable, "-c", program]
    with subprocess.Popen(started, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not (log.is_file() and log.read_text()):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert b"KeyboardInterrupt" in process.communicate(timeout=60)[1]
    with pytest.raises(ProcessLookupError):
        os.kill(int(log.read_text()), 0)
