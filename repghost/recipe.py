"""How a network is trained: one frozen object, and a table of named ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from repghost.errors import UsageError, unknown_value
from repghost.preprocess import Preprocess
from repghost.spec import WIDTH_LIMIT, parse_width


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what training does, apart from the pictures and the number of threads.

    Args:
        name: its name in RECIPES.
        width: the width multiplier of RepGhostNet.
        preprocess: what is done to every picture before augmentation.
        seed: start of every random choice: weights, order, augmentation, dropout, held-out pictures.
        epochs: passes over the training pictures.
        batch: pictures per step.
        learning_rate: the peak, reached after the warm-up.
        min_learning_rate: the end of the cosine.
        warmup_epochs: epochs of linear warm-up from 0, counted inside `epochs`.
        momentum: of SGD with Nesterov momentum.
        weight_decay: on weights with two or more dimensions; none on biases and batch norm.
        label_smoothing: share of the target spread over all classes.
        dropout: before the classifier.
        ema_decay: of the averaged weights, which are the ones evaluated and kept; warmed up over the first steps.
        crop_padding: pixels of reflection added on each side before a random crop; 0 turns it off.
        flip: whether half of the pictures are mirrored.
        cutout: side of the grey square put at a random place, in pixels; 0 turns it off.
        held_out: number of training pictures that are never trained on and judge each epoch.

    Raises:
        UsageError: when a value is out of range.
    """

    name: str
    width: float
    preprocess: Preprocess
    seed: int = 0
    epochs: int = 14
    batch: int = 128
    learning_rate: float = 0.2
    min_learning_rate: float = 1e-5
    warmup_epochs: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    dropout: float = 0.1
    ema_decay: float = 0.998
    crop_padding: int = 0
    flip: bool = False
    cutout: int = 0
    held_out: int = 5000

    def __post_init__(self) -> None:
        """Check every value, so that an object that exists can be trained with."""
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise UsageError(f"recipe {self.name!r}: {name} must be from {low} to {high}, not {value!r}.")
        for name in _WHOLE:
            if not isinstance(getattr(self, name), int):
                raise UsageError(f"recipe {self.name!r}: {name} must be a whole number, not {getattr(self, name)!r}.")
        if self.warmup_epochs >= self.epochs:
            raise UsageError(
                f"recipe {self.name!r}: {self.warmup_epochs} warm-up epochs leave nothing of {self.epochs} epochs; "
                "give more --epochs."
            )
        if max(self.crop_padding, self.cutout) >= self.preprocess.size:
            raise UsageError(
                f"recipe {self.name!r}: crop_padding and cutout must be below the {self.preprocess.size} pixels of "
                f"the input, not {self.crop_padding} and {self.cutout}."
            )

    def changed(self, **values: Any) -> Recipe:
        """Return the recipe with other values; None leaves a value as it is, a width may be written as its name."""
        given = {name: value for name, value in values.items() if value is not None}
        if "width" in given:
            given["width"] = parse_width(given["width"], custom=True)
        return dataclasses.replace(self, **given)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary that `from_dict` turns back into an equal object."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return values | {"preprocess": self.preprocess.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Rebuild the object from `to_dict`; every key has to be there.

        Raises:
            UsageError: for a missing or an unknown key, or a value out of range.
        """
        expected = {item.name for item in dataclasses.fields(cls)}
        if set(values) != expected:
            raise UsageError(f"recipe keys {sorted(set(values) ^ expected)} are missing or unknown.")
        return cls(**(dict(values) | {"preprocess": Preprocess.from_dict(values["preprocess"])}))


_WHOLE = ("seed", "epochs", "batch", "crop_padding", "cutout", "held_out")
_RANGES: dict[str, tuple[float, float]] = {
    "width": (0.01, WIDTH_LIMIT),
    "seed": (0, 2**31 - 1),
    "epochs": (1, 10_000),
    "batch": (2, 65_536),  # batch norm needs two
    "learning_rate": (1e-6, 100.0),
    "min_learning_rate": (0.0, 100.0),
    "warmup_epochs": (0.0, 1000.0),
    "momentum": (0.0, 0.9999),
    "weight_decay": (0.0, 1.0),
    "label_smoothing": (0.0, 0.9),
    "dropout": (0.0, 0.9),
    "ema_decay": (0.0, 0.99999),
    "crop_padding": (0, 512),
    "cutout": (0, 512),
    "held_out": (1, 10_000_000),
}

RECIPES = {
    # Small enough for one core and half an hour: 28 x 28 grey pictures of Fashion-MNIST as 64 x 64 RGB.
    "demo": Recipe(
        name="demo",
        width=0.5,
        preprocess=Preprocess(
            size=64,
            resize=64,
            interpolation="bilinear",
            mean=(0.286, 0.286, 0.286),  # mean and deviation of the training pictures at 28 x 28
            std=(0.353, 0.353, 0.353),
        ),
        crop_padding=4,
        flip=True,
        cutout=16,
    ),
}


def get_recipe(name: str) -> Recipe:
    """Return a recipe of the table.

    Raises:
        UsageError: for an unknown name, with the nearest one as a suggestion.
    """
    if name not in RECIPES:
        raise unknown_value("recipe", name, RECIPES)
    return RECIPES[name]
