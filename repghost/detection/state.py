"""The state of a detection training, between any two steps, and its form on disk."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch

from repghost.checkpoints.state_file import read_values, weights_in, write_values
from repghost.detection.evaluate import Precision
from repghost.detection.recipe import DetectionRecipe
from repghost.training.state.state import TEXT_LIMIT
from repghost.untrusted import parse_json

VERSION = 1


@dataclass(frozen=True)
class DetectionEpoch:
    """One line of the log."""

    epoch: int  # from 1
    loss: float  # mean over the steps and processes, the sum of the parts
    parts: dict[str, float]  # e.g. classification, bbox_regression
    learning_rate: float  # of the last step
    seconds: float
    pictures_per_second: float
    boxes: Precision | None = None  # None: not evaluated
    masks: Precision | None = None


@dataclass(frozen=True)
class _Progress:
    """What a state says of its unfinished epoch."""

    step: int
    processes: int
    sums: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class DetectionState:
    """Everything a resumed run needs."""

    recipe: DetectionRecipe
    categories: tuple[str, ...]
    history: tuple[DetectionEpoch, ...]
    step: int  # done in the epoch after those of the history
    processes: int
    sums: dict[str, float]  # of that epoch, of one process
    seconds: float
    model: Mapping[str, torch.Tensor]
    optimizer: dict[str, Any]


def write_state(path: Path, state: DetectionState) -> None:
    """Write the state whole or not at all."""
    progress = {"step": state.step, "processes": state.processes, "sums": state.sums, "seconds": state.seconds}
    values = {
        "recipe": json.dumps(state.recipe.to_dict()),
        "categories": json.dumps(state.categories),
        "history": json.dumps([dataclasses.asdict(record) for record in state.history]),
        "progress": json.dumps(progress),
        "model": dict(state.model),
        "optimizer": state.optimizer,
    }
    write_values(path, VERSION, values)


def read_state(path: Path) -> DetectionState:
    """Read a state that `write_state` wrote.

    Raises:
        UsageError: when the file is something else.
    """
    return read_values(path, VERSION, "a state of detection training", _state)


def _state(values: Mapping[str, Any]) -> DetectionState:
    return DetectionState(
        recipe=DetectionRecipe.from_dict(parse_json(values["recipe"], "its recipe")),
        categories=msgspec.convert(parse_json(values["categories"], "its categories"), tuple[str, ...]),
        history=msgspec.convert(parse_json(values["history"], "its history", TEXT_LIMIT), tuple[DetectionEpoch, ...]),
        model=weights_in(values, "model"),
        optimizer=values["optimizer"],
        **dataclasses.asdict(msgspec.convert(parse_json(values["progress"], "its progress"), _Progress)),
    )
