"""The settings of quantization-aware training: with the weights and the images they determine a run.

The schedule has four phases, each a name: `observe` finds the first scales on calibration images, `quantize` trains
weights and scales, `freeze_observers` trains weights under final scales, `freeze_statistics` trains under final scales
and final batch-norm statistics, which is the network that is written.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from repghost.errors import UsageError, unknown_value
from repghost.training.recipe_parts import ALPHA, AMP_TYPES, KINDS, SOFT, TEMPERATURE, check_choices

MODES = ("fused", "reparam")
FLOAT = "float"  # the teacher that is the float network itself
EPOCHS, EPOCH_IMAGES = 4, 12_500  # the defaults, in Python and in the commands
# The phases of the training steps, by name, in order.
QUANTIZE, FREEZE_OBSERVERS, FREEZE_STATISTICS = "quantize", "freeze_observers", "freeze_statistics"


@dataclass(frozen=True)
class Schedule:
    """When scales and statistics stop changing.

    Attributes:
        observe: calibration images that the first scales come from, before the first step.
        freeze_observers: share of the steps after which scales and zero points stay.
        freeze_statistics: share of the steps after which batch-norm statistics stay; at least `freeze_observers`.
        replan: steps between two choices of the int16 multipliers, while scales still change.
    """

    observe: int = 512
    freeze_observers: float = 0.5
    freeze_statistics: float = 0.75
    replan: int = 25

    def __post_init__(self) -> None:
        """Refuse phases that are out of order or out of range."""
        _check_whole("observe", self.observe, 1, 10_000_000)
        _check_whole("replan", self.replan, 1, 1_000_000)
        for name in ("freeze_observers", "freeze_statistics"):
            _check_number(name, getattr(self, name), 0.0, 1.0)
        if self.freeze_observers > self.freeze_statistics:
            raise UsageError(
                f"freeze_statistics ({self.freeze_statistics}) must not come before freeze_observers "
                f"({self.freeze_observers}); give a larger share."
            )

    def first_steps(self, steps: int) -> dict[str, int]:
        """Return the step at which each later phase of a run of `steps` steps begins, by its name."""
        return {
            FREEZE_OBSERVERS: round(self.freeze_observers * steps),
            FREEZE_STATISTICS: round(self.freeze_statistics * steps),
        }


@dataclass(frozen=True, kw_only=True)
class QatSettings:
    """How a network is trained under quantization.

    Attributes:
        mode: "fused" trains the fused network; "reparam" trains the branches, whose fused kernel is quantized.
        epochs: passes over `images` training images each.
        images: training images of an epoch, drawn anew for each: 12,500 here and in the commands, fewer where a set has
            fewer; None takes all of the set.
        batch: images per step.
        learning_rate: Adam's peak for weights and biases, in units of each layer's mean |weight|.
        scale_learning_rate: Adam's peak for the logarithms of the scales.
        distillation: share of the loss that compares with a teacher's logits; the rest compares with labels.
        temperature: by which both logits are divided in that comparison.
        distillation_kind: "soft" compares probabilities, "hard" with the class that the teacher gives, see
            `repghost.training.losses`.
        teacher: what messages and the file call it; "float" is the float network itself.
        amp: type of autocast, or "off".
        held_out: images never trained on, which choose between the start and what training made of it.
        seed: of the held-out images, the order and the augmentation.
        crop_padding: pixels of reflection on each side before a random crop; 0 turns it off.
        flip: whether half of the images are mirrored.
        statistics_momentum: share of a batch in the running statistics (reparam only); 0 keeps the checkpoint's.
        schedule: the phases.
    """

    mode: str = "fused"
    epochs: int = EPOCHS
    images: int | None = EPOCH_IMAGES
    batch: int = 64
    learning_rate: float = 1e-3
    scale_learning_rate: float = 1e-3
    distillation: float = ALPHA
    temperature: float = TEMPERATURE
    held_out: int = 2000
    seed: int = 0
    crop_padding: int = 0
    flip: bool = False
    statistics_momentum: float = 0.0
    schedule: Schedule = field(default_factory=Schedule)
    distillation_kind: str = SOFT
    teacher: str = FLOAT
    amp: str = "off"

    def __post_init__(self) -> None:
        """Check every value, so that an object that exists can be trained with."""
        if self.mode not in MODES:
            raise unknown_value("mode", self.mode, MODES)
        check_choices(self, {"distillation_kind": KINDS, "amp": AMP_TYPES})
        _check_whole("epochs", self.epochs, 1, 10_000)
        if self.images is not None:
            _check_whole("images", self.images, 1, 1_000_000_000)
        _check_whole("batch", self.batch, 2, 65_536)
        _check_whole("held_out", self.held_out, 1, 10_000_000)
        _check_whole("seed", self.seed, 0, 2**31 - 1)
        _check_whole("crop_padding", self.crop_padding, 0, 512)
        _check_number("learning_rate", self.learning_rate, 0.0, 1.0)
        _check_number("scale_learning_rate", self.scale_learning_rate, 0.0, 1.0)
        _check_number("distillation", self.distillation, 0.0, 1.0)
        _check_number("temperature", self.temperature, 0.1, 100.0)
        _check_number("statistics_momentum", self.statistics_momentum, 0.0, 1.0)
        if not isinstance(self.flip, bool):
            raise UsageError(f"flip must be true or false, not {self.flip!r}.")

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, which is written into the file; what came later only where it is not the default."""
        values = asdict(self)
        return {name: value for name, value in values.items() if name not in _LATER or value != _LATER[name]}


_LATER = {"distillation_kind": SOFT, "teacher": FLOAT, "amp": "off"}


def _check_whole(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(f"{name} must be a whole number from {low} to {high}, not {value!r}.")


def _check_number(name: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise UsageError(f"{name} must be from {low:g} to {high:g}, not {value!r}.")
