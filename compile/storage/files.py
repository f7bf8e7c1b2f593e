"""Write files and folders whole or not at all, and read regular files within a size limit."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from pathlib import Path

from repghost.errors import IntegrityError, UsageError
from repghost.files import write_bytes_atomically
from repghost.untrusted import read_bounded

EXECUTABLE = frozenset({"repghost-run", "model.so", "build.sh", "check.sh", "measure.sh"})
FILE_LIMIT = 1 << 30  # bytes of one file
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")  # of a file in a flat folder
DIGEST = re.compile(r"[0-9a-f]{64}")  # SHA-256


def sha256(data: bytes) -> str:
    """Return the SHA-256 in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def write_folder_atomically(path: Path, files: dict[str, bytes]) -> None:
    """Put a folder with exactly `files` at `path`, replacing what was there; a reader never sees half of it.

    Args:
        path: the folder; its parent is created.
        files: content by plain file name.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        for name in sorted(files):
            write_bytes_atomically(staging / name, files[name], mode=0o755 if name in EXECUTABLE else 0o644)
        staging.chmod(0o755)
        _replace_folder(staging, path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _replace_folder(new: Path, path: Path) -> None:
    """Move `new` to `path`, moving the old folder aside first: POSIX cannot replace a folder that holds files."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise UsageError(f"{path} is in the way: it is not a folder. Remove it or choose another place.")
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
    try:
        if path.exists():
            path.rename(old / path.name)
        try:
            new.rename(path)
        except OSError:
            if (old / path.name).exists():
                (old / path.name).rename(path)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def read_plain_file(path: Path, limit: int) -> bytes:
    """Return the content of a regular file; symbolic links, pipes and devices are refused.

    Raises:
        IntegrityError: when it is missing, no regular file, or larger than `limit` bytes.
    """
    return read_bounded(path, limit, error=IntegrityError, follow_links=False)
