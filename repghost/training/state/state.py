"""The state of a training run, between two steps, and its form on disk."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch

from repghost.checkpoints.state_file import read_values, weights_in, write_values
from repghost.errors import UsageError, option
from repghost.training.recipe import Recipe, Weights, rank
from repghost.untrusted import parse_json

TEXT_LIMIT = 16 << 20  # bytes of JSON; 10,000 epochs take 4 million
VERSION = 3


@dataclass(frozen=True)
class EpochRecord:
    """One line of the log."""

    epoch: int  # from 1
    loss: float  # mean over the steps, with label smoothing and augmentation
    train_top1: float  # of the augmented images while training, in [0, 1]
    learning_rate: float  # of the last step
    seconds: float
    pictures_per_second: float
    held_out_top1: float = 0.0  # of the weights that are kept, in [0, 1]
    held_out_top5: float = 0.0
    held_out_loss: float = 0.0  # without label smoothing
    held_out_pictures: int = 0
    raw_top1: float | None = None  # of the weights that are not averaged, where both are evaluated
    broken_pictures: int = 0  # so far
    averaged_top1: float | None = None  # of the averaged weights, where both are evaluated
    weights: Weights = "averaged"  # those that are kept: the better ones of this epoch

    def rank(self, metric: str) -> tuple[float, float]:
        """Return the place of this epoch by a metric of `Recipe.eval_metric`, see `rank`."""
        return rank(metric, self.held_out_top1, self.held_out_top5, self.held_out_loss)

    def better_than(self, other: EpochRecord | None, metric: str) -> bool:
        """Return whether this epoch is the best so far by a metric of `Recipe.eval_metric`."""
        return other is None or self.rank(metric) > other.rank(metric)


@dataclass(frozen=True)
class Progress:
    """How far an unfinished epoch has come, over all processes."""

    batches: int = 0  # of each process
    loss: float = 0.0  # sum over the steps of one process
    right: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class RunState:
    """Everything a resumed run needs, between two steps."""

    recipe: Recipe
    classes: tuple[str, ...]
    history: tuple[EpochRecord, ...]
    progress: Progress
    model: Mapping[str, torch.Tensor]
    average: Mapping[str, torch.Tensor]  # empty without one
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    random: tuple[torch.Tensor, ...]  # the generator of each process, empty between epochs


def best_epoch(history: Sequence[EpochRecord], metric: str) -> EpochRecord | None:
    """Return the best record; of those with equal accuracy the one with the lowest loss."""
    best = None
    for record in history:
        if record.better_than(best, metric):
            best = record
    return best


def write_state(path: Path, state: RunState) -> None:
    """Write the state whole or not at all."""
    values = {
        "recipe": json.dumps(state.recipe.to_dict()),
        "classes": json.dumps(state.classes),
        "history": json.dumps([dataclasses.asdict(record) for record in state.history]),
        "progress": json.dumps(dataclasses.asdict(state.progress)),
        "model": dict(state.model),
        "average": dict(state.average),
        "optimizer": state.optimizer,
        "scaler": state.scaler,
        "random": list(state.random),
    }
    write_values(path, VERSION, values)


def read_state(path: Path) -> RunState:
    """Read a state that `write_state` wrote.

    Raises:
        UsageError: when there is none, or the file is something else.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no training state to resume from; leave {option('resume')} out to start a run.")
    return read_values(path, VERSION, "a training state", _state)


def _state(values: Mapping[str, Any]) -> RunState:
    return RunState(
        recipe=Recipe.from_dict(parse_json(values["recipe"], "its recipe")),
        classes=msgspec.convert(parse_json(values["classes"], "its classes", TEXT_LIMIT), tuple[str, ...]),
        history=msgspec.convert(_losses(values["history"]), tuple[EpochRecord, ...]),
        progress=msgspec.convert(parse_json(values["progress"], "its progress"), Progress),
        model=weights_in(values, "model"),
        average=weights_in(values, "average"),
        optimizer=values["optimizer"],
        scaler=values["scaler"],
        random=tuple(torch.Generator().set_state(state).get_state() for state in values["random"]),
    )


def _losses(text: str) -> Any:
    """Return the history as JSON, in which the loss of weights that overflow is NaN."""
    if len(text) > TEXT_LIMIT:
        raise UsageError(f"its history has {len(text)} characters; at most {TEXT_LIMIT} are allowed.")
    return json.loads(text)
