"""Running a local program with a time limit and a limit for what it may print; what it prints came from a board."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from repghost.processes import kill

ERRORS_LIMIT_BYTES = 1 << 20  # what follows is read and forgotten
CHUNK_BYTES = 1 << 16
GRACE_S = 2.0  # to read what is left in the pipes of a program; one that it started may hold them open


@dataclass(frozen=True)
class Exchanged:
    """What a program printed, and its exit code."""

    code: int
    output: bytes  # longer than the limit when the program printed too much and was ended
    errors: bytes


def environment() -> dict[str, str]:
    """Return the environment of ssh: messages in English, so that they are understood here."""
    return {**os.environ, "LC_ALL": "C"}


def exchange(command: list[str], content: bytes, limit_s: float, most_bytes: int) -> Exchanged:
    """Give a program its input and return its output.

    Args:
        command: its words.
        content: its standard input.
        limit_s: seconds until it is ended.
        most_bytes: of its output; a program that prints more is ended.

    Raises:
        TimeoutError: when it did not end in time.
    """
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment())
    output, errors = _Collector(process.stdout, most_bytes, process), _Collector(process.stderr, ERRORS_LIMIT_BYTES)
    threads = [threading.Thread(target=work, daemon=True) for work in (output.read, errors.read)]
    threads.append(threading.Thread(target=_write, args=(process.stdin, content), daemon=True))
    waiting = threading.Thread(target=process.wait, daemon=True)  # with a limit, `wait` looks only every 50 ms
    try:
        for thread in (*threads, waiting):
            thread.start()
        waiting.join(limit_s)
        if waiting.is_alive():
            raise TimeoutError(f"{command[0]} did not end within {limit_s:g} s")
    finally:
        kill(process)
        deadline = time.monotonic() + GRACE_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
    return Exchanged(process.returncode, bytes(output.data), bytes(errors.data))


class _Collector:
    """Reads a stream to its end and keeps the first bytes; one that is too long can end its process."""

    def __init__(self, stream: IO[bytes] | None, most: int, process: subprocess.Popen[bytes] | None = None) -> None:
        self.stream, self.most, self.process = stream, most, process
        self.data = bytearray()

    def read(self) -> None:
        if self.stream is None:
            return
        with self.stream:
            while chunk := self.stream.read1(CHUNK_BYTES):  # type: ignore[attr-defined]
                if len(self.data) <= self.most:
                    self.data += chunk
                elif self.process is not None:
                    self.process.kill()


def _write(stream: IO[bytes] | None, content: bytes) -> None:
    if stream is not None:
        with suppress(OSError), stream:  # a program may end before it has read everything
            stream.write(content)
