"""The checkpoint of a finished run, with its recipe and its accuracy in the metadata."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from repghost.checkpoints.checkpoint import write_checkpoint
from repghost.data import (
    ImageSet,
    MissingSplitError,
    UnlabelledSplitError,
    open_dataset,
    prepare_in_parts,
    refuse_empty,
)
from repghost.distributed.ranks import Ranks
from repghost.evaluation.accuracy import Accuracy, predict, wilson
from repghost.evaluation.classes import match_classes
from repghost.network.model import RepGhostNet
from repghost.training.recipe import Recipe
from repghost.training.train import TrainResult


def open_tested(
    data: Path,
    classes: tuple[str, ...],
    validation: ImageSet | None = None,
    class_map: Path | None = None,
    val_share: float | None = None,
) -> tuple[ImageSet | None, str]:
    """Return the test split of a set with the classes of a network, or None and the reason.

    Args:
        data: the set of images.
        classes: of the network, in the order of its logits.
        validation: what the epochs are evaluated on; a split that has images of it tests nothing.
        class_map: the class of each image, for a split without class folders.
        val_share: of each class that is held out of a folder of classes without splits.

    Raises:
        UsageError: when the split has other classes.
    """
    try:
        found = open_dataset(data, "test", class_map, val_share)
    except MissingSplitError:
        return None, "the set has no test split"
    except UnlabelledSplitError as error:
        return None, str(error)
    seen = set() if validation is None else {validation.name(index) for index in range(len(validation))}
    if any(found.name(index) in seen for index in range(len(found))):
        return None, "the set has no test split beside the one that the epochs were evaluated on"
    return match_classes(found, len(classes), classes), ""


def evaluate(model: RepGhostNet, recipe: Recipe, dataset: ImageSet, ranks: Ranks | None = None) -> Accuracy:
    """Return the top-1 on the test split; each process evaluates its share.

    Args:
        model: the network that is kept.
        recipe: its preprocessing is used.
        dataset: from `open_tested`.
        ranks: this process among the others, all with the same weights.
    """
    ranks = ranks or Ranks()
    right, count, broken = 0, 0, list[str]()
    for part in prepare_in_parts(dataset, recipe.preprocess, np.arange(len(dataset))[ranks.rank :: ranks.count]):
        broken += part.broken
        if len(part.labels):
            answers = predict(model, part.images, recipe.preprocess).argmax(1)
            right, count = right + int(np.count_nonzero(answers == part.labels)), count + len(part.labels)
    right, count = (int(total) for total in ranks.sums([right, count]))
    refuse_empty(count, [message for share in ranks.gather(broken) for message in share])
    return wilson(right, count)


def write_trained(
    path: Path, recipe: Recipe, result: TrainResult, classes: tuple[str, ...], tested: Accuracy | None, command: str
) -> str:
    """Write the checkpoint of a finished run and return its sha256.

    Args:
        path: the safetensors file.
        recipe: how it was trained.
        result: what `train` returned.
        classes: labels of the logits.
        tested: top-1 on the test split; None is recorded as not measured.
        command: that trains so again.
    """
    last = result.kept
    metadata: dict[str, Any] = {
        "command": command,
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
