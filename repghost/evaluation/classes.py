"""The classes of a set of images and those of a network, matched by name: the only place where they meet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from repghost.data import ImageSet, image_of, left_out, notes_on
from repghost.data.names.class_names import (
    CHARACTERS,
    CLASSES_FILE,
    NATURAL,
    SHOWN,
    composed,
    in_natural_order,
    one_line,
    orders_of,
    read_class_names,
    shown_names,
)
from repghost.errors import UsageError, option


@dataclass(frozen=True, eq=False)
class MatchedSet:
    """A set of images whose labels are places among the logits of a network.

    Attributes:
        dataset: as it was opened.
        classes: of the network, in the order of its logits.
        labels: int64 [N].
        notes: of the set, and on the classes it lacks.
    """

    dataset: ImageSet
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    notes: tuple[str, ...]

    @property
    def broken(self) -> tuple[str, ...]:
        """Messages for samples that are no images of the set."""
        return left_out(self.dataset)

    @property
    def starts(self) -> NDArray[np.int64] | None:
        """The number of each shard's first image, where the set is made of shards."""
        return getattr(self.dataset, "starts", None)

    @property
    def split(self) -> str | None:
        """The folder that was read, which may stand in for the split that was asked for; None where there is none."""
        return getattr(self.dataset, "split", None)

    @property
    def by_name(self) -> bool:
        """Whether the set tells its classes apart by names alone, so that a number says none of them."""
        return getattr(self.dataset, "by_name", False)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        """Return the image (RGB) and the place of its class among the logits."""
        return self.dataset[index][0], int(self.labels[index])

    def image(self, index: int, channels: int) -> Image.Image:
        """Return the image as a network of so many channels takes it."""
        return image_of(self.dataset, index, channels)

    def name(self, index: int) -> str:
        """Return what messages call the image."""
        return self.dataset.name(index)


def match_classes(
    dataset: ImageSet, count: int, labels: tuple[str, ...] | None = None, order: str | None = None
) -> ImageSet:
    """Return a set with the classes of a network, in the order of its logits; each image keeps the name of its class.

    A network that does not name its classes has those of the set's training split, where there is one.

    Args:
        dataset: the images; it may lack classes of the network.
        count: the network's number of classes.
        labels: the network's class names; None where it does not say.
        order: for a network that does not say: "natural" or "characters", the order of the set's names that it was
            trained in, or a file with one class name per line.

    Raises:
        UsageError: when the set has classes that the network does not have, when nothing says the order of the
            network's, or `order` contradicts `labels`.
    """
    names = _names_of_network(dataset, count, labels, order)
    notes = notes_on(dataset)
    if order in (CHARACTERS, NATURAL) and names is labels:
        notes += (f"{option('class_order', order)} changed nothing: the network names its classes itself",)
    numbers = match_names(dataset.classes, names)
    places = numbers[dataset.labels]
    notes += lacking_note(names, places)
    if names == dataset.classes and notes == notes_on(dataset):
        return dataset
    return MatchedSet(dataset, names, places, notes)


def lacking_note(own: Sequence[str], places: NDArray[np.int64]) -> tuple[str, ...]:
    """Return what to tell of a set without some classes of a network, at most one sentence.

    Args:
        own: the classes of the network.
        places: int64 [N], those among them that the set has, in any order.
    """
    lacking = [own[place] for place in np.setdiff1d(np.arange(len(own)), places).tolist()]
    return (f"the set lacks classes of the network's {len(own)}: {shown_names(lacking)}",) if lacking else ()


def match_names(given: Sequence[str], own: Sequence[str]) -> NDArray[np.int64]:
    """Return the place of each class of a set among those of a network, int64 [N], by its name.

    Args:
        given: the classes of the set.
        own: the classes of the network.

    Raises:
        UsageError: naming the classes of the set that the network does not have, or that one of the two has twice.
    """
    repeated = [name for name, times in Counter(map(_key, given)).items() if times > 1]
    if repeated:
        raise UsageError(
            f"the set of pictures has more than one class called {shown_names(repeated)}, and classes are matched by "
            "name. Give each class of the set another name."
        )
    places: dict[str, list[int]] = {}
    for place, name in enumerate(own):
        places.setdefault(_key(name), []).append(place)
    twice = [name for name in given if len(places.get(_key(name), ())) > 1]
    if twice:
        raise UsageError(
            f"the network has more than one class called {shown_names(twice)}, so names do not say which of them the "
            "set of pictures means. Write the weights again with another name for each class."
        )
    unknown = [name for name in given if _key(name) not in places]
    if not unknown:
        return np.asarray([places[_key(name)][0] for name in given], np.int64)
    theirs = {_key(name) for name in given}
    lacking = [name for name in own if _key(name) not in theirs]
    lacks = f"; it lacks {shown_names(lacking)}" if lacking else ""
    mend = "rename those of the set, or give the set the network was trained for"
    if _are_numbers(given):
        mend = (
            f"write names for the numbers, into {CLASSES_FILE} beside shards or into the lines of {option('class_map')}"
        )
    raise UsageError(
        f"the set of pictures has classes that are not among the network's {len(own)}: {shown_names(unknown)}{lacks}. "
        f"Classes are matched by name: {mend}."
    )


def numbered_labels(classes: int) -> tuple[str, ...]:
    """Return "class 0", "class 1" and so on, for a network that does not name its classes."""
    return tuple(f"class {index}" for index in range(classes))


def reordering(classes: tuple[str, ...], others: tuple[str, ...]) -> NDArray[np.int64] | None:
    """Return where each class stands among the logits of another network, None where all stand at their own place.

    Raises:
        UsageError: when the two do not have the same classes.
    """
    if [_key(name) for name in classes] == [_key(name) for name in others]:
        return None
    if {_key(name) for name in classes} != {_key(name) for name in others}:
        differing = shown_names(sorted(set(classes) ^ set(others)))
        raise UsageError(f"the networks differ in their classes: {differing}; validate them one after the other.")
    return match_names(classes, others)


def _are_numbers(names: Sequence[str]) -> bool:
    """Return whether the names of classes are their places, as those of shards and class maps without names."""
    return list(names) == [str(place) for place in range(len(names))]


def _key(name: str) -> str:
    """Return what the spellings of one class share."""
    return composed(one_line(name))


def _names_of_network(
    dataset: ImageSet, count: int, labels: tuple[str, ...] | None, order: str | None
) -> tuple[str, ...]:
    """Return the network's classes in the order of its logits."""
    given = _listed(order)
    if labels is not None and labels != numbered_labels(count):
        if given is not None:
            refuse_other_names("class_order", given, labels)
        return labels
    if given is not None:
        if len(given) != count:
            raise UsageError(f"{order} names {len(given)} classes, the network has {count}; each needs one line.")
        return given
    by_name = getattr(dataset, "by_name", False)  # else the set itself gives the order
    classes = dataset.classes
    if by_name and len(getattr(dataset, "trained_on", ())) == count:
        classes = dataset.trained_on  # type: ignore[attr-defined]
    if not by_name and _are_numbers(classes) and len(classes) < count:
        return tuple(str(place) for place in range(count))  # of the last classes, the set has no picture
    if len(classes) != count:
        raise UsageError(
            f"the network has {count} classes, the set of pictures {len(classes)} ({shown_names(classes)}), and the "
            f"network does not name its own. Give the set it was trained for, or {option('class_order', 'FILE')} with "
            "its class names, one a line in the order of its answers."
        )
    if not by_name or order == CHARACTERS:
        return classes
    if order == NATURAL:
        return in_natural_order(classes)
    _refuse_several_orders(classes)
    return classes


def _refuse_several_orders(classes: tuple[str, ...]) -> None:
    """Refuse names that programs sort in different ways."""
    orders = orders_of(classes)
    if len(orders) == 1:
        return
    place = next(place for place, names in enumerate(zip(*orders.values(), strict=True)) if len(set(names)) > 1)
    ways = "; ".join(f"{how}: {shown_names(names[place : place + SHOWN])}" for how, names in orders.items())
    raise UsageError(
        "the network does not name its classes, and programs do not sort the folders of this set alike. From class "
        f"{place} on they are, {ways}. Give {option('class_order', 'characters')} or "
        f"{option('class_order', 'natural')}, as the program that trained it sorts, or {option('class_order', 'FILE')} "
        "with the names in its order, one a line."
    )


def _listed(order: str | None) -> tuple[str, ...] | None:
    """Return the class names of a file, None where `order` is none."""
    if order in (None, CHARACTERS, NATURAL):
        return None
    if not Path(order).exists():
        raise UsageError(
            f"{option('class_order', order)} is no file; allowed: {NATURAL}, {CHARACTERS}, or a file of names."
        )
    return read_class_names(Path(order))


def refuse_other_names(argument: str, given: tuple[str, ...], labels: tuple[str, ...]) -> None:
    """Refuse a list of classes that are not those a network names itself, in its order.

    Args:
        argument: that gives the list.
        given: the list.
        labels: of the network.

    Raises:
        UsageError: naming the first that differs.
    """
    names, own = [_key(name) for name in given], [_key(name) for name in labels]
    if names == own:
        return
    place = next((place for place, (one, other) in enumerate(zip(names, own, strict=False)) if one != other), None)
    differing = "" if place is None else f", and class {place} is {given[place]!r} there and {labels[place]!r} here"
    raise UsageError(
        f"{option(argument)} lists {len(given)} classes, and the network names {len(labels)} itself{differing}; "
        f"what a network says counts, so leave {option(argument)} out."
    )
