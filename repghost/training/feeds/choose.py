"""Which images a run trains on, which its epochs are evaluated on, and the feed they come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from repghost.data import ImageSet, open_dataset, prepare
from repghost.data.formats.shards import is_shards, open_shards, shard_paths
from repghost.data.names.class_names import shown_names
from repghost.data.subset import choose_balanced
from repghost.errors import UsageError, option
from repghost.evaluation.classes import match_classes
from repghost.training.feeds.base import Feed
from repghost.training.feeds.loader import LoaderFeed
from repghost.training.feeds.memory import MemoryFeed, split_prepared
from repghost.training.follow.hooks import Hooks
from repghost.training.options import Options
from repghost.training.recipe import Recipe


def held_out_indices(labels: NDArray[np.int64], recipe: Recipe) -> NDArray[np.int64]:
    """Return the training images each epoch is evaluated on, which are never trained on, balanced over the classes.

    Raises:
        UsageError: when fewer than two batches would be left to train on.
    """
    if len(labels) - recipe.held_out < 2 * recipe.batch:
        raise UsageError(
            f"{len(labels)} pictures are too few to hold out {recipe.held_out} and train with batches of "
            f"{recipe.batch}; lower {option('held_out')} or {option('batch')}."
        )
    return choose_balanced(labels, recipe.held_out, recipe.seed)


def class_names(dataset: ImageSet, num_classes: int | None = None) -> tuple[str, ...]:
    """Return one name per class of the network.

    Raises:
        UsageError: when a class has no image, a label is outside the classes, or `num_classes` is less than the set
            has.
    """
    outside = dataset.labels[(dataset.labels < 0) | (dataset.labels >= len(dataset.classes))]
    if len(outside):
        raise UsageError(
            f"label {outside[0]} is outside the {len(dataset.classes)} classes of the set (0 to "
            f"{len(dataset.classes) - 1}), and so are the labels of {len(outside)} of {len(dataset.labels)} pictures; "
            "mend the set."
        )
    if len(dataset.classes) < 2:
        raise UsageError(
            f"all training pictures are of one class, {shown_names(dataset.classes)}; a network needs at least two to "
            "tell apart. Put the pictures of each class into a folder of its own."
        )
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    if not counts.all():
        names = ", ".join(repr(dataset.classes[place]) for place in np.flatnonzero(counts == 0)[:3])
        raise UsageError(f"no training picture of {names}; put pictures into that folder or remove it.")
    if num_classes is None:
        return dataset.classes
    if num_classes < len(dataset.classes):
        raise UsageError(
            f"{option('num_classes', num_classes)} is less than the {len(dataset.classes)} classes of the pictures; "
            "leave it out, or give at least so many."
        )
    return dataset.classes + tuple(f"unused {place}" for place in range(len(dataset.classes), num_classes))


def open_validation(
    data: Path,
    val_data: Path | None,
    split: str,
    training: ImageSet,
    class_map: Path | None = None,
    val_share: float | None = None,
) -> ImageSet:
    """Return the images each epoch is evaluated on, with the classes of the training images.

    Args:
        data: the set that is trained on.
        val_data: a set of its own instead of a split of `data`.
        split: of either.
        training: the images trained on; validation shards without names of their own get theirs.
        class_map: the class of each image, for a split without class folders.
        val_share: of each class that is held out of a folder of classes without splits.

    Raises:
        UsageError: when there are no such images, or one of them is also trained on.
    """
    if val_data is None and is_shards(data):
        raise UsageError(
            f"{data} is one split; give the shards that each epoch is evaluated on as {option('val_data')}."
        )
    if val_data is None or not is_shards(val_data):
        found = open_dataset(data if val_data is None else val_data, split, class_map, val_share)
    else:
        found = _validation_shards(data, val_data, training)
    if len(found) and len(training) and found.name(0) == training.name(0):  # a split is listed in one order
        raise UsageError(
            f"{found.name(0)} is trained on, and each epoch is evaluated on it; no picture may be both. Give another "
            f"{option('val_split')}."
        )
    return match_classes(found, len(training.classes), training.classes)


def _validation_shards(data: Path, val_data: Path, training: ImageSet) -> ImageSet:
    """Return the shards each epoch is evaluated on, which are none of those trained on."""
    if is_shards(data):
        both = {path.resolve() for path in shard_paths(data)} & {path.resolve() for path in shard_paths(val_data)}
        if both:
            raise UsageError(
                f"{option('val_data')} names {min(both)}, which {option('data')} trains on; no picture may do both."
            )
    # Numbers are places in a list, which folders do not have; their names are matched with those in classes.txt.
    return open_shards(val_data, None, None if getattr(training, "by_name", False) else training.classes)


def open_feed(
    recipe: Recipe,
    dataset: ImageSet,
    validation: ImageSet | None,
    classes: int,
    hooks: Hooks,
    options: Options,
) -> Feed:
    """Return where the recipe's batches come from.

    Args:
        recipe: says whether images are kept in memory.
        dataset: the training split.
        validation: what each epoch is evaluated on, where no training images are held out.
        classes: of the network.
        hooks: follow the decoding.
        options: workers and limits, where images are decoded in every epoch, and this process among the others.

    Raises:
        UsageError: when there are too few images, or nothing that evaluates.
    """
    if recipe.augmentation is None:
        held = held_out_indices(dataset.labels, recipe)
        rest = np.setdiff1d(np.arange(len(dataset)), held)
        everything = prepare(dataset, recipe.preprocess, np.concatenate([rest, held]), hooks.preparing)
        return MemoryFeed(
            recipe, *split_prepared(everything, int(np.isin(everything.indices, rest).sum())), options.ranks
        )
    if validation is None:
        raise UsageError(f"recipe {recipe.name!r} evaluates each epoch on a split of its own; the set has none.")
    validation = match_classes(validation, len(dataset.classes), dataset.classes)
    return LoaderFeed(recipe, dataset, validation, classes, options.loading, options.ranks)
