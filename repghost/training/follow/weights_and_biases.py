"""The figures of each epoch for Weights & Biases, where they are asked for: they leave this machine."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from repghost.errors import RepGhostError, ToolMissingError, install_command, option
from repghost.terminal import escape
from repghost.training.follow.hooks import Hooks
from repghost.training.follow.tensorboard import scalars
from repghost.training.state.state import EpochRecord

PROJECT = "repghost"  # where WANDB_PROJECT names no other


@contextmanager
def weights_and_biases(folder: Path, wanted: bool, recipe: Mapping[str, Any]) -> Iterator[Hooks]:
    """Give hooks that log each epoch as a run of Weights & Biases, which ends with the block.

    WANDB_MODE=offline keeps it in the folder; WANDB_PROJECT, WANDB_ENTITY and the like say where it goes otherwise.

    Args:
        folder: of the run; its name is that of the run there.
        wanted: whether anything is logged.
        recipe: of the training, as JSON values.

    Raises:
        ToolMissingError: when it is wanted and not installed.
    """
    if not wanted:
        yield Hooks()
        return
    if importlib.util.find_spec("wandb") is None:
        raise ToolMissingError(f"{option('wandb', True)} needs Weights & Biases: {install_command('wandb')}")
    import wandb

    run: Any = None

    def begin(epochs: int, images: int) -> None:
        nonlocal run
        folder.mkdir(parents=True, exist_ok=True)
        project = os.environ.get("WANDB_PROJECT") or PROJECT
        try:
            run = wandb.init(project=project, name=folder.name, dir=str(folder), config=dict(recipe))
        except Exception as error:  # its own errors, its transport's and the system's
            line = escape((str(error).strip().splitlines() or [type(error).__name__])[0], 200)
            raise RepGhostError(
                f"Weights & Biases does not begin a run ({line}). Log in with 'wandb login', set WANDB_MODE=offline, "
                f"or leave {option('wandb', True)} out."
            ) from error

    def epoch(record: EpochRecord) -> None:
        if run is not None:
            run.log(scalars(record), step=record.epoch)

    code = 1
    try:
        yield Hooks(begin=begin, epoch=epoch)
        code = 0
    finally:
        if run is not None:
            run.finish(exit_code=code)
