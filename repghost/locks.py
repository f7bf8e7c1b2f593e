"""Locks that programs hold on what they write; the lock of a process that died is free."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from repghost.files import is_open_as
from repghost.terminal import escape


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


@contextmanager
def locked(path: Path, say: Callable[[str], None] = _tell) -> Iterator[None]:
    """Hold the lock of a file or folder while its content is made; wait for a process that holds it, and say so.

    Where the file system has no locks, nobody waits: what is written is whole all the same.

    Args:
        path: what is made; the lock is a hidden file beside it, which is deleted at the end. It lies inside a folder
            that has no writable place beside it, as where a container mounts one.
        say: called with a line naming what this process waits for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = Path(os.path.abspath(path))  # noqa: PTH100 - "." has no name, and links stay
    place = whole.parent / f".{whole.name}.lock"
    try:
        descriptor = _take(place, path, say)
    except OSError:
        if not path.is_dir():
            raise
        place = whole / ".lock"
        descriptor = _take(place, path, say)
    try:
        yield
    finally:
        place.unlink(missing_ok=True)  # before it is free: whoever waits sees that the file is not this one any more
        os.close(descriptor)


def _take(place: Path, path: Path, say: Callable[[str], None]) -> int:
    """Return the descriptor of a lock that is held."""
    while True:
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            _wait(descriptor, path, say)
            if is_open_as(descriptor, place):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"{os.getpid()}\n".encode())
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _wait(descriptor: int, path: Path, say: Callable[[str], None]) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        number = os.pread(descriptor, 20, 0).strip()
        owner = f"process {number.decode()}" if number.isdigit() else "another process"
        say(f"{owner} is making {escape(path)}; waiting for it (Ctrl-C to stop)")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        return
