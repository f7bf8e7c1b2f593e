"""The parts of a recipe that only some recipes need, each a frozen object that checks its own values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from repghost.errors import UsageError, unknown_value

SCHEDULES = ("cosine", "tanh", "step", "poly")
CLIP_MODES = ("norm", "value", "agc")
ERASING_MODES = ("const", "rand", "pixel")
MIXUP_MODES = ("batch", "pair", "elem")
TRAIN_INTERPOLATIONS = ("random", "bilinear", "bicubic")
CROP_MODES = ("rrc", "rkrc", "rkrr")
AMP_TYPES = ("off", "float16", "bfloat16")
FREEZE = ("none", "bn", "backbone")
DISTRIBUTE_BN = ("", "broadcast", "reduce")
SOFT, HARD = KINDS = ("soft", "hard")  # of distillation
ALPHA, TEMPERATURE = 0.5, 1.0  # of distillation, DeiT's defaults

Pair = tuple[float, float]
Weights = Literal["averaged", "raw"]  # of the two kinds that a run with an average has


def check_ranges(owner: str, values: Any, ranges: Mapping[str, tuple[float, float]], whole: tuple[str, ...]) -> None:
    """Refuse a field that is no number, no whole number where it must be, or out of range; None is left alone.

    Raises:
        UsageError: naming the first such field.
    """
    for name, (low, high) in ranges.items():
        value = getattr(values, name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise UsageError(f"{owner}: {name} must be from {low} to {high}, not {value!r}.")
        if name in whole and not isinstance(value, int):
            raise UsageError(f"{owner}: {name} must be a whole number, not {value!r}.")


def check_choices(values: Any, choices: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse a field whose value is not in its table."""
    for name, allowed in choices.items():
        if getattr(values, name) not in allowed:
            raise unknown_value(name.replace("_", " "), getattr(values, name), allowed)


def _pair(owner: str, name: str, value: object, low: float, high: float) -> Pair:
    """Return two ascending numbers in a range."""
    if (
        not isinstance(value, tuple | list)
        or len(value) != 2
        or not all(isinstance(item, int | float) and not isinstance(item, bool) for item in value)
        or not low <= value[0] <= value[1] <= high
    ):
        raise UsageError(f"{owner}: {name} must be two ascending numbers from {low} to {high}, not {value!r}.")
    return float(value[0]), float(value[1])


@dataclass(frozen=True)
class Augmentation:
    """What timm does at random to a training image, in the order crop, flip, colours or policy, erasing, mixing.

    Attributes:
        no_aug: resize and centre crop only; everything else here is off.
        scale: area of the random crop, as shares of the image.
        ratio: width / height of the random crop.
        hflip: probability of mirroring left to right.
        vflip: probability of mirroring top to bottom.
        color_jitter: strength for brightness, contrast and saturation; off when `aa` is given.
        aa: a policy of timm's auto_augment, e.g. rand-m9-mstd0.5.
        train_interpolation: how the crop is resized; "random" takes bilinear or bicubic.
        reprob: probability of erasing a rectangle.
        remode: what is put there: "const" 0, "rand" one colour, "pixel" noise.
        recount: at most so many rectangles.
        mixup: alpha of mixup; 0 turns it off.
        cutmix: alpha of cutmix; 0 turns it off.
        cutmix_minmax: side of the cutmix rectangle as shares of the image, instead of `cutmix`.
        mixup_prob: probability that a batch is mixed.
        mixup_switch_prob: probability of cutmix where both are on.
        mixup_mode: one mixture per "batch", per "pair" or per "elem".
        mixup_off_epoch: mixing ends after so many epochs; 0 never.
        train_crop_mode: "rrc" crops at random and resizes, "rkrc" and "rkrr" resize in proportion and then crop at
            random, the latter also with a random size; None is "rrc".
        aug_repeats: how often an image is in an epoch, each time augmented on its own (batch augmentation, arXiv
            1901.09335); an epoch keeps its length, and so has that share of the images. 0 and 1 repeat nothing.
    """

    no_aug: bool = False
    scale: Pair = (0.08, 1.0)
    ratio: Pair = (3 / 4, 4 / 3)
    hflip: float = 0.5
    vflip: float = 0.0
    color_jitter: float = 0.4
    aa: str | None = None
    train_interpolation: str = "random"
    reprob: float = 0.0
    remode: str = "const"
    recount: int = 1
    mixup: float = 0.0
    cutmix: float = 0.0
    cutmix_minmax: Pair | None = None
    mixup_prob: float = 1.0
    mixup_switch_prob: float = 0.5
    mixup_mode: str = "batch"
    mixup_off_epoch: int = 0
    train_crop_mode: str | None = None
    aug_repeats: int = 0

    def __post_init__(self) -> None:
        """Check every value."""
        owner = "augmentation"
        probabilities = ("hflip", "vflip", "reprob", "mixup_prob", "mixup_switch_prob")
        ranges: dict[str, tuple[float, float]] = dict.fromkeys(probabilities, (0.0, 1.0))
        ranges |= {"color_jitter": (0.0, 10.0), "recount": (1, 100), "mixup": (0.0, 100.0), "cutmix": (0.0, 100.0)}
        ranges |= {"mixup_off_epoch": (0, 10_000), "aug_repeats": (0, 64)}
        check_ranges(owner, self, ranges, ("recount", "mixup_off_epoch", "aug_repeats"))
        if self.train_crop_mode is not None:
            check_choices(self, {"train_crop_mode": CROP_MODES})
        check_choices(
            self,
            {"remode": ERASING_MODES, "mixup_mode": MIXUP_MODES, "train_interpolation": TRAIN_INTERPOLATIONS},
        )
        object.__setattr__(self, "scale", _pair(owner, "scale", self.scale, 1e-4, 1.0))
        object.__setattr__(self, "ratio", _pair(owner, "ratio", self.ratio, 0.05, 20.0))
        if self.cutmix_minmax is not None:
            object.__setattr__(self, "cutmix_minmax", _pair(owner, "cutmix_minmax", self.cutmix_minmax, 0.0, 1.0))

    @property
    def mixes(self) -> bool:
        """Whether images are mixed, so that targets are distributions over the classes."""
        return self.mixup > 0 or self.cutmix > 0 or self.cutmix_minmax is not None


@dataclass(frozen=True)
class Optimization:
    """The optimizer, its schedule and the loss beyond learning rate, momentum and decay.

    Attributes:
        opt: timm's name; its "sgd" has Nesterov momentum, its "momentum" has not.
        opt_eps: epsilon of the optimizers that have one.
        opt_betas: betas of the optimizers that have them.
        clip_grad: limit of the gradient; None does not clip.
        clip_mode: "norm" of all gradients, each "value", or "agc" by the weight's norm.
        sched: the shape of the learning rate after the warm-up.
        per_epoch: the rate changes after each epoch, as upstream's; otherwise after each step.
        warmup_lr: where the warm-up begins; None is one step's share of the peak.
        cooldown_epochs: epochs at the lowest rate after the schedule.
        decay_epochs: of "step".
        decay_rate: of "step"; of each further cycle otherwise.
        lr_cycle_mul: length of a cycle relative to the one before.
        lr_cycle_limit: number of cycles.
        lr_noise: from and to which share of the epochs the rate is noisy.
        lr_noise_pct: largest relative noise.
        lr_noise_std: deviation of the noise before it is limited.
        bn_momentum: of the running statistics of every batch norm; None is PyTorch's 0.1.
        reference_batch: images per step, over all processes, for which `learning_rate` was chosen; None: unknown.
        layer_decay: the rate of a block relative to that of the next one; None is 1.
        bce_loss: binary cross-entropy of each class instead of cross-entropy (ResNet strikes back, arXiv 2110.00476).
        bce_target_thresh: targets above it become 1 and the others 0, where images are mixed; None leaves them.
    """

    opt: str = "sgd"
    opt_eps: float | None = None
    opt_betas: Pair | None = None
    clip_grad: float | None = None
    clip_mode: str = "norm"
    sched: str = "cosine"
    per_epoch: bool = False
    warmup_lr: float | None = None
    cooldown_epochs: int = 0
    decay_epochs: float = 30.0
    decay_rate: float = 0.1
    lr_cycle_mul: float = 1.0
    lr_cycle_limit: int = 1
    lr_noise: Pair | None = None
    lr_noise_pct: float = 0.67
    lr_noise_std: float = 1.0
    bn_momentum: float | None = None
    reference_batch: int | None = None
    layer_decay: float | None = None
    bce_loss: bool = False
    bce_target_thresh: float | None = None

    def __post_init__(self) -> None:
        """Check every value; the optimizer's name is checked where timm is imported."""
        ranges: dict[str, tuple[float, float]] = {
            "opt_eps": (0.0, 1.0),
            "clip_grad": (1e-9, 1e9),
            "warmup_lr": (0.0, 100.0),
            "cooldown_epochs": (0, 10_000),
            "decay_epochs": (1e-3, 10_000),
            "decay_rate": (1e-6, 1.0),
            "lr_cycle_mul": (0.1, 100.0),
            "lr_cycle_limit": (1, 1000),
            "lr_noise_pct": (0.0, 1.0),
            "lr_noise_std": (0.0, 100.0),
            "bn_momentum": (1e-6, 1.0),
            "reference_batch": (1, 1_000_000),
            "layer_decay": (0.01, 1.0),
            "bce_target_thresh": (0.0, 1.0),
        }
        check_ranges("optimizer", self, ranges, ("cooldown_epochs", "lr_cycle_limit", "reference_batch"))
        check_choices(self, {"clip_mode": CLIP_MODES, "sched": SCHEDULES})
        for name, high in (("opt_betas", 1.0), ("lr_noise", 1.0)):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _pair("optimizer", name, getattr(self, name), 0.0, high))


@dataclass(frozen=True)
class Execution:
    """How the arithmetic is carried out; each of these changes the last bits of the result, or more.

    Attributes:
        amp: type of automatic mixed precision, or "off".
        channels_last: memory layout of images and weights.
        compile: torch.compile for the forward and backward pass.
        accumulate: batches whose gradients are summed before one step.
        sync_bn: batch statistics over all processes (GPU only).
        dist_bn: what happens to the processes' running statistics after an epoch: nothing, "broadcast" of the first
            one's, or "reduce" to their mean.
        freeze: what does not learn: "bn" keeps every batch norm as it is, "backbone" all but the classifier.
        grad_checkpointing: maps within a stage are computed again in the backward pass instead of kept: less memory, a
            third more time, the same bits.
    """

    amp: str = "off"
    channels_last: bool = True
    compile: bool = False
    accumulate: int = 1
    sync_bn: bool = False
    dist_bn: str = ""
    freeze: str = "none"
    grad_checkpointing: bool = False

    def __post_init__(self) -> None:
        """Check every value."""
        check_ranges("execution", self, {"accumulate": (1, 10_000)}, ("accumulate",))
        check_choices(self, {"amp": AMP_TYPES, "dist_bn": DISTRIBUTE_BN, "freeze": FREEZE})


@dataclass(frozen=True)
class Teaching:
    """The teacher of a run and its share in the loss, see `repghost.training.losses`.

    Attributes:
        teacher: a name or a path, as the command line has it; empty without one.
        distillation: share of the loss that compares with the teacher.
        distillation_kind: "soft" compares probabilities, "hard" with the class that the teacher gives.
        temperature: of the soft comparison.
    """

    teacher: str = ""
    distillation: float = ALPHA
    distillation_kind: str = SOFT
    temperature: float = TEMPERATURE

    def __post_init__(self) -> None:
        """Check every value; the teacher is looked for where it is opened."""
        check_ranges("teacher", self, {"distillation": (0.0, 1.0), "temperature": (0.1, 100.0)}, ())
        check_choices(self, {"distillation_kind": KINDS})
