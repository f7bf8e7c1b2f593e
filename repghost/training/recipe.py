"""How a network is trained: one frozen object, and a table of named ones."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from repghost.data.images.chosen_preprocess import require_square
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError, option, unknown_value
from repghost.network.spec import WIDTH_LIMIT, parse_width
from repghost.training.recipe_parts import Augmentation, Execution, Optimization, Teaching, check_choices, check_ranges
from repghost.untrusted import check_fields


def rank(metric: str, top1: float, top5: float, loss: float) -> tuple[float, float]:
    """Return what is larger for the better network: by the metric first, and of equal accuracies by the loss."""
    loss = math.inf if math.isnan(loss) else loss  # NaN is neither larger nor smaller, and would stay the best
    if metric == "loss":
        return -loss, top1
    return {"top1": top1, "top5": top5}[metric], -loss


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what training does, apart from the images and the number of threads and processes.

    Args:
        name: its name in RECIPES.
        width: the width multiplier of RepGhostNet.
        preprocess: what is done to every image before augmentation, or to evaluate it.
        seed: start of every random choice: weights, order, augmentation, dropout, held-out images.
        epochs: passes over the training images.
        batch: images per step and process.
        learning_rate: the peak, reached after the warm-up.
        min_learning_rate: the end of the cosine.
        warmup_epochs: epochs of linear warm-up, counted inside `epochs`.
        momentum: of SGD with Nesterov momentum.
        weight_decay: on weights with two or more dimensions; none on biases and batch norm.
        label_smoothing: share of the target spread over all classes.
        dropout: before the classifier.
        ema_decay: of the averaged weights; the better ones of them and the raw ones are kept.
        crop_padding: pixels of reflection added on each side before a random crop; 0 turns it off.
        flip: whether half of the images are mirrored.
        cutout: side of the grey square put at a random place, in pixels; 0 turns it off.
        held_out: training images that are never trained on and that each epoch is evaluated on; 0: a split of its own.
        ema: whether weights are averaged at all.
        ema_warmup: the average covers only the latest steps at first, and so forgets the random start in short runs.
        keep: which epoch's weights the run ends with, the "last" or the "best" one.
        eval_metric: what "best" means, "top1", "top5" or "loss".
        augmentation: timm's, on images that are decoded again in every epoch; None: images are prepared once and
            kept in memory, and `crop_padding`, `flip` and `cutout` are all that is done to them.
        optimization: optimizer and schedule.
        execution: precision, layout, accumulation.
        teaching: another network that is learned from.

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
    ema: bool = True
    ema_warmup: bool = True
    keep: str = "last"
    eval_metric: str = "top1"
    augmentation: Augmentation | None = None
    optimization: Optimization = field(default_factory=Optimization)
    execution: Execution = field(default_factory=Execution)
    teaching: Teaching = field(default_factory=Teaching)

    def __post_init__(self) -> None:
        """Check every value, so that an object that exists can be trained with."""
        owner = f"recipe {self.name!r}"
        check_ranges(owner, self, _RANGES, _WHOLE)
        check_choices(self, {"keep": ("last", "best"), "eval_metric": ("top1", "top5", "loss")})
        if self.warmup_epochs >= self.epochs:
            raise UsageError(
                f"{owner}: a warm-up of {self.warmup_epochs:g} leaves nothing of {self.epochs} epochs; give more "
                f"{option('epochs')}, or {option('warmup_epochs', 0)}."
            )
        size = require_square(self.preprocess, f"{owner}: training")
        if max(self.crop_padding, self.cutout) >= size:
            raise UsageError(
                f"{owner}: crop_padding and cutout must be below the {size} pixels of "
                f"the input, not {self.crop_padding} and {self.cutout}."
            )
        if self.augmentation is None and not self.held_out:
            raise UsageError(f"{owner}: held_out must be from 1 to 10000000 where pictures are prepared in memory.")

    def changed(self, **values: Any) -> Recipe:
        """Return the recipe with other values; None leaves a value as it is, a width may be written as its name.

        The fields of augmentation, optimization and execution are given by their own names.

        Raises:
            UsageError: for a name that no part has, or one of an augmentation that this recipe does without.
        """
        given = {name: value for name, value in values.items() if value is not None}
        if "width" in given:
            given["width"] = parse_width(given["width"], custom=True)
        for part, kind in _PARTS.items():
            names = {item.name for item in dataclasses.fields(kind)} & set(given)
            if names and getattr(self, part) is None:
                raise UsageError(
                    f"recipe {self.name!r} prepares its pictures once, in memory; {', '.join(sorted(names))} would "
                    f"have no effect. Choose another {option('recipe')}."
                )
            if names:
                given[part] = dataclasses.replace(getattr(self, part), **{name: given.pop(name) for name in names})
        unknown = sorted(set(given) - {item.name for item in dataclasses.fields(self)})
        if unknown:
            raise unknown_value("value of a recipe", unknown[0], [item.name for item in dataclasses.fields(self)])
        return dataclasses.replace(self, **given)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary that `from_dict` turns back into an equal object."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        for part in _PARTS:
            values[part] = None if values[part] is None else _without_added(values[part])
        if self.teaching == Teaching():  # as before there were teachers
            del values["teaching"]
        return values | {"preprocess": self.preprocess.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Rebuild the object from `to_dict`; every key has to be there.

        Recipes written before there were parts lack the keys in `_LATER`, and meant the defaults.

        Raises:
            UsageError: for a missing or an unknown key, or a value out of range.
        """
        expected = {item.name for item in dataclasses.fields(cls)}
        if not set(values) & _LATER:
            expected -= _LATER
        if "teaching" not in values:
            expected -= {"teaching"}
        if set(values) != expected:
            raise UsageError(f"recipe keys {sorted(set(values) ^ expected)} are missing or unknown.")
        given = dict(values) | {"preprocess": Preprocess.from_dict(values["preprocess"])}
        for part, kind in _PARTS.items():
            if given.get(part) is not None:
                given[part] = _part(kind, given[part])
        recipe = cls(**given)
        check_fields({name: values[name] for name in expected - {"preprocess", *_PARTS}}, cls, "recipe")
        return recipe


def _without_added(part: Any) -> dict[str, Any]:
    """Return the fields of a part, of those in _ADDED only the ones that are not at their default."""
    default = type(part)()
    return {
        name: value
        for name, value in dataclasses.asdict(part).items()
        if name not in _ADDED or value != getattr(default, name)
    }


def _part(kind: type, values: object) -> Any:
    """Rebuild one part of a recipe."""
    expected = {item.name for item in dataclasses.fields(kind)}
    if not isinstance(values, Mapping) or set(values) | (_ADDED & expected) != expected:
        raise UsageError(f"a recipe's {kind.__name__.lower()} needs exactly the keys {sorted(expected)}.")
    part = kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
    check_fields(values, kind, f"a recipe's {kind.__name__.lower()}")
    return part


_PARTS: dict[str, type] = {
    "augmentation": Augmentation,
    "optimization": Optimization,
    "execution": Execution,
    "teaching": Teaching,
}
# Fields that parts had none of at first; recipes written then lack them, and those that do not use them do so now.
_ADDED = frozenset(
    {"layer_decay", "bce_loss", "bce_target_thresh", "train_crop_mode", "aug_repeats", "grad_checkpointing"}
)
_LATER = frozenset({"ema", "ema_warmup", "keep", "eval_metric", *_PARTS})
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
    "held_out": (0, 10_000_000),
}

# The authors' command for 0.5x to 1.11x: 8 processes of 128 images, 300 epochs; what it leaves out is the default
# of timm 0.6.7, whose script it ran.
IMAGENET_RECIPE = Recipe(
    name="imagenet",
    width=0.5,
    preprocess=Preprocess(),
    seed=42,
    epochs=300,
    learning_rate=0.6,
    warmup_epochs=5,
    weight_decay=1e-5,
    dropout=0.2,
    ema_decay=0.9999,
    ema_warmup=False,
    held_out=0,
    keep="best",
    augmentation=Augmentation(reprob=0.2, remode="pixel"),
    optimization=Optimization(per_epoch=True, warmup_lr=1e-4, reference_batch=1024),
    execution=Execution(amp="float16"),
)

RECIPES = {
    "imagenet": IMAGENET_RECIPE,
    # The authors' command for 1.3x, 1.5x and 2.0x.
    "imagenet-wide": IMAGENET_RECIPE.changed(name="imagenet-wide", width=1.3, aa="rand-m9-mstd0.5"),
    # Other classes on pretrained weights: short and gentle.
    "finetune": IMAGENET_RECIPE.changed(
        name="finetune",
        seed=0,
        epochs=20,
        batch=64,
        learning_rate=0.02,
        warmup_epochs=1,
        weight_decay=1e-4,
        ema_decay=0.998,
        ema_warmup=True,
        scale=(0.25, 1.0),
        warmup_lr=1e-4,
        per_epoch=False,
        reference_batch=64,
        amp="off",
    ),
    # Small enough for one core and half an hour: 28 x 28 grey images of Fashion-MNIST as 64 x 64 RGB.
    "demo": Recipe(
        name="demo",
        width=0.5,
        preprocess=Preprocess(
            size=64,
            resize=64,
            interpolation="bilinear",
            mean=(0.286, 0.286, 0.286),  # mean and deviation of the training images at 28 x 28
            std=(0.353, 0.353, 0.353),
        ),
        crop_padding=4,
        flip=True,
        cutout=16,
    ),
    # Small colour images such as CIFAR-10, enlarged to 64 x 64.
    "cifar": Recipe(
        name="cifar",
        width=0.5,
        preprocess=Preprocess(size=64, resize=64, interpolation="bilinear"),
        epochs=24,
        crop_padding=4,
        flip=True,
        cutout=20,
    ),
    # The same in 10 epochs, which every width is trained for alike: a higher rate, and no cutout, which needs more of
    # them. Warm-up, cosine and rate were chosen by held-out pictures at 0.5x.
    "cifar-short": Recipe(
        name="cifar-short",
        width=0.5,
        preprocess=Preprocess(size=64, resize=64, interpolation="bilinear"),
        epochs=10,
        learning_rate=0.4,
        crop_padding=4,
        flip=True,
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
