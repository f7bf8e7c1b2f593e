"""The state of a training run on disk: read back without running anything that a file may contain."""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from repghost.errors import UsageError
from repghost.files import write_bytes_atomically, write_text_atomically
from repghost.recipe import Recipe

VERSION = 1


@dataclass(frozen=True)
class EpochRecord:
    """One line of the log."""

    epoch: int  # from 1
    loss: float  # mean over the steps, with label smoothing and augmentation
    train_top1: float  # of the augmented pictures while training, in [0, 1]
    learning_rate: float  # of the last step
    seconds: float
    pictures_per_second: float
    held_out_top1: float = 0.0  # of the averaged weights, in [0, 1]
    held_out_pictures: int = 0


@dataclass(frozen=True)
class RunState:
    """Everything a resumed run needs, at the end of an epoch."""

    recipe: Recipe
    history: tuple[EpochRecord, ...]
    model: Mapping[str, torch.Tensor]
    average: Mapping[str, torch.Tensor]
    optimizer: dict[str, Any]


def write_state(path: Path, state: RunState) -> None:
    """Write the state whole or not at all."""
    buffer = io.BytesIO()
    torch.save(
        {
            "version": VERSION,
            "recipe": json.dumps(state.recipe.to_dict()),
            "history": json.dumps([dataclasses.asdict(record) for record in state.history]),
            "model": dict(state.model),
            "average": dict(state.average),
            "optimizer": state.optimizer,
        },
        buffer,
    )
    write_bytes_atomically(path, buffer.getvalue())


def read_state(path: Path) -> RunState:
    """Read a state that `write_state` wrote.

    Raises:
        UsageError: when there is none, or the file is something else.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no training state to resume from; leave --resume out to start a run.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a foreign pickle protocol is refused below like any other
            values = torch.load(path, map_location="cpu", weights_only=True)
        if values["version"] != VERSION:
            raise UsageError(f"{path}: state version {values['version']!r}; this program reads version {VERSION}.")
        return RunState(
            recipe=Recipe.from_dict(json.loads(values["recipe"])),
            history=tuple(EpochRecord(**record) for record in json.loads(values["history"])),
            model=values["model"],
            average=values["average"],
            optimizer=values["optimizer"],
        )
    except (pickle.UnpicklingError, RuntimeError, LookupError, TypeError, ValueError, EOFError, OSError) as error:
        raise UsageError(f"{path}: not a training state ({type(error).__name__}: {error}).") from error


def write_log(path: Path, history: Sequence[EpochRecord]) -> None:
    """Write one JSON line per epoch, the whole file at once."""
    write_text_atomically(path, "".join(json.dumps(dataclasses.asdict(record)) + "\n" for record in history))
