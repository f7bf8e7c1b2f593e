"""A cache of compiled kernels: one file per kernel in the user's cache folder, named by the digest of its source.

A kernel depends on shapes, not on weights. So a network that was trained further, or quantized again, finds all its
kernels here, whatever folder it is built in. A damaged file counts as absent.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Container, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from compile.storage.files import read_plain_file
from repghost.errors import IntegrityError
from repghost.files import open_temporary, sweep
from repghost.locks import locked

FOLDER_VARIABLE = "REPGHOST_CACHE"  # a folder, or "off"
OFF = "off"
LIMIT_BYTES = 256 << 20  # of all kernels together: those of about 50 networks
KERNEL_BYTES = 8 << 20  # of one file; a kernel has about 12 KB
DIGEST_BYTES = 32
SUFFIX = ".kernel"


@dataclass(frozen=True)
class KernelStore:
    """A folder of kernels; without a folder nothing is kept."""

    folder: Path | None
    limit_bytes: int = LIMIT_BYTES

    def get(self, key: str) -> bytes | None:
        """Return what was put under a key, or None when it is not there or was changed."""
        if self.folder is None:
            return None
        path = self._path(key)
        try:
            data = read_plain_file(path, KERNEL_BYTES)
            if hashlib.sha256(data[DIGEST_BYTES:]).digest() != data[:DIGEST_BYTES]:
                return None
            os.utime(path)  # the least recently used ones are deleted first
        except (IntegrityError, OSError):
            return None
        return data[DIGEST_BYTES:]

    def put(self, key: str, content: bytes) -> None:
        """Store something under a key, whole or not at all; do nothing where the folder cannot be written."""
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor, temporary = open_temporary(self._path(key))
            try:
                # No fsync: a file that a crash cut short does not match its digest and counts as absent.
                with os.fdopen(descriptor, "wb") as file:
                    file.write(hashlib.sha256(content).digest() + content)
                    file.flush()
                    temporary.replace(self._path(key))
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        except OSError:
            return

    @contextmanager
    def making(self, key: str) -> Iterator[None]:
        """Hold the lock of what takes seconds to make: another process that wants it waits, and finds it then."""
        with ExitStack() as held:
            if self.folder is not None:
                with suppress(OSError):  # a folder that cannot be written keeps nothing
                    held.enter_context(locked(self._path(key)))
            yield

    def shrink(self, used: Container[str] = ()) -> None:
        """Delete kernels until the rest is within the limit, the least recently used first.

        Args:
            used: keys that go last, so that a clock that was set back makes no run delete its own kernels.
        """
        if self.folder is None:
            return
        sweep(self.folder)
        found = []
        for path in self.folder.glob(f"*{SUFFIX}"):
            try:
                status = path.lstat()
            except OSError:  # another process deleted it
                continue
            found.append((path.stem in used, status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, _, size, _ in found)
        for _, _, size, path in sorted(found):
            if total <= self.limit_bytes:
                return
            try:
                path.unlink(missing_ok=True)
            except OSError:
                return
            total -= size

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{key}{SUFFIX}"


def user_store() -> KernelStore:
    """Return the store of this user: in `REPGHOST_CACHE`, or where the XDG rules put caches."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen == OFF:
        return KernelStore(None)
    if chosen:
        return KernelStore(Path(chosen) / "kernels")
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        root = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
    except RuntimeError:  # a user without a home
        return KernelStore(None)
    return KernelStore(root / "repghost" / "kernels")
