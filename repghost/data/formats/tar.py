"""A tar of images in `split/class/` folders, read in one pass into memory and never unpacked to disk.

The splits may lie in one folder more, named after the set, as in most archives that are published.
"""

from __future__ import annotations

import lzma
import os
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from repghost.channels import RGB
from repghost.data.base import MissingSplitError, UnlabelledSplitError
from repghost.data.formats.find_images import is_image
from repghost.data.formats.tar_members import bounded_headers, read_members
from repghost.data.formats.unread import Unread, is_hidden, kind_of
from repghost.data.images.decode import MAX_FILE_BYTES, decode_image
from repghost.data.names.class_names import MAX_CLASSES, composed, sorted_classes
from repghost.data.names.split_names import TRAIN, WORDS, find_names, wanted_names
from repghost.errors import UsageError, is_out_of_memory, option
from repghost.terminal import escape
from repghost.untrusted import open_regular

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
SHOWN = 20  # folders in a message
_BESIDE = "pictures outside the class folders"
MAX_TOTAL_BYTES = 4 << 30  # of one split, decompressed


@dataclass(frozen=True, eq=False)
class TarSet:
    """Encoded images kept in memory; each is decoded when it is asked for."""

    source: str
    classes: tuple[str, ...]
    names: tuple[str, ...]
    encoded: tuple[bytes, ...]
    labels: NDArray[np.int64]
    notes: tuple[str, ...] = ()
    trained_on: tuple[str, ...] = ()  # the classes of the training split beside this one
    split: str = "test"  # the folder that was read
    by_name: bool = True  # the order of the classes follows from their names alone

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        """Return the image (RGB) and its label."""
        return self.image(index), int(self.labels[index])

    def image(self, index: int, channels: int = RGB) -> Image.Image:
        """Return the image as a network of so many channels takes it."""
        return decode_image(self.encoded[index], self.name(index), channels=channels)

    def name(self, index: int) -> str:
        """Return the archive and the member."""
        return f"{self.source}:{escape(self.names[index])}"


@dataclass
class _Noted:
    """What one pass over an archive sees besides the images that were asked for."""

    wanted: frozenset[str]  # names of splits that may be the one asked for, in lower case
    folders: set[str] = field(default_factory=set)
    above: set[str] = field(default_factory=set)  # folders that hold the splits
    trained_on: set[str] = field(default_factory=set)
    unread: dict[str, Unread] = field(default_factory=dict)  # by split


def open_tar(path: Path, split: str) -> TarSet:
    """Read one split; classes are in the order of their characters, images in that of their names.

    Raises:
        UsageError: when the archive is broken, too large, or has no images of that split.
    """
    members: dict[str, dict[str, bytes]] = {}  # split -> member name -> content
    noted = _Noted(frozenset(name.lower() for name in wanted_names(split)))
    total = 0
    for name, parts, data in _images(path, noted):
        total += len(data)
        if total > MAX_TOTAL_BYTES:
            raise UsageError(f"{path}: more than {MAX_TOTAL_BYTES} bytes of pictures; unpack it and give the folder.")
        members.setdefault(parts[0], {})[name] = data
    chosen = find_names(split, members)
    if not chosen:
        raise _without_class_folders(path, split, noted)
    content = members[chosen[0]]
    names = tuple(sorted(content))
    folders = [PurePosixPath(name).parts[1] for name in names]
    classes, spelling = sorted_classes(folders, path)
    number = {name: label for label, name in enumerate(classes)}
    labels = np.asarray([number[composed(folder)] for folder in folders], np.int64)
    other = () if chosen[0] == split else (f"{path}: {chosen[0]!r} is read as the split {split!r}",)
    notes = other + spelling + noted.unread.get(chosen[0], Unread()).messages()
    trained_on = sorted_classes(noted.trained_on, path)[0]
    return TarSet(
        str(path), classes, names, tuple(content[name] for name in names), labels, notes, trained_on, chosen[0]
    )


def _without_class_folders(path: Path, split: str, noted: _Noted) -> UsageError:
    """Return the error for a split that is not there, or that has its pictures in no class folders."""
    beside = [name for name in find_names(split, noted.unread) if _BESIDE in noted.unread[name].counts]
    if beside:
        return UnlabelledSplitError(
            f"{path}: the pictures of the split {beside[0]!r} lie in no class folders, so nothing says their classes; "
            f"unpack it and give the folder, and {option('class_map')}."
        )
    folders = ", ".join(escape(name) for name in sorted(noted.folders)) or "none"
    return MissingSplitError(
        f"{path}: no pictures in {split}/class/; folders there: {folders}. Where these are classes, unpack it and give "
        "the folder, which is split by itself."
    )


def _images(path: Path, noted: _Noted) -> Iterator[tuple[str, tuple[str, ...], bytes]]:
    """Yield name, path parts and content of every regular image file of the wanted splits; note the others."""
    try:
        with open_regular(path) as tar, tarfile.open(fileobj=tar, mode="r|*", tarinfo=bounded_headers()) as archive:
            for member in read_members(archive, os.fstat(tar.fileno()).st_size):
                parts = _parts(member, noted)
                if len(noted.above) > 1:
                    both = " and ".join(sorted(noted.above))
                    raise UsageError(f"{path}: two sets, {both}; unpack it and give one folder.")
                if member.isdir() or not parts or parts[0].lower() not in {*noted.wanted, *TRAIN}:
                    continue
                kind = _not_read(member, parts)
                if not kind and parts[0].lower() in TRAIN and len(noted.trained_on) < MAX_CLASSES:
                    noted.trained_on.add(parts[1])
                if parts[0].lower() not in noted.wanted:
                    continue
                if kind:
                    noted.unread.setdefault(parts[0], Unread()).add(kind, member.name)
                    continue
                if member.size > MAX_FILE_BYTES:
                    raise UsageError(f"{path}: {member.name} has {member.size} bytes; {MAX_FILE_BYTES} are allowed.")
                file = archive.extractfile(member)
                if file is not None:
                    yield "/".join(parts), parts, file.read()
    except (
        tarfile.TarError,
        lzma.LZMAError,
        zlib.error,
        EOFError,
        OSError,
        ValueError,
        RecursionError,
        MemoryError,
    ) as error:
        if is_out_of_memory(error):
            raise UsageError(f"{path}: its pictures do not fit into memory; unpack it and give the folder.") from error
        raise UsageError(f"{path}: not a readable tar archive ({type(error).__name__}: {error}).") from error


def _parts(member: tarfile.TarInfo, noted: _Noted) -> tuple[str, ...]:
    """Return the parts of a member's path from its split on, and note the folders they lie in."""
    parts = PurePosixPath(member.name).parts
    if parts and parts[0] == ".":
        parts = parts[1:]
    if parts and len(noted.folders) < SHOWN:
        noted.folders.add(parts[0])
    splits = {*noted.wanted, *TRAIN}
    if len(parts) > 2 and parts[0].lower() not in {*WORDS, *splits, "/"} and parts[1].lower() in splits:
        noted.above.add(parts[0])
        return parts[1:]
    return parts


def _not_read(member: tarfile.TarInfo, parts: tuple[str, ...]) -> str:
    """Return what messages call a member that is no image of a class, "" for an image."""
    hidden = next((part for part in parts[1:-1] if is_hidden(part)), None)
    if hidden is not None:
        return f"files in folders called {hidden}"
    if not member.isreg() or ".." in parts:
        return "links, devices and paths that lead out"
    if not is_image(parts[-1]) or is_hidden(parts[-1]):
        return kind_of(parts[-1])
    return _BESIDE if len(parts) < 3 else ""
