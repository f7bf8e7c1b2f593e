"""Writing files whole or not at all, and deleting what a writer that was killed left behind.

A temporary file or folder is locked by whoever writes it for as long as it has its temporary name. The lock ends with
the process, so one that is free belongs to nobody: no clock and no process number decides.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# What stands beside a path while it is written: what will be there, or the folder that was there.
TEMPORARY = re.compile(r"\.(?:(?P<name>.+)\.)?[a-z0-9_]{8}\.(?P<kind>tmp|old)")


def write_bytes_atomically(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write `data` to `path` so that a reader, or a crash at any moment, finds the old file or the whole new one.

    Args:
        path: the file to write; its folder is created.
        data: the content.
        mode: permission bits of the new file.

    Raises:
        OSError: when the disk is full or the folder cannot be written; `path` is then as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, path.name)
    descriptor, temporary = open_temporary(path)
    try:
        _write_through(descriptor, data, mode)
        os.replace(temporary, path)  # noqa: PTH105 - the atomic rename, named as POSIX names it
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)  # not before the file has its own name: closed is free


def write_text_atomically(path: Path, text: str) -> None:
    """Write UTF-8 `text` to `path`, whole or not at all (see `write_bytes_atomically`)."""
    write_bytes_atomically(path, text.encode("utf-8"))


def write_new_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file into a folder that nobody else looks into yet; the disk has it when this returns."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        _write_through(descriptor, data, mode)
    finally:
        os.close(descriptor)


def _write_through(descriptor: int, data: bytes, mode: int) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
    os.fchmod(descriptor, mode)
    os.fsync(descriptor)


def open_temporary(path: Path) -> tuple[int, Path]:
    """Return a new file beside `path`, open and locked, and its temporary name."""
    while True:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        if _lock_new(descriptor, Path(name)):
            return descriptor, Path(name)


@contextmanager
def temporary_folder(path: Path, kind: str = "tmp") -> Iterator[Path]:
    """Yield a new folder beside `path`, locked; at the end it is deleted with what is in it then.

    What killed writers of `path` left is deleted first.

    Args:
        path: of what will be made in it; its folder is created.
        kind: see `TEMPORARY`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, path.name)
    folder, descriptor = _open_temporary_folder(path, kind)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _open_temporary_folder(path: Path, kind: str) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=f".{kind}", dir=path.parent))
        with suppress(FileNotFoundError):  # a sweep was faster
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if _lock_new(descriptor, folder):
                return folder, descriptor


def _lock_new(descriptor: int, path: Path) -> bool:
    """Lock what was just made; return False, with the descriptor closed, where a sweep was faster."""
    with suppress(OSError):  # without locks nothing is ever swept
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    if is_open_as(descriptor, path):
        return True
    os.close(descriptor)
    return False


def is_open_as(descriptor: int, path: Path) -> bool:
    """Return whether a path still names the file that is open."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def sweep(folder: Path, name: str | None = None) -> None:
    """Delete what writers that were killed left in a folder; a folder they had moved aside is put back.

    Args:
        folder: where to look; not below it.
        name: only what was left of this file or folder.
    """
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            found = TEMPORARY.fullmatch(entry.name)
            if found and name in (None, found["name"]):
                _sweep_one(Path(entry), entry.is_dir(follow_symlinks=False), Path(folder) / str(found["name"]))


def _sweep_one(path: Path, is_folder: bool, target: Path) -> None:
    """Delete a temporary file or folder of nobody."""
    mode = os.O_RDONLY | os.O_DIRECTORY if is_folder else os.O_RDWR
    try:
        descriptor = os.open(path, mode | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # another sweep was faster, or it is not ours
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not is_folder:
            path.unlink()
            return
        moved = path / target.name
        if path.suffix == ".old" and moved.is_dir() and not os.path.lexists(target):
            moved.rename(target)
        shutil.rmtree(path, ignore_errors=True)
    except OSError:  # somebody writes it
        return
    finally:
        os.close(descriptor)
