"""The file that gives the class of each image of a split without class folders.

A line has the name of an image and its class, separated by a tab, a comma or blanks, as in ILSVRC's val.txt, Kaggle's
LOC_val_solution.csv and Tiny-ImageNet's val_annotations.txt. What follows the class is not looked at.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from repghost.data.names.class_names import MAX_CLASSES, check_class_name, read_text, shown_names
from repghost.errors import UsageError

ANNOTATIONS = "{}_annotations.txt"  # of Tiny-ImageNet, beside the images of a split of that name
IMAGES = "images"  # the folder in which they lie there

_KAGGLE = "ImageId,PredictionString"  # its first line; the class is the first word of the second column


@dataclass(frozen=True)
class ClassMap:
    """The class of each image of a split.

    Attributes:
        path: of the file.
        by_name: class by the name of the image's file, and by that without its suffix.
    """

    path: Path
    by_name: dict[str, str]

    def class_of(self, image: Path) -> str | None:
        """Return the class of an image, None where the file does not name it."""
        return self.by_name.get(image.name, self.by_name.get(image.stem))


def read_class_map(path: Path) -> ClassMap:
    """Read a file of lines with an image and its class.

    Raises:
        UsageError: when it cannot be read, a line has no class, or an image is there twice with two of them.
    """
    lines = read_text(path, "a picture and its class").split("\n")
    kaggle = lines[0].strip() == _KAGGLE
    by_name: dict[str, str] = {}
    for number, line in enumerate(lines[kaggle:], 1 + kaggle):
        if not line.strip():
            continue
        try:
            parts = [part.strip() for part in _columns(line)]
        except csv.Error as error:
            raise UsageError(f"{path}: line {number} cannot be read ({error}); mend the file.") from error
        if len(parts) < 2 or not parts[1]:
            raise UsageError(
                f"{path}: line {number} is {line[:80]!r}; each needs the name of a picture and its class, e.g. "
                "ILSVRC2012_val_00000001.JPEG n01751748. A list of classes alone does not say which picture is which."
            )
        name = check_class_name(parts[1].split()[0] if kaggle else parts[1], f"{path}, line {number}")
        if by_name.setdefault(Path(parts[0]).name, name) != name:
            raise UsageError(f"{path}: line {number} gives {parts[0]!r} a second class, {name!r}; mend the file.")
    return ClassMap(path, by_name)


def _columns(line: str) -> list[str]:
    """Return the parts of a line; with commas, quotes hold a part together."""
    if "\t" in line:
        return line.split("\t")
    return next(csv.reader([line])) if "," in line else line.split(maxsplit=1)


def order_of(classes: set[str], path: Path) -> tuple[tuple[str, ...], bool]:
    """Return the classes of a map in order, and whether that follows from their names alone.

    Whole numbers are places among the logits; names have the order of their characters.

    Raises:
        UsageError: when numbers do not begin with 0.
    """
    if not all(name.isascii() and name.isdigit() and len(name) < len(str(MAX_CLASSES)) for name in classes):
        return tuple(sorted(classes)), True
    numbers = {int(name) for name in classes}
    if 0 not in numbers or len(numbers) < len(classes):
        raise UsageError(
            f"{path}: the classes are numbers from {min(numbers)} to {max(numbers)} ({shown_names(sorted(classes))}); "
            "places among the answers of a network begin with 0. Write the names of the classes instead."
        )
    return tuple(str(number) for number in range(max(numbers) + 1)), False
