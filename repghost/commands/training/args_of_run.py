"""What `repghost validate` takes of the args.yaml of a training run: the set, the width, and how pictures are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from repghost.commands.options.args_file import OF_A_MACHINE, option_of, refuse_unknown, says_nothing
from repghost.commands.training.train import command as train
from repghost.errors import UsageError

TAKEN = frozenset({"data", "dataset", "split", "width", "batch", "workers", "class_order", "class_map", "val_share"})
OF_PICTURES = frozenset({"img_size", "crop_pct"})  # a checkpoint of this program says them itself
NOT_HERE = frozenset({"input_size", "mean", "std", "interpolation"})  # --preprocess says them
WEIGHTS = ("model.safetensors", "model_best.pth.tar")  # that ours and timm's training leave beside the file


def of_validation(given: Mapping[str, Any], options: list[click.Option], path: Path) -> dict[str, Any]:
    """Return the defaults of a validation by the file of a training run; what only training uses is passed over.

    Args:
        given: from `repghost.commands.options.args_file.read_args`.
        options: of the command.
        path: of the file, for messages.

    Raises:
        UsageError: naming keys that neither command has, or what has to be said by --preprocess.
    """
    ours, found, unknown = "recipe" in given, {}, []
    of_training = [option for option in train.params if isinstance(option, click.Option)]
    for key, value in given.items():
        option, trained = option_of(key, options), option_of(key, of_training)
        if option is None and trained is None and key not in OF_A_MACHINE and not says_nothing(value, None):
            unknown.append(key)
        if says_nothing(value, trained) or says_nothing(value, option):
            continue
        if key in NOT_HERE and not ours:
            raise UsageError(
                f"{path}: {key} is {value!s:.80}, and checkpoints of such a run do not say it; give --preprocess FILE "
                "(see docs/training.md) and leave this line out."
            )
        if option is not None and option.name in (TAKEN if ours else TAKEN | OF_PICTURES):
            found[str(option.name)] = value
    refuse_unknown(unknown, path)
    if given.get("val_data"):
        found["data"] = given["val_data"]
    return found


def weights_beside(path: Path) -> str | None:
    """Return the weights that lie beside the file of a run; None where there are none."""
    beside = (path.with_name(name) for name in WEIGHTS)
    return next((str(weights) for weights in beside if weights.is_file()), None)
