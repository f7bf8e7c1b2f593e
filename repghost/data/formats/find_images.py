"""Every image file below a folder, linked folders included, and a count of what is none."""

from __future__ import annotations

import os
from pathlib import Path, PurePath

from repghost.data.formats.unread import Unread, is_hidden, kind_of
from repghost.data.images.decode import EXTENSIONS
from repghost.errors import UsageError

MAX_IMAGES = 20_000_000


def is_image(name: str) -> bool:
    """Return whether a file's name is that of an image; hidden ones, as macOS leaves beside each file, are not."""
    return PurePath(name).suffix.lower() in EXTENSIONS and not name.startswith(".")


def first_image(folder: Path) -> Path | None:
    """Return an image below a folder, always the same one, without listing more than it has to; None where none is."""
    for parent, below, names in os.walk(folder):
        below[:] = sorted(name for name in below if not is_hidden(name))
        found = min(filter(is_image, names), default=None)
        if found is not None:
            return Path(parent) / found
    return None


def find_images(folder: Path, unread: Unread, outside: Path, known: Path | None = None) -> list[Path]:
    """Return the image files below a folder, in an order that depends on names alone.

    Links to folders are followed. A folder that was read already, or that holds `outside`, is not read again, so a
    loop of links cannot trap the search.

    Args:
        folder: where the search begins.
        unread: counts what is not read.
        outside: a folder above it; links to it or to what holds it are not followed.
        known: a file that is read for something else.

    Raises:
        UsageError: when there are more than `MAX_IMAGES`.
    """
    seen = {_identity(path) for path in (outside.resolve(), *outside.resolve().parents)}
    found: list[Path] = []
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        if _identity(place) in seen:
            unread.add("links to a folder that is read already", place)
            continue
        seen.add(_identity(place))
        for entry in sorted(os.scandir(place), key=lambda entry: entry.name):
            path = place / entry.name
            if known is not None and path == known:
                continue
            if not _is_folder(entry):
                _take_file(entry, path, found, unread)
            elif is_hidden(entry.name):
                _count_hidden(path, unread)
            elif is_image(entry.name):
                unread.add("folders with the name of a picture", path)
            else:
                waiting.append(path)
        if len(found) > MAX_IMAGES:
            raise UsageError(f"{folder}: more than {MAX_IMAGES} pictures in one class.")
    return sorted(found)


def count_beside(folder: Path, unread: Unread) -> None:
    """Count what lies beside the class folders of a split."""
    for entry in os.scandir(folder):
        if _is_folder(entry):
            if is_hidden(entry.name):
                _count_hidden(folder / entry.name, unread)
        else:
            kind = "pictures outside the class folders" if is_image(entry.name) else kind_of(entry.name)
            unread.add(kind, folder / entry.name)


def _take_file(entry: os.DirEntry[str], path: Path, found: list[Path], unread: Unread) -> None:
    """Add an image to those found, or count a file that is none; pipes and links to nothing are broken images."""
    if is_hidden(entry.name) or not is_image(entry.name):
        unread.add(kind_of(entry.name), path)
    else:
        found.append(path)


def _count_hidden(folder: Path, unread: Unread) -> None:
    """Count the files below a hidden folder."""
    kind = f"files in folders called {folder.name}"
    for parent, _, names in os.walk(folder, followlinks=False):
        for name in names:
            unread.add(kind, Path(parent) / name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder or a link to one; a link to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _identity(folder: Path) -> tuple[int, int]:
    """Return what a folder is called by the file system, however it is reached."""
    stat = folder.stat()
    return stat.st_dev, stat.st_ino
