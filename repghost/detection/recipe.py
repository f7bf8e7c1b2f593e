"""How a detector is trained: the customary "1x" schedule of COCO, 12 epochs at 800 pixels, as a frozen object.

The RepGhost paper reports RetinaNet and Mask R-CNN with its backbone in the manner of MMDetection; its repository has
no detection code, configuration or weights, so that these values are the framework's customary ones, not the authors'.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from repghost.errors import UsageError, unknown_value
from repghost.training.recipe_parts import AMP_TYPES, check_choices, check_ranges
from repghost.untrusted import check_fields

KINDS = ("retinanet", "maskrcnn", "ssdlite")
SSDLITE_SIZE = 320  # pixels, as torchvision
SCHEDULES = ("step", "cosine")
FREEZE = ("none", "stem", "stride 4", "stride 8", "stride 16", "stride 32")
REFERENCE_BATCH = 16  # images per step for which the rates are chosen
_RATES = {"retinanet": 0.01, "maskrcnn": 0.02, "ssdlite": 0.02}  # for REFERENCE_BATCH


@dataclass(frozen=True)
class DetectionRecipe:
    """Everything that decides a detector and its weights, apart from the images.

    Attributes:
        kind: "retinanet", "maskrcnn" or "ssdlite".
        width: of the backbone.
        epochs: passes over the images.
        batch: images per step and process.
        learning_rate: after the warm-up; None is the customary one by the linear rule.
        momentum: of SGD, without Nesterov.
        weight_decay: on every parameter that learns.
        sched: "step" divides the rate by 10 after each milestone; "cosine" lets it fall to 0.
        milestones: epochs after which the rate is divided by 10.
        warmup_steps: steps of the linear rise.
        warmup_factor: share of the rate with which it begins.
        clip_grad: limit of the gradient's norm; None does not clip, and a small backbone may then diverge.
        accumulate: batches whose gradients are summed before one step.
        amp: type of automatic mixed precision, or "off".
        ema: whether weights are averaged; the better ones of them and the raw ones are kept.
        ema_decay: of the averaged weights.
        ema_warmup: the average covers only the latest steps at first, and so forgets the random start in short runs.
        flip: probability of mirroring left to right.
        crop: probability that an image is cut, or laid on a larger canvas; of ssdlite only.
        colour: share by which brightness and contrast change; of ssdlite only.
        min_size: short side of the images as the network sees them, in pixels; both sides of ssdlite.
        max_size: limit of their long side; ssdlite has none.
        freeze: what of the backbone does not learn, up to the end of a resolution.
        train_norm: let batch norms follow the small batches instead of keeping the statistics they came with; needed
            where the backbone begins with random weights.
        seed: of weights, order, flips and samplers.
    """

    kind: str = "retinanet"
    width: float = 1.0
    epochs: int = 12
    batch: int = 2
    learning_rate: float | None = None
    momentum: float = 0.9
    weight_decay: float = 1e-4
    sched: str = "step"
    milestones: tuple[int, ...] = (8, 11)
    warmup_steps: int = 500
    warmup_factor: float = 0.001
    clip_grad: float | None = 10.0
    accumulate: int = 1
    amp: str = "off"
    ema: bool = False
    ema_decay: float = 0.998
    ema_warmup: bool = True
    flip: float = 0.5
    crop: float = 0.0
    colour: float = 0.0
    min_size: int = 800
    max_size: int = 1333
    freeze: str = "stem"
    train_norm: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every value."""
        check_choices(self, {"kind": KINDS, "freeze": FREEZE, "sched": SCHEDULES, "amp": AMP_TYPES})
        ranges: dict[str, tuple[float, float]] = {
            "width": (1e-3, 16.0),
            "epochs": (1, 10_000),
            "batch": (1, 4096),
            "learning_rate": (0.0, 100.0),
            "momentum": (0.0, 0.9999),
            "weight_decay": (0.0, 1.0),
            "warmup_steps": (0, 1_000_000),
            "warmup_factor": (0.0, 1.0),
            "clip_grad": (1e-9, 1e9),
            "accumulate": (1, 10_000),
            "ema_decay": (0.0, 0.99999),
            "flip": (0.0, 1.0),
            "crop": (0.0, 1.0),
            "colour": (0.0, 1.0),
            "min_size": (32, 4096),
            "max_size": (32, 8192),
            "seed": (0, 2**32 - 1),
        }
        whole = ("epochs", "batch", "accumulate", "warmup_steps", "min_size", "max_size", "seed")
        check_ranges("recipe", self, ranges, whole)
        if self.kind != "ssdlite" and (self.crop or self.colour):
            raise UsageError(f"recipe: crop and colour belong to ssdlite, not to {self.kind}.")
        if self.max_size < self.min_size:
            raise UsageError(f"recipe: max_size {self.max_size} is below min_size {self.min_size}.")
        milestones = tuple(self.milestones)
        if not all(isinstance(epoch, int) and epoch > 0 for epoch in milestones) or list(milestones) != sorted(
            set(milestones)
        ):
            raise UsageError(f"recipe: milestones must be ascending epochs, not {self.milestones!r}.")
        object.__setattr__(self, "milestones", milestones)

    @classmethod
    def defaults(cls, kind: str) -> dict[str, Any]:
        """Return the values of a kind that are not those of the fields."""
        if kind != "ssdlite":
            return {}
        size = {"min_size": SSDLITE_SIZE, "max_size": SSDLITE_SIZE}
        return {**size, "batch": 16, "crop": 0.5, "colour": 0.3, "freeze": "none", "train_norm": True}

    def peak_rate(self, images_per_step: int) -> float:
        """Return the learning rate after the warm-up for so many images per step, over all processes."""
        if self.learning_rate is not None:
            return self.learning_rate
        return _RATES[self.kind] * images_per_step / REFERENCE_BATCH

    def rate(self, epoch: int, step: int, steps_per_epoch: int, images_per_step: int) -> float:
        """Return the learning rate of one step.

        Args:
            epoch: from 0.
            step: in the epoch, from 0.
            steps_per_epoch: of the run.
            images_per_step: over all processes.
        """
        done, share = epoch * steps_per_epoch + step, 0.1 ** sum(epoch >= milestone for milestone in self.milestones)
        if self.sched == "cosine":
            share = 0.5 * (1 + math.cos(math.pi * done / (self.epochs * steps_per_epoch)))
        rate = self.peak_rate(images_per_step) * share
        if done < self.warmup_steps:
            rate *= self.warmup_factor + (1 - self.warmup_factor) * done / self.warmup_steps
        return rate

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {**dataclasses.asdict(self), "milestones": list(self.milestones)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DetectionRecipe:
        """Return the recipe that `to_dict` wrote.

        Raises:
            UsageError: for a key or a value this version does not know.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                raise unknown_value("key in the recipe", key, known)
        milestones = values.get("milestones", ())
        if not isinstance(milestones, list | tuple):
            raise UsageError(f"recipe: milestones must be ascending epochs, not {milestones!r}.")
        recipe = cls(**{**values, "milestones": tuple(milestones)})
        check_fields(values, cls, "recipe")
        return recipe
