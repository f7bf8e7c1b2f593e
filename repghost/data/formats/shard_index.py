"""Where the images of a WebDataset shard lie: one pass over the headers of the tar, nothing unpacked or decoded.

The webdataset package says which members belong together; it is given places in the file instead of contents.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repghost.data.formats.tar_members import bounded_headers, read_members
from repghost.data.images.decode import EXTENSIONS, MAX_FILE_BYTES
from repghost.data.names.class_names import MAX_CLASSES
from repghost.errors import ToolMissingError, UsageError, install_command
from repghost.untrusted import open_regular, parse_int

LABEL = "cls"  # the member with the number of the class, as text
_LABEL_BYTES = 16
_IMAGES = frozenset(suffix[1:] for suffix in EXTENSIONS)


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """The images of one shard, in the order of the file.

    Attributes:
        names: of the members.
        offsets: int64 [N], where their bytes begin.
        sizes: int64 [N], in bytes.
        labels: int64 [N].
        broken: one message for each sample that has no image or no label.
    """

    names: tuple[str, ...]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    labels: NDArray[np.int64]
    broken: tuple[str, ...]


@dataclass(frozen=True)
class _Member:
    name: str
    offset: int
    size: int
    text: bytes  # of a label


def index_shard(path: Path) -> ShardIndex:
    """Return where the images of a shard lie.

    Raises:
        ToolMissingError: when webdataset is not installed.
        UsageError: when the file is no uncompressed tar, is cut off, has links, devices, sparse files or paths that
            lead out of it, or names a member twice.
    """
    try:
        from webdataset.tariterators import group_by_keys
    except ModuleNotFoundError as error:
        raise ToolMissingError(f"WebDataset shards need webdataset: {install_command('webdataset')}") from error
    rows: list[tuple[str, int, int, int]] = []
    broken: list[str] = []
    try:
        for sample in group_by_keys(_members(path), suffixes=_IMAGES | {LABEL}):
            found = _row(sample)
            if isinstance(found, str):
                broken.append(f"{path}: sample {sample['__key__']!r} {found}")
            else:
                rows.append(found)
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError, RecursionError) as error:
        reason = str(error.args[0]) if error.args else ""
        raise UsageError(
            f"{path}: not a whole, uncompressed tar of samples ({type(error).__name__}: {reason}); copy or write this "
            "shard again."
        ) from error
    names = tuple(row[0] for row in rows)
    numbers = np.asarray([row[1:] for row in rows], np.int64).reshape(-1, 3)
    return ShardIndex(names, numbers[:, 0].copy(), numbers[:, 1].copy(), numbers[:, 2].copy(), tuple(broken))


def _members(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the regular files of a tar as the webdataset package passes them on, with places for contents."""
    with open_regular(path) as file, tarfile.open(fileobj=file, mode="r:", tarinfo=bounded_headers()) as archive:
        for member in read_members(archive, os.fstat(file.fileno()).st_size):
            _check(path, member)
            if member.isreg() and not member.name.startswith("__"):  # the package's own notes
                text = b""
                if member.name.endswith(f".{LABEL}"):
                    file.seek(member.offset_data)
                    text = file.read(min(member.size, _LABEL_BYTES + 1))
                place = _Member(member.name, member.offset_data, member.size, text)
                yield {"fname": member.name, "data": place, "__url__": str(path)}


def _check(path: Path, member: tarfile.TarInfo) -> None:
    """Refuse what no writer of shards makes."""
    parts = PurePosixPath(member.name).parts
    if member.name.startswith("/") or ".." in parts or "\0" in member.name:
        raise UsageError(f"{path}: member {member.name!r} leads out of the shard; write this shard again.")
    if member.isdir():
        return
    if not member.isreg() or member.issparse():
        raise UsageError(f"{path}: member {member.name!r} is a link, a device or sparse; a shard holds plain files.")
    if not 0 <= member.size <= MAX_FILE_BYTES:
        raise UsageError(f"{path}: member {member.name!r} has {member.size} bytes; {MAX_FILE_BYTES} are allowed.")


def _row(sample: dict[str, Any]) -> tuple[str, int, int, int] | str:
    """Return name, offset, size and label of a sample's image, or what is wrong with it."""
    images = [part for suffix, part in sample.items() if suffix in _IMAGES]
    if len(images) != 1:
        return f"has {len(images)} pictures instead of one"
    if LABEL not in sample:
        return f"has no label (a member that ends in .{LABEL})"
    text = sample[LABEL].text.strip()
    label = parse_int(text.decode("ascii", "replace"), high=MAX_CLASSES - 1)
    if len(sample[LABEL].text) > _LABEL_BYTES or label is None:
        return f"has the label {text[:_LABEL_BYTES]!r}; a whole number below {MAX_CLASSES} is allowed"
    image = images[0]
    return image.name, image.offset, image.size, label
