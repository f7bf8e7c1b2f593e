"""Child processes: none is waited for without a limit."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from repghost.errors import RepGhostError

TOOL_LIMIT_S = 60.0  # of a program that only says something about itself
END_LIMIT_S = 10.0  # until a killed process is gone; one that the kernel holds back is left to it


class TimeLimitError(RepGhostError):
    """A program of this machine did not end within its limit and was stopped; boards have `DeviceUnreachableError`."""

    exit_code = 4

    def __init__(self, name: str, limit_s: float, advice: str) -> None:
        super().__init__(f"{name} did not end within {limit_s:g} s and was stopped. {advice}")


def end(process: subprocess.Popen[Any], patience_s: float = 0.0) -> None:
    """Close the pipes of a process and kill it, unless it ends by itself within some seconds.

    No thread may be reading from its pipes: closing them would wait for it.
    """
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with suppress(OSError):  # what was not written yet cannot be
                stream.close()
    kill(process, patience_s)


def kill(process: subprocess.Popen[Any], patience_s: float = 0.0) -> None:
    """Kill a process, unless it ends by itself within some seconds, and wait until it is gone, but not for ever."""
    for limit_s in (patience_s, END_LIMIT_S):
        try:
            process.wait(limit_s)
            return
        except subprocess.TimeoutExpired:
            process.kill()


def run_limited(
    command: Sequence[str],
    limit_s: float,
    *,
    name: str,
    advice: str,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program that takes no input, and return its exit code and what it printed.

    Args:
        command: its words.
        limit_s: seconds until it is stopped.
        name: what messages call it.
        advice: a sentence for the user of one that hangs: what to look at or to do.
        folder: where it runs; here by default.
        environment: its environment variables; this process's by default.

    Raises:
        TimeLimitError: when it did not end in time.
        OSError: when it cannot be started.
    """
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe)
    try:
        printed = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise TimeLimitError(name, limit_s, advice) from None
    finally:
        end(process)
    return subprocess.CompletedProcess(command, process.returncode, *(it.decode("utf-8", "replace") for it in printed))
