"""An ImageFolder tree, ImageNet's layout: `split/class/image`, classes in the order of their characters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from repghost.channels import RGB
from repghost.data.base import MissingSplitError, UnlabelledSplitError
from repghost.data.formats.find_images import count_beside, find_images, is_image
from repghost.data.formats.one_folder import VAL_SHARE, held_out, is_split_folder, part_of, speaks_of_splits
from repghost.data.formats.unread import Unread, is_hidden
from repghost.data.images.decode import EXTENSIONS, read_image
from repghost.data.names.class_map import ANNOTATIONS, IMAGES, ClassMap, order_of, read_class_map
from repghost.data.names.class_names import composed, sorted_classes
from repghost.data.names.split_names import TEST, TRAIN, WORDS, find_names
from repghost.errors import UsageError, option
from repghost.terminal import escape

SHOWN = 20  # folders in a message


@dataclass(frozen=True, eq=False)
class FolderSet:
    """Images in files.

    Attributes:
        classes: one per folder, or as a class map names them.
        paths: of the images.
        labels: int64 [N].
        by_name: whether the order of the classes follows from their names alone.
        trained_on: the classes of the training split beside this one, where there is one.
        split: the folder that was read.
        notes: what a user should know about how the set was read.
    """

    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    by_name: bool = True
    notes: tuple[str, ...] = ()
    trained_on: tuple[str, ...] = ()
    split: str = "test"

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        """Return the image (RGB) and its label."""
        return self.image(index), int(self.labels[index])

    def image(self, index: int, channels: int = RGB) -> Image.Image:
        """Return the image as a network of so many channels takes it."""
        return read_image(self.paths[index], channels=channels)

    def name(self, index: int) -> str:
        """Return the path of the file."""
        return escape(self.paths[index])


def open_imagefolder(
    folder: Path, split: str, class_map: Path | None = None, val_share: float | None = None
) -> FolderSet:
    """List the images of one split, in an order that depends on names alone.

    Args:
        folder: that holds the splits, or the classes of a set without splits, which is cut in two.
        split: its name, in any case; 'val' and 'test' stand in for each other.
        class_map: a file that says the class of each image, for a split without class folders.
        val_share: of each class that is held out of a set without splits; None: `VAL_SHARE`.

    Raises:
        UsageError: when the split, its classes or its images are missing, or a class has a name that cannot be.
    """
    part = part_of(split)
    if part is not None and class_map is None and _has_no_splits(folder):
        return _part_of_folder(folder, part, VAL_SHARE if val_share is None else val_share)
    if val_share is not None and any(name.lower() in WORDS for name in _folders(folder)):
        splits = ", ".join(escape(name) for name in _folders(folder)[:SHOWN])
        raise UsageError(
            f"{option('val_share')} has no effect on {folder}, which has its splits already ({splits}); leave it out."
        )
    for name in _split_folders(folder, split):
        root = folder / name
        notes = () if name == split else (f"{folder}: {name!r} is read as the split {split!r}",)
        own = root / ANNOTATIONS.format(name)
        if names := _class_folders(root):
            unused = (
                ()
                if class_map is None
                else (f"{root}: has class folders, so {option('class_map')} is not read for it",)
            )
            found = _from_folders(root, names, notes + unused)
        elif class_map is not None or own.is_file():
            found = _from_map(root, read_class_map(class_map or own), notes)
        else:
            continue
        return replace(found, trained_on=_trained_on(folder), split=name)
    raise _without_labels(folder / _split_folders(folder, split)[0], folder)


def _has_no_splits(folder: Path) -> bool:
    """Return whether a folder holds class folders, and nothing says that it has splits or is one."""
    names = _folders(folder)
    return not speaks_of_splits(names) and not is_split_folder(folder) and bool(_with_images(folder, names))


def _with_images(folder: Path, names: list[str]) -> list[str]:
    """Return which of the first few folders in one hold images."""
    return [name for name in names[:SHOWN] if any(is_image(entry.name) for entry in (folder / name).iterdir())]


def _part_of_folder(folder: Path, part: str, share: float) -> FolderSet:
    """Return the images to train on, or those held out, of a folder of classes."""
    found = _from_folders(folder, _folders(folder), ())
    names = [path.relative_to(folder).as_posix() for path in found.paths]
    held = held_out(folder, names, found.labels, found.classes, share)
    places = np.flatnonzero(held == (part != TRAIN[0]))
    note = (
        f"{folder} has no splits: {held.sum()} of its {len(held)} pictures are held out to evaluate on "
        f"({option('val_share', share)} of each class, the same ones in every command), the others train and calibrate"
    )
    return replace(
        found,
        paths=tuple(found.paths[place] for place in places),
        labels=found.labels[places],
        notes=(note, *found.notes),
        trained_on=found.classes,
        split=part if part == TRAIN[0] else f"{share:.0%} held out of each class",
    )


def _from_folders(root: Path, names: list[str], notes: tuple[str, ...]) -> FolderSet:
    """Return the images of class folders."""
    classes, spelling = sorted_classes(names, root)
    number = {name: label for label, name in enumerate(classes)}
    unread, rows = Unread(), list[tuple[int, Path]]()
    for name in names:
        rows += [(number[composed(name)], path) for path in find_images(root / name, unread, root)]
    if not rows:
        raise UsageError(f"{root}: no pictures; files that end in {', '.join(sorted(EXTENSIONS))} are read.")
    count_beside(root, unread)
    rows.sort()
    labels = np.asarray([label for label, _ in rows], np.int64)
    return FolderSet(classes, tuple(path for _, path in rows), labels, notes=(*notes, *spelling, *unread.messages()))


def _from_map(root: Path, class_map: ClassMap, notes: tuple[str, ...]) -> FolderSet:
    """Return the images of a split without class folders whose classes a file says."""
    unread, found = Unread(), list[tuple[Path, str]]()
    for path in find_images(root, unread, root.parent, class_map.path):
        name = class_map.class_of(path)
        if name is None:
            unread.add("pictures without a line in the class map", path)
        else:
            found.append((path, name))
    if not found:
        raise UsageError(
            f"{class_map.path} names none of the pictures in {root}; its lines have to be a file name and a class."
        )
    classes, by_name = order_of({name for _, name in found}, class_map.path)
    number = {name: label for label, name in enumerate(classes)}
    labels = np.asarray([number[name] for _, name in found], np.int64)
    return FolderSet(classes, tuple(path for path, _ in found), labels, by_name, (*notes, *unread.messages()))


def _trained_on(folder: Path) -> tuple[str, ...]:
    """Return the classes of the training split, none where there is no such split."""
    root = folder / next(iter(find_names("train", _folders(folder))), "")
    return () if root == folder else sorted_classes(_class_folders(root), root)[0]


def _folders(folder: Path) -> list[str]:
    """Return the names of the folders in one, without hidden ones."""
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not is_hidden(entry.name))


def _class_folders(root: Path) -> list[str]:
    """Return the names of a split's class folders, none where its images lie in one folder for all classes."""
    names = _folders(root)
    return [] if names == [IMAGES] else names


def _split_folders(folder: Path, split: str) -> tuple[str, ...]:
    """Return the folders that may be a split, the best first."""
    present = _folders(folder)
    found = find_names(split, present)
    if found:
        return found
    names = ", ".join(escape(name) for name in present[:SHOWN]) or "none"
    if is_split_folder(folder) and _with_images(folder, present):
        raise MissingSplitError(
            f"{folder} is one split of a set, with the classes {names}; give the folder that holds the splits: "
            f"{option('data', folder.absolute().parent)}."
        )
    if any(is_image(entry.name) for entry in folder.iterdir() if entry.is_file()):
        raise MissingSplitError(
            f"{folder}: its pictures lie in no class folders, so nothing says their classes. Put those of each class "
            f"into a folder of its own: {folder}/CLASS/picture.jpg."
        )
    if hint := _hint(folder, split, present):
        raise MissingSplitError(f"{folder}: no split {split!r}; folders there: {names}. {hint}")
    raise MissingSplitError(
        f"{folder}: no split {split!r}; folders there: {names}. Known layouts: split/class/picture (ImageNet), "
        "also in a tar, class/picture, which is split by itself, Fashion-MNIST's idx files, CIFAR-10 as torchvision "
        "downloads it, WebDataset shards by a name with {}."
    )


def _hint(folder: Path, split: str, present: list[str]) -> str:
    """Return which folder to give where the one that was given lacks a split, "" where none fits."""
    if part_of(split) == TEST[0] and len(trained := find_names(TRAIN[0], present)) == 1:
        return (
            f"Put pictures to evaluate on into {folder / split}/CLASS/, or give "
            f"{option('data', folder / trained[0])}, of which a part is held out."
        )
    below = [
        name for name in present[:SHOWN] if find_names(split, _folders(folder / name)) or _has_no_splits(folder / name)
    ]
    return f"Give {option('data', folder / below[0])}." if len(below) == 1 else ""


def _without_labels(root: Path, folder: Path) -> UsageError:
    """Return the error for a split of which nothing says the classes."""
    if not any(is_image(path.name) for place in (root, root / IMAGES) if place.is_dir() for path in place.iterdir()):
        return UsageError(f"{root}: no class folders; an ImageFolder tree has split/class/picture.jpg.")
    others = [name for name in ("val", "valid", "validation") if name != root.name and (folder / name).is_dir()]
    hint = f" If {others[0]!r} has labels, ask for that one: {option('split', others[0])}." if others else ""
    return UnlabelledSplitError(
        f"{root}: pictures without class folders, so nothing says their classes. Give {option('class_map', 'FILE')} "
        "with a line for each picture, its file name and its class (for ILSVRC's val: LOC_val_solution.csv of Kaggle, "
        f"or lines such as 'ILSVRC2012_val_00000001.JPEG n01751748'), or sort them into {root}/CLASS/.{hint}"
    )
