"""Commands in children of a process that has imported what they take, so that each starts at once."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.training_commands import environment

LIMIT = 300  # seconds that a command may take
MODULES = ("repghost.training.train", "repghost.api.training.train", "repghost.api.quantization")


class ForkedCommands:
    """Starts one command after the other."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.support.forked_commands"]
        pipe = subprocess.PIPE
        self.process = 0
        self.server = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment())

    def start(self, words: Sequence[str], errors: Path) -> int:
        """Start a command of `repghost` and return the number of its process; what it says goes to a file."""
        assert self.server.stdin is not None
        self.server.stdin.write(json.dumps([list(words), str(errors)]) + "\n")
        self.server.stdin.flush()
        self.process = self._read()
        return self.process

    def wait(self) -> int:
        """Return the exit code of the command that was started last, or the negative number of its signal."""
        self.process = 0
        return self._read()

    def stop(self) -> None:
        """Kill a command that nobody has waited for."""
        if self.process:
            with suppress(ProcessLookupError):
                os.kill(self.process, signal.SIGKILL)
            self.process = 0
            self._read()

    def _read(self) -> int:
        assert self.server.stdout is not None
        return int(self.server.stdout.readline())


@contextmanager
def forked_commands() -> Iterator[ForkedCommands]:
    """Hold the process that starts commands."""
    commands = ForkedCommands()
    with commands.server:  # closes the pipes, upon which it ends
        yield commands


def is_running(process: int) -> bool:
    """Return whether a command has not ended."""
    return Path(f"/proc/{process}").exists()


def serve() -> None:
    """Start what each line says, and tell its number and its exit code."""
    from repghost.cli import main

    for name in MODULES:
        importlib.import_module(name)

    for line in sys.stdin:
        words, errors = json.loads(line)
        child = os.fork()
        if not child:
            for place, target in ((os.devnull, 0), (os.devnull, 1), (errors, 2)):
                os.dup2(os.open(place, os.O_RDWR | os.O_CREAT | os.O_TRUNC), target)
            signal.alarm(LIMIT)  # one that hangs is ended
            sys.argv = ["repghost", *words]
            main()
            os._exit(0)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
