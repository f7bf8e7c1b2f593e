"""Programs that run for hours, some at a time, each with a log of its own; whoever stops this one stops them."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from repghost.errors import RepGhostError
from repghost.processes import kill

LOOK_S = 0.5  # between two looks at what ended
END_S = 60.0  # for a training to write its state, once it was told to end

Say = Callable[[str], None]


def run_side_by_side(commands: Mapping[Path, Sequence[str]], at_once: int, say: Say) -> None:
    """Run programs to their ends; those that fail are named once the others are done.

    Args:
        commands: log -> the words of a program, whose output goes there, behind what it holds.
        at_once: how many run at the same time.
        say: called with a line when a training begins or ends.

    Raises:
        RepGhostError: when a program failed.
        KeyboardInterrupt: on Ctrl-C and SIGTERM; the programs have had END_S seconds to end.
    """
    waiting, running, failed = list(commands.items()), dict[Path, subprocess.Popen[bytes]](), list[Path]()
    with _asked_to_stop() as asked:
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    log, words = waiting.pop(0)
                    running[log] = _start(words, log)
                    say(f"{log.parent.name}: begun; {log} follows it")
                if asked():
                    raise KeyboardInterrupt
                time.sleep(LOOK_S)
                for log in [log for log, process in running.items() if process.poll() is not None]:
                    code = running.pop(log).returncode
                    failed += [log] * (code != 0)
                    say(f"{log.parent.name}: {f'failed with code {code}' if code else 'done'}; {len(waiting)} wait")
        finally:
            for process in running.values():
                process.terminate()
            for process in running.values():
                kill(process, END_S)
    if failed:
        logs = ", ".join(map(str, failed))
        raise RepGhostError(f"{len(failed)} of {len(commands)} failed. Why is at the end of {logs}.")


def _start(words: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Yield whether SIGINT or SIGTERM arrived: neither comes between the start of a program and the note of it."""
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
