"""Commands in children of a process that has imported what they take, so that each starts at once."""

from __future__ import annotations

import atexit
import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from tests.support.training_commands import environment

LIMIT = 300  # seconds that a command may take
MODULES = ("repghost.training.train", "repghost.api.training.train", "repghost.api.quantization")
HELPER = "helper"  # the first word of what a module of `tests.support` computes


class ForkedCommands:
    """Starts commands and waits for them."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.support.forked_commands"]
        pipe = subprocess.PIPE
        self.running: list[int] = []
        self.server = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment())

    def start(self, words: Sequence[str], errors: Path, output: str | Path = os.devnull, **variables: str) -> int:
        """Start a command of `repghost` and return the number of its process.

        Args:
            words: of the command, or `HELPER`, a module of `tests.support` and what its `main` takes.
            errors: the file that what it says goes to.
            output: the file that what it answers goes to.
            variables: what it finds in its environment besides.
        """
        process = self._ask("start", list(words), [str(output), str(errors)], variables)
        self.running.append(process)
        return process

    def wait(self, process: int | None = None) -> int:
        """Return the exit code of a command, or the negative number of its signal; of the last one started."""
        process = self.running[-1] if process is None else process
        self.running.remove(process)
        return self._ask("wait", process)

    def stop(self) -> None:
        """Kill the commands that nobody has waited for."""
        for process in list(self.running):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            self.wait(process)

    def _ask(self, *asked: object) -> int:
        assert self.server.stdin is not None and self.server.stdout is not None
        self.server.stdin.write(json.dumps(asked) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())


@contextmanager
def forked_commands() -> Iterator[ForkedCommands]:
    """Hold the process that starts commands."""
    commands = ForkedCommands()
    with commands.server:  # closes the pipes, upon which it ends
        yield commands


def is_running(process: int) -> bool:
    """Return whether a command has not ended, whether or not anybody has waited for it."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def serve() -> None:
    """Do what each line asks, and answer with a number."""
    for name in MODULES:
        importlib.import_module(name)
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        if what == "wait":
            print(os.waitstatus_to_exitcode(os.waitpid(arguments[0], 0)[1]), flush=True)
        else:
            print(os.fork() or _run(*arguments), flush=True)


def _run(words: Sequence[str], places: Sequence[str], variables: dict[str, str]) -> NoReturn:
    """Be the command, in a process of its own."""
    signal.alarm(LIMIT)  # one that hangs is ended
    for number, place in enumerate((os.devnull, *places)):
        os.dup2(os.open(place, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
    os.environ.update(variables)
    code = 1
    try:
        if words[0] == HELPER:
            importlib.import_module(f"tests.support.{words[1]}").main(*words[2:])
        else:
            sys.argv = ["repghost", *words]
            importlib.import_module("repghost.cli").main()
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # torch's own threads sometimes abort an interpreter that tears itself down


if __name__ == "__main__":
    serve()
