"""A child process that hangs is stopped, and the message says what it was, how long it had and what to do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

import pytest

from repghost.processes import TimeLimitError, end, run_limited


def test_what_a_program_printed_is_returned() -> None:
    script = "import sys; print(sys.stdin.read() == ''); sys.stdout.buffer.write(b'\\xff'); sys.exit('why')"
    done = run_limited([sys.executable, "-c", script], 60, name="python", advice="")
    assert (done.returncode, done.stdout, done.stderr) == (1, "True\n\ufffd", "why\n")


HANGS = {
    "silent": "exec sleep 100",
    "closes its output and stays": "exec >&- 2>&-; exec sleep 100",
    "leaves a child that holds its output": "sleep 20 & exit 0",
    "cannot be asked to end": "trap '' TERM INT HUP; while :; do sleep 1; done",
}


@pytest.mark.parametrize("script", HANGS.values(), ids=HANGS.keys())
def test_a_program_that_hangs_is_stopped(script: str) -> None:
    began = time.monotonic()
    words = re.escape("the tool did not end within 0.2 s and was stopped. Buy another.")
    with pytest.raises(TimeLimitError, match=words) as caught:
        run_limited(["sh", "-c", script], 0.2, name="the tool", advice="Buy another.")
    assert time.monotonic() - began < 20  # of the 100 s
    assert caught.value.exit_code == 4  # as of a tool that is missing


def test_a_process_is_ended_and_waited_for() -> None:
    process = subprocess.Popen(["sleep", "100"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    end(process)
    assert process.returncode == -9
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
    patient = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    end(patient, patience_s=60)  # its input ends, and so does it
    assert patient.returncode == 0
