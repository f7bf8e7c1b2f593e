"""A tar of images in `split/class/` folders, read in one pass into memory and never unpacked to disk.

The splits may lie in one folder more, named after the set, as in most archives that are published.
"""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from repghost.data.base import MissingSplitError
from repghost.data.decode import MAX_FILE_BYTES, decode_image
from repghost.data.imagefolder import SHOWN, SYNONYMS, is_image
from repghost.data.tar_members import bounded_headers, read_members
from repghost.errors import UsageError
from repghost.untrusted import open_regular

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
SPLITS = frozenset({"train", "val", "validation", "test", "calibration"})
MAX_TOTAL_BYTES = 4 << 30  # of one split, decompressed


@dataclass(frozen=True, eq=False)
class TarSet:
    """Encoded images kept in memory; each is decoded when it is asked for."""

    source: str
    classes: tuple[str, ...]
    names: tuple[str, ...]
    encoded: tuple[bytes, ...]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        """Return the image (RGB) and its label."""
        return decode_image(self.encoded[index], self.name(index)), int(self.labels[index])

    def name(self, index: int) -> str:
        """Return the archive and the member."""
        return f"{self.source}:{self.names[index]}"


def open_tar(path: Path, split: str) -> TarSet:
    """Read one split; classes are in alphabetical order, images in the order of their names.

    Raises:
        UsageError: when the archive is broken, too large, or has no images of that split.
    """
    members: dict[str, dict[str, bytes]] = {}  # split -> member name -> content
    wanted = SYNONYMS.get(split, (split,))
    seen: set[str] = set()
    total = 0
    for name, parts, data in _images(path, wanted, seen):
        total += len(data)
        if total > MAX_TOTAL_BYTES:
            raise UsageError(f"{path}: more than {MAX_TOTAL_BYTES} bytes of pictures; unpack it and give the folder.")
        members.setdefault(parts[0], {})[name] = data
    chosen = next((members[name] for name in wanted if name in members), None)
    if chosen is None:
        raise MissingSplitError(
            f"{path}: no pictures in {split}/class/; folders there: {', '.join(sorted(seen)) or 'none'}."
        )
    names = tuple(sorted(chosen))
    classes = tuple(sorted({PurePosixPath(name).parts[1] for name in names}))
    number = {name: label for label, name in enumerate(classes)}
    labels = np.asarray([number[PurePosixPath(name).parts[1]] for name in names], np.int64)
    return TarSet(str(path), classes, names, tuple(chosen[name] for name in names), labels)


def _images(path: Path, wanted: tuple[str, ...], seen: set[str]) -> Iterator[tuple[str, tuple[str, ...], bytes]]:
    """Yield name, path parts and content of every regular image file of the wanted splits."""
    above: set[str] = set()
    try:
        with open_regular(path) as tar, tarfile.open(fileobj=tar, mode="r|*", tarinfo=bounded_headers()) as archive:
            for member in read_members(archive):
                parts = PurePosixPath(member.name).parts
                if parts and parts[0] == ".":
                    parts = parts[1:]
                if parts and len(seen) < SHOWN:
                    seen.add(parts[0])
                if len(parts) > 3 and parts[0] not in {*SPLITS, *wanted, "/"} and parts[1] in wanted:
                    above.add(parts[0])
                    parts = parts[1:]
                if len(above) > 1:
                    raise UsageError(f"{path}: two sets, {' and '.join(sorted(above))}; unpack it and give one folder.")
                if not member.isreg() or len(parts) < 3 or ".." in parts or parts[0] not in wanted:
                    continue
                if not is_image(parts[-1]):
                    continue
                if member.size > MAX_FILE_BYTES:
                    raise UsageError(f"{path}: {member.name} has {member.size} bytes; {MAX_FILE_BYTES} are allowed.")
                file = archive.extractfile(member)
                if file is not None:
                    yield "/".join(parts), parts, file.read()
    except MemoryError as error:
        raise UsageError(f"{path}: its pictures do not fit into memory; unpack it and give the folder.") from error
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not a readable tar archive ({type(error).__name__}: {error}).") from error
