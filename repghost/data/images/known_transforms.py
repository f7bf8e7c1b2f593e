"""What timm and torchvision say of preprocessing, as the fields of a `Preprocess`; what is not known is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np

from repghost.channels import CHANNELS
from repghost.errors import UsageError, unknown_value
from repghost.sizes import Size, check_size, sides

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
TIMM_MODES = ("center", "squash")  # "border" pads, which nothing here does
TIMM_CROP = 0.875  # where a config says nothing, as timm.data.resolve_data_config
PRESET = "ImageClassification"  # torchvision's class behind `weights.transforms()`
CONVERSIONS = ("ToTensor", "PILToTensor", "ToImage", "ConvertImageDtype", "ToDtype", "ToPureTensor", "MaybeToTensor")
STEPS = ("Grayscale", "Resize", "CenterCrop", *CONVERSIONS, "Normalize")


def timm_fields(config: object) -> dict[str, Any]:
    """Return the fields for what timm's evaluation does to an image (`timm.data.transforms_imagenet_eval`).

    Args:
        config: a model's `pretrained_cfg`, as a mapping or a dataclass. The sizes for training are taken, as
            `timm.data.resolve_model_data_config` does, not `test_input_size`.

    Raises:
        UsageError: for a crop mode or interpolation that is not known here, or a value out of range.
    """
    values = asdict(config) if is_dataclass(config) and not isinstance(config, type) else config
    if not isinstance(values, Mapping):
        raise UsageError(f"timm's pretrained_cfg is a mapping, not {type(config).__name__}.")
    size = values.get("input_size") or (3, 224, 224)
    if not isinstance(size, list | tuple) or len(size) != 3 or size[0] not in CHANNELS:
        raise UsageError(f"timm's input_size is channels, height and width, with 1 to 4 channels, not {size!r:.80}.")
    mode, share = values.get("crop_mode") or "center", values.get("crop_pct") or TIMM_CROP
    if mode not in TIMM_MODES:
        raise unknown_value("crop_mode of timm", mode, TIMM_MODES)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise UsageError(f"timm's crop_pct is a share of the resized picture above 0, at most 1, not {share!r:.80}.")
    height, width = sides(check_size("input_size", tuple(size[1:])))
    return {
        "size": (height, width),
        "resize": (math.floor(height / share), math.floor(width / share)),
        "interpolation": values.get("interpolation") or "bicubic",
        "mean": _repeated(values.get("mean") or IMAGENET_MEAN, size[0]),
        "std": _repeated(values.get("std") or IMAGENET_STD, size[0]),
        "squash": mode == "squash",
    }


def torchvision_fields(transforms: object) -> dict[str, Any]:
    """Return the fields for what a transform of torchvision does to an image.

    Args:
        transforms: what `weights.transforms()` of a classifier returns, or a Compose or Sequential of Grayscale,
            Resize, CenterCrop, a conversion to float, and Normalize, in this order; `timm.data.create_transform`
            makes one.

    Raises:
        UsageError: naming a transform, an order or a value that is not known here.
    """
    names = [kind.__name__ for kind in type(transforms).__mro__]
    steps: Any = getattr(transforms, "transforms", None) if "Compose" in names else None
    if "Sequential" in names:
        steps = list(transforms)  # type: ignore[call-overload]
    if steps is not None:
        return _from_steps(steps)
    if PRESET not in names:
        kind = getattr(transforms, "__name__", names[0])
        raise unknown_value("transform of torchvision", kind, (f"{PRESET} (weights.transforms())", "Compose"))
    preset: Any = transforms
    _refuse_aliasing(preset)
    return _made(preset.resize_size, preset.crop_size, preset.interpolation, preset.mean, preset.std)


def _refuse_aliasing(transform: Any) -> None:
    if transform.antialias is False:
        raise UsageError("torchvision's antialias=False is not known here; pictures are resized as Pillow does it.")


def _from_steps(steps: Sequence[object]) -> dict[str, Any]:
    """Return the fields for what transforms do one after the other."""
    names = [type(step).__name__ for step in steps]
    for name in names:
        if name not in STEPS:
            raise unknown_value("transform of torchvision", name, STEPS)
    places = [STEPS.index(name) for name in names if name not in CONVERSIONS]
    if places != sorted(set(places)) or "Resize" not in names:
        raise UsageError(
            f"torchvision's transforms are {', '.join(names)}; understood are Grayscale, Resize, CenterCrop and "
            "Normalize once each in this order, a Resize among them."
        )
    found: dict[str, Any] = dict(zip(names, steps, strict=True))
    resize, crop, grey, normalize = found["Resize"], *map(found.get, ("CenterCrop", "Grayscale", "Normalize"))
    if resize.max_size is not None:
        raise UsageError(f"torchvision's Resize with max_size={resize.max_size} is not known here.")
    _refuse_aliasing(resize)
    if crop is None and len(_sizes(resize.size)) == 1:
        raise UsageError("torchvision's Resize of the short side without a CenterCrop gives pictures of many sizes.")
    if grey is not None and grey.num_output_channels != 1:
        raise UsageError(f"torchvision's Grayscale to {grey.num_output_channels} channels is not known here; 1 is.")
    channels = 3 if grey is None else 1
    mean, std = (normalize.mean, normalize.std) if normalize is not None else ([0.0], [1.0])
    mean, std = _repeated(mean, channels), _repeated(std, channels)
    return _made(resize.size, resize.size if crop is None else crop.size, resize.interpolation, mean, std)


def _made(resize: object, crop: object, interpolation: object, mean: object, std: object) -> dict[str, Any]:
    """Return the fields of a Resize and a CenterCrop; a Resize to a height and a width squashes."""
    return {
        "size": _size("CenterCrop", crop),
        "resize": _size("Resize", resize),
        "interpolation": getattr(interpolation, "value", interpolation),
        "mean": mean,
        "std": std,
        "squash": len(_sizes(resize)) == 2,
    }


def _sizes(value: object) -> tuple[Any, ...]:
    """Return one or two numbers of what torchvision keeps as a number or a sequence."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _size(name: str, value: object) -> Size:
    numbers = _sizes(value)
    return check_size(f"torchvision's {name}", numbers[0] if len(numbers) == 1 else numbers)


def _repeated(values: Any, channels: int) -> tuple[float, ...]:
    """Return a number for each channel; a single one is for all of them."""
    if hasattr(values, "tolist"):  # timm's Normalize holds tensors, whose float32 has seven digits
        values = [float(f"{value:.7g}") for value in np.ravel(values).tolist()]
    numbers = tuple(values) if isinstance(values, list | tuple) else (values,)
    if len(numbers) not in (1, channels):
        raise UsageError(f"{list(numbers)!r:.80} are not the numbers of {channels} channel(s).")
    return numbers * channels if len(numbers) == 1 else numbers
