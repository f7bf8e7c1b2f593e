"""Two processes as torchrun starts them, for one command after the other: their start takes longer than most of those.

What a test says of the start, the end or the loss of a process needs processes of its own.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from repghost.files import write_text_atomically
from tests.support.training_commands import environment

COUNT = 2
PAUSE = 0.02  # seconds between two looks
LIMIT = 300.0  # seconds that a command may take
HELPER = "helper"  # the first word of what a module of `tests.support` computes


@dataclass(frozen=True)
class Answer:
    """What both processes said, one after the other."""

    codes: list[int]
    stdout: str
    stderr: str


class TwoProcesses:
    """Runs commands in both processes; `stop` ends them.

    Args:
        folder: an empty one; the processes end themselves when the one that made this object is gone.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._asked = folder, 0
        self._alive = _hold(folder)
        words = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={COUNT}"]
        words += ["-m", "tests.support.two_processes", str(folder)]
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log, env=environment())

    def run(self, *words: object) -> Answer:
        """Run a command of `repghost` in both, or `HELPER`, a module of `tests.support` and what its `main` takes."""
        number = self._asked
        self._asked += 1
        write_text_atomically(self._folder / f"{number}.json", json.dumps(list(map(str, words))))
        places = [self._folder / f"{number}.{rank}.json" for rank in range(COUNT)]
        deadline = time.monotonic() + LIMIT
        while not all(place.exists() for place in places):
            assert self._process.poll() is None and time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(PAUSE)
        said = [json.loads(place.read_text()) for place in places]
        return Answer([it["code"] for it in said], *("".join(it[name] for it in said) for name in ("stdout", "stderr")))

    def help(self, *arguments: object, module: str = "training_processes") -> None:
        """Let both compute what `main` of a module of `tests.support` writes."""
        answer = self.run(HELPER, module, *arguments)
        assert answer.codes == [0] * COUNT, answer.stderr

    def stop(self) -> None:
        """End both."""
        self._alive.close()
        self._process.wait(60)


def _hold(folder: Path) -> IO[bytes]:
    """Return a file that is locked as long as this process has it open."""
    file = (folder / "alive").open("wb")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def _is_alone(file: IO[bytes]) -> bool:
    """Return whether nobody holds the lock of a file."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _answer(words: Sequence[str]) -> dict[str, Any]:
    from click.testing import CliRunner

    from repghost.cli import cli

    if words[0] == HELPER:
        importlib.import_module(f"tests.support.{words[1]}").main(*words[2:])
        return {"code": 0, "stdout": "", "stderr": ""}
    result = CliRunner().invoke(cli, words)
    problem = "" if result.exception is None else repr(result.exception)
    return {"code": result.exit_code, "stdout": result.stdout, "stderr": result.stderr + problem}


def serve(folder: Path) -> None:
    """Answer commands until the one who asks is gone."""
    rank, number = os.environ["RANK"], 0
    warnings.simplefilter("always", FutureWarning)  # each command says its own
    with (folder / "alive").open("rb") as file:
        while not _is_alone(file):
            asked = folder / f"{number}.json"
            if not asked.exists():
                time.sleep(PAUSE)
                continue
            answer = _answer(json.loads(asked.read_text()))
            write_text_atomically(folder / f"{number}.{rank}.json", json.dumps(answer))
            number += 1


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
    os._exit(0)  # all is written; torch's own threads sometimes abort an interpreter that tears itself down
