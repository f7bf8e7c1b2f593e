"""The checkpoint of a finished run, with its recipe and its accuracy in the metadata."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from repghost.checkpoints.checkpoint import write_checkpoint
from repghost.data import MissingSplitError, open_dataset, prepare
from repghost.evaluation.accuracy import Accuracy, accuracy, predict
from repghost.network.model import RepGhostNet
from repghost.training.recipe import RECIPES, Recipe
from repghost.training.train import TrainResult


def evaluate(model: RepGhostNet, recipe: Recipe, data: Path) -> Accuracy | None:
    """Return the top-1 on the test split, or None when the set has none.

    Args:
        model: the network that is kept.
        recipe: its preprocessing is used.
        data: the set of images.
    """
    try:
        dataset = open_dataset(data, "test")
    except MissingSplitError:
        return None
    prepared = prepare(dataset, recipe.preprocess)
    return accuracy(predict(model, prepared.images, recipe.preprocess).argmax(1), prepared.labels)


def train_command(recipe: Recipe) -> str:
    """Return the command that trains by this recipe, with DIR for the folder of the images."""
    options = [f"--recipe {recipe.name}", f"--seed {recipe.seed}", f"--epochs {recipe.epochs}"]
    base = RECIPES.get(recipe.name)
    for name in ("width", "batch", "learning_rate", "held_out"):
        value = getattr(recipe, name)
        if base is not None and value != getattr(base, name):
            options.append(f"--{name.replace('_', '-')} {value}")
    return "repghost train --data DIR " + " ".join(options)


def write_trained(
    path: Path, recipe: Recipe, result: TrainResult, classes: tuple[str, ...], tested: Accuracy | None
) -> str:
    """Write the checkpoint of a finished run and return its sha256.

    Args:
        path: the safetensors file.
        recipe: how it was trained.
        result: what `train` returned.
        classes: labels of the logits.
        tested: top-1 on the test split; None is recorded as not measured.
    """
    last = result.kept
    metadata: dict[str, Any] = {
        "command": train_command(recipe),
        "recipe": recipe.to_dict(),
        "seed": recipe.seed,
        "epochs": last.epoch,
        "weights": "exponential moving average" if last.weights == "averaged" else "not averaged",
        "held_out": {"top1": last.held_out_top1, "pictures": last.held_out_pictures},
        "test": None if tested is None else tested.to_dict(),
        "broken_pictures": len(result.broken),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "timm", "pillow")},
    }
    return write_checkpoint(path, result.model, recipe.preprocess.to_dict(), classes, metadata)
