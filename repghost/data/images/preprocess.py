"""From an image to the input of the network: one frozen value, which every artifact carries.

The image becomes RGB, its short side is resized, the centre is cropped. A device is given these bytes.
Resizing follows Pillow: half-pixel centres; the filter widens when it shrinks an image (antialias) and does not when
it enlarges one; the result is rounded to bytes after each axis, the width first. `normalize` then maps each byte on its
own, so a network with int8 input needs no arithmetic on pixels, only a table of 256 entries per colour.
`compile/runner/library/prepare.c` does the same on a device, to the byte.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from repghost.data.images.decode import MAX_PIXELS, ImageError, to_rgb
from repghost.errors import UsageError, unknown_value
from repghost.untrusted import JSON_BYTES, parse_json, read_bounded

VERSION = 1
MAX_SIDE = 4096
INTERPOLATIONS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocess:
    """Short-side resize, centre crop and per-colour normalization.

    Args:
        size: height and width of the network's input, in pixels.
        resize: length of the short side before the crop, in pixels; equal to `size` means that a square image is not
            cropped.
        interpolation: "bilinear" or "bicubic", as Pillow computes them.
        mean: what is subtracted per colour (red, green, blue), for pixels in [0, 1].
        std: what the difference is divided by per colour.

    Raises:
        UsageError: when a value is out of range.
    """

    size: int = 224
    resize: int = 256
    interpolation: str = "bicubic"
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD

    def __post_init__(self) -> None:
        """Check every value, so that an object that exists can be applied."""
        _check_side("size", self.size)
        _check_side("resize", self.resize)
        if self.resize < self.size:
            raise UsageError(
                f"resize {self.resize} is smaller than size {self.size}, so the crop would leave the picture; "
                f"give a resize of at least {self.size}."
            )
        if not isinstance(self.interpolation, str) or self.interpolation not in INTERPOLATIONS:
            raise unknown_value("interpolation", self.interpolation, INTERPOLATIONS)
        object.__setattr__(self, "mean", _triple("mean", self.mean))
        object.__setattr__(self, "std", _triple("std", self.std))
        if min(self.std) < 1e-6:
            raise UsageError(f"std must be above 0 for every colour, not {self.std}; typical values are near 0.25.")

    def apply(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return the bytes of the cropped image, uint8 [size, size, 3] in RGB order.

        Args:
            image: any image that `repghost.data.images.decode.to_rgb` understands.

        Raises:
            ImageError: when the mode is not supported or the image is too long and thin to be resized.
        """
        rgb = to_rgb(image)
        width, height = self._resized(*rgb.size)
        # One axis at a time: which one Pillow takes first depends on its version and on the shape of the image, and a
        # image must not become other bytes when Pillow is updated.
        for resized in ((width, rgb.height), (width, height)):
            if resized != rgb.size:
                rgb = rgb.resize(resized, INTERPOLATIONS[self.interpolation])
        # An odd margin goes where torchvision puts it, so that published accuracies can be reproduced.
        left, top = round((width - self.size) / 2), round((height - self.size) / 2)
        return np.asarray(rgb.crop((left, top, left + self.size, top + self.size)), np.uint8)

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height after the short side became `resize`; the long side is rounded down."""
        short, long = min(width, height), max(width, height)
        stretched = self.resize * long // short
        if stretched * self.resize > MAX_PIXELS:
            raise ImageError(
                f"a picture of {width} x {height} pixels would become {stretched} pixels long; at most "
                f"{MAX_PIXELS // self.resize} are allowed. Crop it first."
            )
        return (self.resize, stretched) if width <= height else (stretched, self.resize)

    def table(self) -> NDArray[np.float32]:
        """Return the network's input for every byte, float32 [3, 256].

        The formula, each operation rounded to float32: (byte / 255 - mean) / std. It is the definition: `normalize`
        looks it up, and the int8 input tables are `quantize(table)`.
        """
        unit = np.arange(256, dtype=np.float32) / np.float32(255)
        mean, std = (np.asarray(values, np.float32)[:, None] for values in (self.mean, self.std))
        return (unit[None, :] - mean) / std

    def normalize(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the network's input for a batch.

        Args:
            images: uint8 [N, H, W, 3], RGB.

        Returns:
            float32 [N, 3, H, W], contiguous.

        Raises:
            UsageError: when the array has another type or shape.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise UsageError(
                f"normalize takes uint8 [N, H, W, 3], not {images.dtype} {list(images.shape)}; use apply() first."
            )
        count, height, width, _ = images.shape
        result = np.empty((count, 3, height, width), np.float32)
        for colour, row in enumerate(self.table()):
            np.take(row, images[..., colour], out=result[:, colour], mode="clip")
        return result

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary that `from_dict` turns back into an equal object."""
        return {
            "version": VERSION,
            "size": self.size,
            "resize": self.resize,
            "interpolation": self.interpolation,
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocess:
        """Rebuild the object from `to_dict`; nothing is assumed, so every key has to be there.

        Raises:
            UsageError: for another version, a missing or an unknown key, or a value out of range.
        """
        if not isinstance(values, Mapping):
            raise UsageError(f"a Preprocess is a JSON object, not {type(values).__name__}.")
        version = values.get("version")
        if "version" not in values:
            raise UsageError(f'a Preprocess says its version: "version": {VERSION} is missing; add it.')
        if type(version) is not int or version != VERSION:
            raise UsageError(
                f"Preprocess version {version!r:.80} is not understood; this program reads version {VERSION}; use the "
                "version of repghost that wrote the file."
            )
        expected = {field.name for field in fields(cls)}
        given = set(values) - {"version"}
        if given != expected:
            raise UsageError(
                f"Preprocess keys {sorted(given ^ expected)} are missing or unknown; exactly {sorted(expected)} and "
                "'version' are allowed."
            )
        return cls(**{name: values[name] for name in expected})


def _check_side(name: str, value: object) -> None:
    """Refuse anything but a whole number of pixels in [1, MAX_SIDE]."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_SIDE:
        raise UsageError(f"{name} must be a whole number of pixels from 1 to {MAX_SIDE}, not {value!r}.")


def _triple(name: str, values: object) -> Triple:
    """Return three finite floats, as float32 holds them in [-100, 100]."""
    if not isinstance(values, tuple | list) or len(values) != 3:
        raise UsageError(f"{name} must be three numbers (red, green, blue), not {values!r}.")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) == math.inf:
            raise UsageError(f"{name} must be three finite numbers, not {values!r}.")
        if abs(value) > 100:
            raise UsageError(f"{name} {values!r} is out of range; pixels are in [0, 1] here, not in [0, 255].")
    red, green, blue = (float(value) for value in values)
    return red, green, blue


IMAGENET = Preprocess()  # upstream's evaluation: 256, bicubic, 224


def read_preprocess(path: Path) -> Preprocess:
    """Read a JSON file with the keys of `to_dict`.

    Raises:
        UsageError: when the file is missing, no JSON, or not a Preprocess.
    """
    data = read_bounded(path, JSON_BYTES)
    try:
        return Preprocess.from_dict(parse_json(data, "the file"))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def resolve_preprocess(stored: Mapping[str, Any] | None, num_classes: int, path: Path | None = None) -> Preprocess:
    """Return the preprocessing of a checkpoint: a file that the user gave, what the checkpoint says, or ImageNet's.

    Args:
        stored: `Checkpoint.preprocess`.
        num_classes: ImageNet's is assumed for 1000 classes only, as in upstream's and timm's files.
        path: a JSON file that takes precedence.

    Raises:
        UsageError: when nothing says how images were prepared.
    """
    if path is not None:
        return read_preprocess(path)
    if stored is not None:
        return Preprocess.from_dict(stored)
    if num_classes == 1000:
        return IMAGENET
    example = json.dumps(IMAGENET.to_dict())
    raise UsageError(
        f"the checkpoint does not say how its pictures were prepared, and {num_classes} classes are not ImageNet's "
        f"1000; give --preprocess FILE with JSON like {example}."
    )


def resized(preprocess: Preprocess, size: int | None) -> Preprocess:
    """Return the same preprocessing for another input size, its resize scaled alike; None changes nothing."""
    if size is None or size == preprocess.size:
        return preprocess
    return replace(preprocess, size=size, resize=round(size * preprocess.resize / preprocess.size))
