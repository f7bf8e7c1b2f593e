"""Which recipe a run takes that names none: what its images look like decides, and what else was given."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields

import numpy as np

from repghost.data import ImageError, ImageSet
from repghost.errors import UsageError, option
from repghost.network.spec import parse_width
from repghost.training.recipe import IMAGENET_RECIPE, Recipe
from repghost.training.recipe_parts import Augmentation

LOOKED_AT = 16  # images of a set, evenly spaced
SMALL = 64  # pixels of the long side, up to which images are enlarged to 64 x 64 and kept in memory
COLOUR = 2.0  # mean difference between the largest and the smallest channel of a pixel, of 255
WIDE = 1.3  # the width from which the authors trained with RandAugment
# Arguments of `repghost.train` that have an effect only where images are decoded again in every epoch.
OF_LOADING = ("workers", "pin_mem", "validation_batch_size_multiplier", "broken_limit", "val_split", "val_data")
_OF_AUGMENTATION = frozenset(item.name for item in fields(Augmentation))


@dataclass(frozen=True)
class Look:
    """What some images of a set look like."""

    long_side: int  # of the largest, in pixels
    grey: bool  # all of them


def look_at(images: ImageSet) -> Look | None:
    """Return what the images of a set look like; None where not one of those looked at can be read."""
    sides, colours = [], []
    for index in np.unique(np.linspace(0, len(images) - 1, min(LOOKED_AT, len(images))).astype(int)).tolist():
        try:
            image = images[index][0]
        except ImageError:
            continue
        sides.append(max(image.size))
        colours.append(float(np.ptp(np.asarray(image), axis=2).mean()))
    return Look(max(sides), max(colours) <= COLOUR) if sides else None


def choose_recipe(images: ImageSet, given: Collection[str], width: str | float | None = None) -> tuple[str, str]:
    """Return the name of a recipe and why it was chosen.

    Args:
        images: trained on.
        given: names of the arguments of `repghost.train` that were given.
        width: of the network, as it was given.
    """
    look, decoded = look_at(images), {*OF_LOADING, *_OF_AUGMENTATION} & set(given)
    if look is not None and look.long_side <= SMALL and not decoded:
        name, what = ("demo", "grey") if look.grey else ("cifar", "in colour")
        return name, f"the pictures are {what} and at most {SMALL} pixels large"
    why = f"{option(min(decoded))} was given" if decoded else f"the pictures are larger than {SMALL} pixels"
    if "pretrained" in given:
        return "finetune", f"{why}, and {option('pretrained')}"
    multiplier = 0.0 if width is None else parse_width(str(width).removeprefix("repghost."), custom=True)
    if multiplier >= WIDE and "color_jitter" not in given:
        return "imagenet-wide", f"{why}, and the width is {WIDE} or more"
    return IMAGENET_RECIPE.name, why


def refuse_colours(recipe: Recipe, images: ImageSet) -> None:
    """Refuse images in colour under the recipe whose statistics are of grey ones.

    Raises:
        UsageError: naming the recipes for such images.
    """
    if recipe.name != "demo":
        return
    look = look_at(images)
    if look is not None and not look.grey:
        suited = "cifar" if look.long_side <= SMALL else IMAGENET_RECIPE.name
        raise UsageError(
            "recipe 'demo' is for small grey pictures, by whose mean and deviation it normalizes; these are in colour. "
            f"Give {option('recipe', suited)}, or leave it out."
        )
