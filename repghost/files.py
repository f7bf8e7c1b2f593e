"""Writing files whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


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
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        os.replace(temporary, path)  # noqa: PTH105 - the atomic rename, named as POSIX names it
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text_atomically(path: Path, text: str) -> None:
    """Write UTF-8 `text` to `path`, whole or not at all (see `write_bytes_atomically`)."""
    write_bytes_atomically(path, text.encode("utf-8"))
