"""Folders for programs that are particular about paths: ssh for its socket, zig for its caches.

ssh takes spaces and % in the path of a socket for something else, and the system allows about 100 characters there;
zig takes commas in paths for the end of an option. TMPDIR and HOME may hold all of these.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MOST_CHARACTERS = 60  # of the parent: a socket's path has to fit 104, and ssh adds 17 while it makes one
PLACES = ("/tmp", "/var/tmp", "/dev/shm")


def is_plain(path: Path) -> bool:
    """Return whether no program takes a part of a path for something else."""
    return path.is_absolute() and all(character.isalnum() or character in "/._-+@" for character in str(path))


def can_write(folder: Path) -> bool:
    """Return whether files can be made in a folder, which is made where it is absent."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@contextmanager
def plain_temporary_folder(prefix: str) -> Iterator[Path | None]:
    """Yield a new folder of this account alone, with a short and plain path; None where there is no place for one.

    It lies in TMPDIR where that is short and plain, else in one of `PLACES`.
    """
    for place in (os.environ.get("TMPDIR", ""), *PLACES):
        if len(place) <= MOST_CHARACTERS and is_plain(Path(place)):
            with suppress(OSError):
                folder = tempfile.TemporaryDirectory(prefix=prefix, dir=place)
                break
    else:
        yield None
        return
    with folder as name:
        yield Path(name)
