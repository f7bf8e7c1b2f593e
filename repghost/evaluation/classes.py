"""Matching the classes of a network with those of a set of images, by name."""

from __future__ import annotations

from repghost.data import ImageSet
from repghost.errors import UsageError

SHOWN_CLASSES = 5  # in a message


def check_classes(labels: tuple[str, ...] | None, count: int, classes: tuple[str, ...]) -> None:
    """Refuse a set whose classes are not the network's.

    Args:
        labels: of the checkpoint, when it knows them.
        count: the network's number of classes.
        classes: of the set of images.

    Raises:
        UsageError: when number, names or order differ.
    """
    if len(classes) != count:
        shown = ", ".join(classes[:SHOWN_CLASSES]) + (", ..." if len(classes) > SHOWN_CLASSES else "")
        raise UsageError(
            f"the network has {count} classes, the set of pictures {len(classes)} ({shown}); give the set the network "
            "was trained for."
        )
    if labels is not None and labels != classes:
        place = next(number for number in range(count) if labels[number] != classes[number])
        raise UsageError(
            f"class {place} is {labels[place]!r} in the checkpoint and {classes[place]!r} in the set of pictures; "
            "names and order have to be the same."
        )


def matching_classes(dataset: ImageSet, classes: int, labels: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the class names, the same in the checkpoint and in the set.

    Args:
        dataset: the images.
        classes: of the network.
        labels: of the checkpoint; None where it does not say.

    Raises:
        UsageError: when they differ.
    """
    if len(dataset.classes) != classes or (labels is not None and labels != dataset.classes):
        raise UsageError(
            f"the network has {classes} classes {list(labels or ())[:3]}, the pictures have {len(dataset.classes)} "
            f"{list(dataset.classes)[:3]}; both must be the same, in the same order. Give --data the set the "
            "network was trained on."
        )
    return dataset.classes
