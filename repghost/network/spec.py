"""Which RepGhostNets exist: the width table with its published figures, and the channels of every layer.

Plain numbers and no torch, so that the command line can read it without waiting. The architecture is that of
https://github.com/ChengpengChen/RepGhost (MIT), https://arxiv.org/abs/2211.06088.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from repghost.errors import UsageError, unknown_value

Form = Literal["train", "deploy", "fused"]
Branches = Literal["bn", "identity", "both", "none"]

FORMS: tuple[Form, ...] = get_args(Form)
BRANCHES: tuple[Branches, ...] = get_args(Branches)

CHANNEL_DIVISOR = 4  # for every width, where most mobile networks use 8
SE_RATIO = 0.25  # of the hidden channels, which are half of what GhostNet would use
STEM_CHANNELS = 16
TAIL_CHANNELS = 960
HEAD_CHANNELS = 1280  # not scaled by the width
WIDTH_LIMIT = 16.0  # 64 times the multiply-adds of the widest published network

README = "readme.md of github.com/ChengpengChen/RepGhost"
EVAL_LOGS = "work_dirs/train/*/eval.log of github.com/ChengpengChen/RepGhost, EMA weights"


@dataclass(frozen=True)
class Width:
    """One published network; ImageNet-1k accuracy at 224 px, measured by its authors.

    Attributes:
        multiplier: scales every channel count except the head.
        name: upstream's name of the model.
        timm_name: timm's name of the same model.
        top1: percent, from EVAL_LOGS.
        top5: percent, from EVAL_LOGS.
        params_millions: from README; counted in train form, batch norms included.
        flops_millions: from README; multiply-adds of the train form.
        latency_ms: from README; an unnamed ARM phone with MNN. Threads and precision are not stated there.
    """

    multiplier: float
    name: str
    timm_name: str
    top1: float
    top5: float
    params_millions: float
    flops_millions: int
    latency_ms: float


WIDTHS: tuple[Width, ...] = (
    Width(0.5, "repghostnet_0_5x", "repghostnet_050", 66.946, 86.928, 2.3, 43, 25.1),
    Width(0.58, "repghostnet_0_58x", "repghostnet_058", 68.944, 88.422, 2.5, 60, 31.9),
    Width(0.8, "repghostnet_0_8x", "repghostnet_080", 72.238, 90.486, 3.3, 96, 44.5),
    Width(1.0, "repghostnet_1_0x", "repghostnet_100", 74.218, 91.548, 4.1, 142, 62.2),
    Width(1.11, "repghostnet_1_11x", "repghostnet_111", 75.066, 92.186, 4.5, 170, 71.5),
    Width(1.3, "repghostnet_1_3x", "repghostnet_130", 76.374, 92.898, 5.5, 231, 92.9),  # its figure plots 92.2 ms
    Width(1.5, "repghostnet_1_5x", "repghostnet_150", 77.454, 93.500, 6.6, 301, 116.9),
    Width(2.0, "repghostnet_2_0x", "repghostnet_200", 78.806, 94.326, 9.8, 516, 190.0),
)


def parse_width(text: str | float, custom: bool = False) -> float:
    """Return the width multiplier that a user means by 0.5, 0.5x, 0_5x, 050 or a model's full name.

    Args:
        text: what the user wrote.
        custom: accept any positive number up to WIDTH_LIMIT, not the published eight only.

    Raises:
        UsageError: for anything else, with the nearest published width.
    """
    cleaned = str(text).strip().lower().removeprefix("repghostnet_")
    cleaned = re.sub(r"\.in1k$", "", cleaned).removesuffix("x").replace("_", ".")
    # timm writes hundredths without a point: 050, 100, 111.
    value = int(cleaned) / 100 if re.fullmatch(r"[0-9]{3}", cleaned) else _positive_number(cleaned)
    if value is not None and (custom or any(row.multiplier == value for row in WIDTHS)):
        return value
    if value is None:
        raise unknown_value("width", text, [f"{row.multiplier:g}" for row in WIDTHS])
    allowed = ", ".join(f"{row.multiplier:g}" for row in WIDTHS)
    nearest = min(WIDTHS, key=lambda row: abs(row.multiplier - value))
    raise UsageError(f"unknown width {str(text)!r}; allowed: {allowed}. Did you mean '{nearest.multiplier:g}'?")


def _positive_number(text: str) -> float | None:
    """Return the number in `text` when a network can have it as its width."""
    if not re.fullmatch(r"[0-9]+(\.[0-9]*)?|\.[0-9]+", text):
        return None
    value = float(text)
    return value if 0 < value <= WIDTH_LIMIT else None


def find_width(multiplier: float) -> Width | None:
    """Return the published row of a multiplier, or None for a custom width."""
    return next((row for row in WIDTHS if row.multiplier == multiplier), None)


def model_name(width: float) -> str:
    """Return upstream's spelling of the model's name, e.g. repghostnet_0_58x or repghostnet_1_0x."""
    number = f"{width:.1f}" if f"{width:g}" == f"{width:.0f}" else f"{width:.10g}"
    return f"repghostnet_{number.replace('.', '_')}x"


def make_divisible(value: float, divisor: int = CHANNEL_DIVISOR) -> int:
    """Return the multiple of `divisor` nearest to `value`, never below 90 % of it and never 0."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


@dataclass(frozen=True)
class BlockShape:
    """One bottleneck: channels in, hidden, out and of the squeeze-excite (0: none).

    `kernel` is that of the strided depthwise convolution and of the projection shortcut only.
    """

    kernel: int
    stride: int
    in_channels: int
    mid_channels: int
    out_channels: int
    se_channels: int


@dataclass(frozen=True)
class NetworkShape:
    """Every channel count of one network; stages[S][B] is the block named blocks.S.B."""

    stem_channels: int
    stages: tuple[tuple[BlockShape, ...], ...]
    tail_channels: int


# kernel, hidden channels, output channels, squeeze-excite, stride; one inner tuple per stage.
_STAGES: tuple[tuple[tuple[int, int, int, bool, int], ...], ...] = (
    ((3, 8, 16, False, 1),),
    ((3, 24, 24, False, 2),),
    ((3, 36, 24, False, 1),),
    ((5, 36, 40, True, 2),),
    ((5, 60, 40, True, 1),),
    ((3, 120, 80, False, 2),),
    (
        (3, 100, 80, False, 1),
        (3, 120, 80, False, 1),
        (3, 120, 80, False, 1),
        (3, 240, 112, True, 1),
        (3, 336, 112, True, 1),
    ),
    ((5, 336, 160, True, 2),),
    ((5, 480, 160, False, 1), (5, 480, 160, True, 1), (5, 480, 160, False, 1), (5, 480, 160, True, 1)),
)


def network_shape(width: float, enable_se: bool = True) -> NetworkShape:
    """Return the channel counts of the network of one width."""
    stem = channels = make_divisible(STEM_CHANNELS * width)
    stages = []
    for rows in _STAGES:
        blocks = []
        for kernel, hidden, out, has_se, stride in rows:
            mid_channels, out_channels = make_divisible(hidden * width), make_divisible(out * width)
            reduced = make_divisible(SE_RATIO * mid_channels) if has_se and enable_se else 0
            blocks.append(BlockShape(kernel, stride, channels, mid_channels, out_channels, reduced))
            channels = out_channels
        stages.append(tuple(blocks))
    return NetworkShape(stem, tuple(stages), make_divisible(TAIL_CHANNELS * width))


@dataclass(frozen=True)
class ModelSpec:
    """Everything needed to build a RepGhostNet before its weights are loaded.

    Attributes:
        form: "train" with its branches, "deploy" as upstream converts (48 batch norms left), "fused" with none left.
        branches: what ran beside the cheap depthwise convolution in training.
    """

    width: float = 1.0
    num_classes: int = 1000
    in_chans: int = 3
    dropout: float = 0.2
    shortcut: bool = True
    enable_se: bool = True
    branches: Branches = "bn"
    form: Form = "train"

    def __post_init__(self) -> None:
        """Refuse numbers no network can be built from."""
        for name in ("width", "dropout"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < math.inf:
                raise UsageError(f"{name} must be a number, not {value!r}.")
        for name in ("num_classes", "in_chans"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1_000_000:
                raise UsageError(f"{name} must be a whole number from 1 to 1000000, not {value!r}.")
        for name in ("shortcut", "enable_se"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"{name} must be true or false, not {getattr(self, name)!r}.")
        if not 0 < self.width <= WIDTH_LIMIT:
            raise UsageError(f"the width must be above 0 and at most {WIDTH_LIMIT:g}, not {self.width!r}.")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout must be at least 0 and below 1, not {self.dropout!r}.")
        if self.branches not in BRANCHES:
            raise unknown_value("branches", self.branches, BRANCHES)
        if self.form not in FORMS:
            raise unknown_value("form", self.form, FORMS)
        object.__setattr__(self, "width", float(self.width))  # 1 and 1.0 are one network and one text in a file

    @property
    def name(self) -> str:
        """The model's name in upstream's spelling."""
        return model_name(self.width)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelSpec:
        """Return the spec that `to_dict` wrote.

        Raises:
            UsageError: for a key or a value this version does not know.
        """
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                raise unknown_value("key in the model's spec", key, known)
        return cls(**values)
