"""A layer of a container image: an uncompressed tar file whose bytes follow from what is in it and nothing else.

Compression would depend on the version of zlib; registries and `skopeo copy` compress what they store.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass

FOLDER, FILE, PROGRAM = 0o755, 0o444, 0o555  # rights; everything belongs to root, and nothing runs as root


@dataclass(frozen=True)
class Entry:
    """A file or, without data, a folder."""

    path: str  # relative to the root of the image
    data: bytes | None = None
    mode: int = FILE


def to_layer(entries: Iterable[Entry]) -> bytes:
    """Return a tar file (ustar) of files and folders in the order of their paths, all of the time 0 and of root.

    Args:
        entries: folders among them, each before what lies in it once it is sorted.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for entry in sorted(entries, key=lambda it: it.path):
            member = tarfile.TarInfo(entry.path)
            member.mode = FOLDER if entry.data is None else entry.mode
            if entry.data is None:
                member.type = tarfile.DIRTYPE
            else:
                member.size = len(entry.data)
            archive.addfile(member, io.BytesIO(entry.data or b""))
    return packed.getvalue()
