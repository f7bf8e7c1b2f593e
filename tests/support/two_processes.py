"""Two processes as torchrun starts them, for a command each: forked from one that has imported what they take.

What a test says of the start, the end or the loss of a process starts processes of its own.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.forked_commands import HELPER, ForkedCommands

COUNT = 2


@dataclass(frozen=True)
class Answer:
    """What both processes said, one after the other."""

    codes: list[int]
    stdout: str
    stderr: str


@dataclass(frozen=True)
class TwoProcesses:
    """Runs commands in two processes that form a group.

    Args:
        commands: starts them.
        folder: an empty one, for what they say.
    """

    commands: ForkedCommands
    folder: Path

    def run(self, *words: object) -> Answer:
        """Run a command of `repghost` in both, or `HELPER`, a module of `tests.support` and what its `main` takes."""
        places = [tuple(self.folder / f"{rank}.{name}" for name in ("err", "out")) for rank in range(COUNT)]
        started = [
            self.commands.start(list(map(str, words)), *places[rank], **variables)
            for rank, variables in enumerate(group())
        ]
        codes = [self.commands.wait(process) for process in started]
        stderr, stdout = ("".join(path.read_text() for path in paths) for paths in zip(*places, strict=True))
        return Answer(codes, stdout, stderr)

    def help(self, *arguments: object, module: str = "training_processes") -> None:
        """Let both compute what `main` of a module of `tests.support` writes."""
        answer = self.run(HELPER, module, *arguments)
        assert answer.codes == [0] * COUNT, answer.stderr


def group() -> Iterator[dict[str, str]]:
    """Yield what each process finds in its environment; they meet at a port that is free."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    for rank in range(COUNT):
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(COUNT)}
        yield {**place, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
