"""Write files and folders whole or not at all, and read regular files within a size limit."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from repghost.errors import IntegrityError, UsageError
from repghost.files import temporary_folder, write_new_file
from repghost.untrusted import read_bounded

EXECUTABLE = frozenset({"repghost-run", "model.so", "model.dylib", "build.sh", "check.sh", "detect.sh",
                        "measure.sh"})  # fmt: skip
FILE_LIMIT = 1 << 30  # bytes of one file
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")  # of a file in a flat folder
DIGEST = re.compile(r"[0-9a-f]{64}")  # SHA-256
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of renameat2, linux/fcntl.h and linux/fs.h
ANOTHER_WRITER = (errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY)  # what one that is between two steps leaves us
ATTEMPTS = 1000


def sha256(data: bytes) -> str:
    """Return the SHA-256 in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def write_folder_atomically(path: Path, files: dict[str, bytes], check: Callable[[Path], None] | None = None) -> None:
    """Put a folder with exactly `files` at `path`, replacing what was there; a reader never sees half of it.

    Args:
        path: the folder; its parent is created.
        files: content by plain file name, or by path below the folder.
        check: is given the new folder before the old one goes; what it raises leaves the old one where it is.
    """
    path = Path(path)
    with temporary_folder(path) as new:
        for name in sorted(files):
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            write_new_file(new / name, files[name], mode=0o755 if name in EXECUTABLE else 0o644)
        new.chmod(0o755)
        if check is not None:
            check(new)
        put_folder(new, path)


def put_folder(new: Path, path: Path) -> None:
    """Make `new` the folder at `path`, in one step where the file system can; what was there is at `new` then."""
    for _ in range(ATTEMPTS):
        is_there = os.path.lexists(path)
        try:
            if is_there and not stat.S_ISDIR(path.lstat().st_mode):
                raise UsageError(f"{path} is in the way: it is not a folder. Remove it or choose another place.")
            if not is_there:
                new.rename(path)
            elif not _exchange(new, path):
                _replace(new, path)
            return
        except OSError as error:
            if error.errno not in ANOTHER_WRITER:
                raise
    raise UsageError(f"{path} changes all the time: other programs write it too. Stop them, or choose another place.")


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two folders in one step; return False where system or file system cannot."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return False
    if function(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EXDEV, errno.EPERM):
        return False
    raise OSError(number, os.strerror(number), str(second))


def _replace(new: Path, path: Path) -> None:
    """Move `new` to `path`, moving the old folder aside first; the next writer puts that back after a crash between."""
    with temporary_folder(path, "old") as old:
        try:
            shutil.move(path, old / path.name)  # copies a folder of a container's image, which cannot be renamed
            new.rename(path)
        except BaseException:
            if (old / path.name).exists() and not path.exists():
                (old / path.name).rename(path)
            raise


def read_plain_file(path: Path, limit: int) -> bytes:
    """Return the content of a regular file; symbolic links, pipes and devices are refused.

    Raises:
        IntegrityError: when it is missing, no regular file, or larger than `limit` bytes.
    """
    return read_bounded(path, limit, error=IntegrityError, follow_links=False)
