"""The state of a training run, between two steps, and its form on disk."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from repghost.checkpoints.state_file import read_values, write_values
from repghost.errors import UsageError, option
from repghost.training.core.progress import Progress
from repghost.training.core.snapshot import Snapshot, parts_in
from repghost.training.recipe import Recipe, rank
from repghost.training.recipe_parts import Weights
from repghost.untrusted import parse_json

__all__ = ["VERSION", "EpochRecord", "Progress", "RunState", "StateForm", "best_epoch", "read_state", "write_state"]

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


class AnyRecipe(Protocol):
    """What decides a run, as JSON values by name."""

    def to_dict(self) -> dict[str, Any]:
        """Return the values."""
        ...


Q = TypeVar("Q", bound=AnyRecipe)
E = TypeVar("E")


@dataclass(frozen=True, kw_only=True)
class RunState(Snapshot, Generic[Q, E]):
    """Everything a resumed run needs, between two steps: a snapshot, and what it belongs to."""

    recipe: Q
    classes: tuple[str, ...]
    history: tuple[E, ...]


@dataclass(frozen=True)
class StateForm(Generic[Q, E]):
    """The state of one kind of training as a file.

    Attributes:
        version: of the form.
        what: what messages call it.
        recipe: reads the recipe's values.
        record: the class of an epoch's record.
    """

    version: int
    what: str
    recipe: Callable[[Mapping[str, Any]], Q]
    record: type[E]

    def write(self, path: Path, state: RunState[Q, E]) -> None:
        """Write the state whole or not at all."""
        values = {
            "recipe": json.dumps(state.recipe.to_dict()),
            "classes": json.dumps(state.classes),
            "history": json.dumps([dataclasses.asdict(record) for record in state.history]),  # type: ignore[call-overload]
        }
        write_values(path, self.version, {**values, **state.values()})

    def read(self, path: Path) -> RunState[Q, E]:
        """Read a state that `write` wrote.

        Raises:
            UsageError: when there is none, or the file is something else.
        """
        if not path.is_file():
            raise UsageError(f"{path}: no training state to resume from; leave {option('resume')} out to start a run.")
        return read_values(path, self.version, self.what, self._state)

    def _state(self, values: Mapping[str, Any]) -> RunState[Q, E]:
        return RunState(
            recipe=self.recipe(parse_json(values["recipe"], "its recipe")),
            classes=msgspec.convert(parse_json(values["classes"], "its classes", TEXT_LIMIT), tuple[str, ...]),
            history=tuple(msgspec.convert(_losses(values["history"]), list[self.record])),  # type: ignore[name-defined]
            **parts_in(values),
        )


CLASSIFIER = StateForm(VERSION, "a training state", Recipe.from_dict, EpochRecord)
ClassifierState = RunState[Recipe, EpochRecord]


def best_epoch(history: Sequence[EpochRecord], metric: str) -> EpochRecord | None:
    """Return the best record; of those with equal accuracy the one with the lowest loss."""
    best = None
    for record in history:
        if record.better_than(best, metric):
            best = record
    return best


def write_state(path: Path, state: ClassifierState) -> None:
    """Write the state of a classifier's training whole or not at all."""
    CLASSIFIER.write(path, state)


def read_state(path: Path) -> ClassifierState:
    """Read a state that `write_state` wrote.

    Raises:
        UsageError: when there is none, or the file is something else.
    """
    return CLASSIFIER.read(path)


def _losses(text: str) -> Any:
    """Return the history as JSON, in which the loss of weights that overflow is NaN."""
    if len(text) > TEXT_LIMIT:
        raise UsageError(f"its history has {len(text)} characters; at most {TEXT_LIMIT} are allowed.")
    return json.loads(text)
