"""What a run changes of its recipe before it begins: float16 on a processor, and a batch too large for few images."""

from __future__ import annotations

from collections.abc import Collection

import torch

from repghost.errors import option
from repghost.training.recipe import Recipe

LEAST_STEPS = 150  # of the optimizer; in a few dozen, a network hardly leaves its start
SMALLEST_BATCH = 8  # batch norm's statistics are of little use below
SMALL_BATCH_RATE = 0.02  # learns on batches of 8, from random weights and from pretrained ones


def suit_amp(amp: str, device: torch.device) -> tuple[str, str]:
    """Return the type of mixed precision without float16 where there is no GPU, and what to tell the user, "" if equal.

    PyTorch's kernels for float16 take 7 times as long as those for float32 on a processor, and for bfloat16 up to 1.6
    times as long also where it has instructions for them (AVX512_BF16, both widths of input measured).
    """
    if device.type != "cpu" or amp != "float16":
        return amp, ""
    return "off", (
        "mixed precision: float16 is several times slower than float32 on a processor, so this run computes in "
        f"float32, as with {option('amp_dtype', 'off')}"
    )


def suit_device(recipe: Recipe, device: torch.device) -> tuple[Recipe, str]:
    """Return the recipe of a classifier with `suit_amp`, and what to tell the user."""
    amp, said = suit_amp(recipe.execution.amp, device)
    return recipe.changed(amp=amp) if said else recipe, said


def few_steps(steps: int, rising: int = 0) -> str:
    """Return what to tell the user of a run with too few steps of the optimizer, "" where there are enough.

    Args:
        steps: of the whole run.
        rising: the first steps, in which the rate rises.
    """
    if steps >= LEAST_STEPS and steps > rising:
        return ""
    rise = f", and the rate rises over the first {rising}" if rising >= steps else ""
    return f"{steps} steps in all{rise}: too few to learn much; take a smaller batch or more epochs"


def steps_of(recipe: Recipe, images: int, processes: int) -> int:
    """Return how many steps of the optimizer a run takes.

    Args:
        recipe: of the run.
        images: trained on, without those held out.
        processes: that share them.
    """
    return recipe.epochs * (images // (recipe.batch * processes * recipe.execution.accumulate))


def suit_images(recipe: Recipe, images: int, processes: int, given: Collection[str]) -> tuple[Recipe, str]:
    """Return the recipe with a batch and epochs that give enough steps, and what to tell the user, "" where it has.

    The learning rate falls with the batch by the linear rule, down to SMALL_BATCH_RATE.

    Args:
        recipe: of the run.
        images: trained on, without those held out.
        processes: that share them.
        given: fields of the recipe that the user chose; where batch or epochs are among them, nothing is changed.
    """
    steps = steps_of(recipe, images, processes)
    enough = None if steps >= LEAST_STEPS else _enough(recipe, images, processes)
    if enough is None:
        return recipe, ""
    rate = recipe.learning_rate
    if "learning_rate" not in given:
        rate = max(rate * enough.batch / recipe.batch, min(rate, SMALL_BATCH_RATE))
    few = (
        f"{images} training pictures in batches of {recipe.batch} are {steps} steps in {recipe.epochs} epochs, too few"
    )
    values = {"batch": enough.batch, "epochs": enough.epochs, "learning_rate": float(f"{rate:g}")}
    instead = " ".join(option(name, value) for name, value in values.items())
    many = f"{steps_of(enough, images, processes)} steps"
    if {"batch", "epochs"} & set(given):
        return recipe, f"{few} to learn much; {instead} would be {many}"
    return enough.changed(learning_rate=rate), f"{few} to learn much, so this run takes {instead}: {many}"


def _enough(recipe: Recipe, images: int, processes: int) -> Recipe | None:
    """Return the recipe with the largest batch that gives enough steps, else more epochs of the smallest one."""
    share = images // (processes * recipe.execution.accumulate)  # the largest batch that fills a step
    smallest = min(SMALLEST_BATCH, recipe.batch, share)
    if smallest < 2:  # too few for batch norm; refused where the run starts
        return None
    batch = recipe.batch
    while batch > smallest and steps_of(recipe.changed(batch=batch), images, processes) < LEAST_STEPS:
        batch = max(batch // 2, smallest)
    one_epoch = steps_of(recipe.changed(batch=batch), images, processes) // recipe.epochs
    return recipe.changed(batch=batch, epochs=max(recipe.epochs, -(-LEAST_STEPS // one_epoch)))
