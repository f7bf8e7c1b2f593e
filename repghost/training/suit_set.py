"""What a run takes from its images where the caller chose nothing: input size, held-out images, workers."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from repghost.data import ImageSet
from repghost.data.names.class_names import shown_names
from repghost.data.sides import short_sides
from repghost.errors import option
from repghost.network.spec import model_name
from repghost.sizes import sides
from repghost.training.recipe import Recipe

STRIDE, SMALLEST = 32, 64  # pixels: of the network, and of an input from which it learns something
BLURRED, LARGE = 4, 4096  # times that an image is enlarged, and pixels of a short side, from which it is said
OF_SIZE = frozenset({"img_size", "input_size", "crop_pct"})
HELD_OUT = 0.2  # of the images, where a recipe for more of them holds out too many
FEW = 10  # images of a class, below which it is said
PER_WORKER = 200  # images of an epoch, below which another process that decodes starts for nothing
FOR_PRETRAINED = 20_000  # images, below which random weights hardly learn


def suit_size(recipe: Recipe, images: ImageSet, given: Collection[str]) -> tuple[Recipe, str]:
    """Return the recipe with an input that suits most of the images, and what to tell, "" where there is nothing.

    The size is the largest multiple of `STRIDE` up to the median short side, at least `SMALLEST` and at most the
    recipe's own.

    Args:
        recipe: of the run.
        images: trained on.
        given: values of the recipe that the caller chose.
    """
    found = short_sides(images)
    if recipe.augmentation is None or not len(found):
        return recipe, ""
    own, resize = sides(recipe.preprocess.size)[0], sides(recipe.preprocess.resize)[0]
    size = own
    if not OF_SIZE & set(given):
        size = min(own, max(SMALLEST, int(np.median(found)) // STRIDE * STRIDE))
    if size != own:
        recipe = recipe.changed(preprocess=replace(recipe.preprocess, size=size, resize=int(size * resize / own)))
    return recipe, _uneven(found, size)


def _uneven(found: NDArray[np.int64], size: int) -> str:
    """Return what to tell of images that are far smaller than the input, or so large that decoding takes the time."""
    small, large = int((found * BLURRED <= size).sum()), int((found >= LARGE).sum())
    if not small and not large:
        return ""
    said = [f"the short sides of the pictures are {found.min()} to {found.max()} px, and the input has {size}"]
    if small:
        said.append(f"{small} of {len(found)} are enlarged {BLURRED} times or more and blurred, so leave them out")
    if large:
        said.append(f"{large} of {len(found)} have {LARGE} px or more to decode in every epoch, so make them smaller")
    return "; ".join(said)


def suit_held_out(recipe: Recipe, images: int, given: Collection[str]) -> Recipe:
    """Return a recipe that holds out a share of few images, where its own number of them would leave too few."""
    if "held_out" in given or recipe.augmentation is not None or recipe.held_out <= images * HELD_OUT:
        return recipe
    return recipe.changed(held_out=max(1, int(images * HELD_OUT)))


def usual_workers(images: int) -> int:
    """Return how many processes decode, where nobody says it."""
    return min(4, os.cpu_count() or 1, images // PER_WORKER)


def notes_on_few(images: ImageSet) -> str:
    """Return what to tell of classes with few images to train on, "" where each has enough."""
    counts = np.bincount(images.labels, minlength=len(images.classes)).tolist()
    few = [(name, count) for name, count in zip(images.classes, counts, strict=True) if count < FEW]
    if not few:
        return ""
    return (
        f"fewer than {FEW} pictures to train on of {shown_names(name for name, _ in few)} (the fewest: "
        f"{min(count for _, count in few)}); a class needs some dozens, so add pictures or remove its folder"
    )


def random_start(recipe: Recipe, images: int) -> str:
    """Return what to tell of a run that begins with random weights on few images, "" for any other."""
    if recipe.augmentation is None or images >= FOR_PRETRAINED:
        return ""
    return (
        f"{model_name(recipe.width)} begins with random weights, which {images} pictures can hardly teach; begin with "
        f"ImageNet's: {option('pretrained', True)}, or without a network with the bundled ones of 0.5x, learned from "
        f"Fashion-MNIST: {option('pretrained', 'bundled')}"
    )
