"""From an image to the input of the network: one frozen value, which every artifact carries.

The image becomes RGB, or what bands.py says for a network with 1, 2 or 4 channels; it is resized, and its centre is
cropped. A device is given these bytes. Grey is the luma of ITU-R BT.601 in integers, (19595 R + 38470 G + 7471 B +
32768) >> 16, as Pillow's mode L. Resizing follows Pillow: half-pixel centres; the filter widens when it shrinks an
image (antialias) and does not when it enlarges one; the result is rounded to bytes after each axis, the width first.
`normalize` then maps each byte on its own, so a network with int8 input needs no arithmetic on pixels, only a table of
256 entries per channel.
`compile/runner/library/prepare.c` does the same on a device, to the byte.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from repghost.channels import CHANNELS
from repghost.data.images.decode import MAX_PIXELS, ImageError, to_channels
from repghost.data.images.known_transforms import IMAGENET_MEAN, IMAGENET_STD, timm_fields, torchvision_fields
from repghost.errors import UsageError, unknown_value
from repghost.sizes import Size, check_size, sides
from repghost.untrusted import JSON_BYTES, parse_json, read_bounded

VERSION = 1
INTERPOLATIONS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

Channels = tuple[float, ...]  # a number for each channel: red, green and blue; grey; or these and one band more


@dataclass(frozen=True)
class Preprocess:
    """Resize, centre crop and normalization of each channel.

    Three rules of resizing, after which the crop takes the centre:
    - `resize` is a number: the short side becomes so long, the other one is rounded down (torchvision's `Resize` of a
      number, timm's crop mode "center" for square images).
    - `resize` is (height, width): the image becomes just large enough to cover both, its proportions kept (timm's crop
      mode "center" for other images).
    - `squash`: the image becomes exactly (height, width), its proportions given up (torchvision's `Resize` of a pair,
      timm's crop mode "squash"); a number stands for both.

    Args:
        size: of the network's input in pixels: a number, or (height, width).
        resize: of the image before the crop, in pixels; equal to `size` means that an image of its proportions is not
            cropped.
        interpolation: "bilinear" or "bicubic", as Pillow computes them.
        mean: what is subtracted per channel (red, green, blue; or grey alone; or either and one band more), for pixels
            in [0, 1].
        std: what the difference is divided by per channel.
        squash: whether height and width are resized each on its own.

    Raises:
        UsageError: when a value is out of range.
    """

    size: Size = 224
    resize: Size = 256
    interpolation: str = "bicubic"
    mean: Channels = IMAGENET_MEAN
    std: Channels = IMAGENET_STD
    squash: bool = False

    def __post_init__(self) -> None:
        """Check every value, so that an object that exists can be applied."""
        object.__setattr__(self, "size", check_size("size", self.size))
        object.__setattr__(self, "resize", check_size("resize", self.resize))
        if self._crop_leaves_the_image():
            raise UsageError(
                f"resize {self.resize} is smaller than size {self.size}, so the crop would leave the picture; "
                f"give a resize of at least {self.size}."
            )
        if not isinstance(self.interpolation, str) or self.interpolation not in INTERPOLATIONS:
            raise unknown_value("interpolation", self.interpolation, INTERPOLATIONS)
        object.__setattr__(self, "mean", _channels("mean", self.mean))
        object.__setattr__(self, "std", _channels("std", self.std))
        if len(self.mean) != len(self.std):
            raise UsageError(f"mean {self.mean} and std {self.std} must be of as many channels.")
        if min(self.std) < 1e-6:
            raise UsageError(f"std must be above 0 for every colour, not {self.std}; typical values are near 0.25.")
        if type(self.squash) is not bool:
            raise UsageError(f"squash must be true or false, not {self.squash!r:.80}.")

    def _crop_leaves_the_image(self) -> bool:
        """Return whether there are images whose resized form is smaller than the crop."""
        by_short_side, size = isinstance(self.resize, int) and not self.squash, sides(self.size)
        needed = (max(size), max(size)) if by_short_side else size
        return any(side < least for side, least in zip(sides(self.resize), needed, strict=True))

    @property
    def height(self) -> int:
        """Rows of the network's input."""
        return sides(self.size)[0]

    @property
    def width(self) -> int:
        """Columns of the network's input."""
        return sides(self.size)[1]

    @property
    def channels(self) -> int:
        """Numbers of a pixel: 3 of an RGB image, 1 of a grey one; 4 or 2 where one band more is read."""
        return len(self.mean)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of what `apply` returns."""
        return self.height, self.width, self.channels

    @property
    def pixels(self) -> int:
        """Pixels of the network's input."""
        return self.height * self.width

    def apply(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return the bytes of the cropped image, uint8 [height, width, channels]: RGB, or what bands.py says.

        Args:
            image: any image that `repghost.data.images.decode.to_channels` understands.

        Raises:
            ImageError: when the mode is not supported, the bands are not those of the channels, or the image is too
                long and thin to be resized.
        """
        colours = to_channels(image, self.channels)
        width, height = self._resized(*colours.size)
        # One axis at a time: which one Pillow takes first depends on its version and on the shape of the image, and a
        # image must not become other bytes when Pillow is updated.
        for resized in ((width, colours.height), (width, height)):
            if resized != colours.size:
                colours = colours.resize(resized, INTERPOLATIONS[self.interpolation])
        # An odd margin goes where torchvision puts it, so that published accuracies can be reproduced.
        left, top = round((width - self.width) / 2), round((height - self.height) / 2)
        cropped = colours.crop((left, top, left + self.width, top + self.height))
        return np.asarray(cropped, np.uint8).reshape(self.shape)

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height of a resized image, as one of the three rules says."""
        rows, columns = sides(self.resize)
        if self.squash:
            return columns, rows
        if rows == columns:
            stretched = rows * max(width, height) // min(width, height)
            found = (rows, stretched) if width <= height else (stretched, rows)
        else:  # in floats, and rounded, exactly as timm does it
            ratio = min(height / rows, width / columns)
            found = round(width / ratio), round(height / ratio)
        if found[0] * found[1] > MAX_PIXELS:
            raise ImageError(
                f"a picture of {width} x {height} pixels would become {max(found)} pixels long; at most "
                f"{MAX_PIXELS // min(found)} are allowed. Crop it first."
            )
        return found

    def table(self) -> NDArray[np.float32]:
        """Return the network's input for every byte, float32 [channels, 256].

        The formula, each operation rounded to float32: (byte / 255 - mean) / std. It is the definition: `normalize`
        looks it up, and the int8 input tables are `quantize(table)`.
        """
        unit = np.arange(256, dtype=np.float32) / np.float32(255)
        mean, std = (np.asarray(values, np.float32)[:, None] for values in (self.mean, self.std))
        return (unit[None, :] - mean) / std

    def normalize(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the network's input for a batch.

        Args:
            images: uint8 [N, H, W, channels], as `apply` gives them.

        Returns:
            float32 [N, channels, H, W], contiguous.

        Raises:
            UsageError: when the array has another type or shape.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != self.channels:
            raise UsageError(
                f"normalize takes uint8 [N, H, W, {self.channels}], not {images.dtype} {list(images.shape)}; use "
                "apply() first."
            )
        count, height, width, _ = images.shape
        result = np.empty((count, self.channels, height, width), np.float32)
        for colour, row in enumerate(self.table()):
            np.take(row, images[..., colour], out=result[:, colour], mode="clip")
        return result

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary that `from_dict` turns back into an equal object."""
        return {
            "version": VERSION,
            "size": _json(self.size),
            "resize": _json(self.resize),
            "interpolation": self.interpolation,
            "mean": list(self.mean),
            "std": list(self.std),
            **({"squash": True} if self.squash else {}),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocess:
        """Rebuild the object from `to_dict`; nothing is assumed, so every key has to be there, but squash.

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
        expected = {field.name for field in fields(cls)} - {"squash"}
        given = set(values) - {"version"}
        wrong = sorted((given - {"squash"}) ^ expected)
        if wrong:
            raise UsageError(
                f"Preprocess keys {wrong} are missing or unknown; exactly {sorted(expected)} and 'version' are "
                "allowed, and 'squash'."
            )
        return cls(**{name: values[name] for name in given})

    @classmethod
    def from_timm(cls, pretrained_cfg: object) -> Preprocess:
        """Return what timm's evaluation of a model does, see `known_transforms.timm_fields`."""
        return cls(**timm_fields(pretrained_cfg))

    @classmethod
    def from_torchvision(cls, transforms: object) -> Preprocess:
        """Return what a transform of torchvision does, see `known_transforms.torchvision_fields`."""
        return cls(**torchvision_fields(transforms))


def _json(size: Size) -> int | list[int]:
    return size if isinstance(size, int) else list(size)


def _channels(name: str, values: object) -> Channels:
    """Return a finite float for each channel, as float32 holds them in [-100, 100]."""
    if not isinstance(values, tuple | list) or len(values) not in CHANNELS:
        raise UsageError(
            f"{name} must be three numbers (red, green, blue), or one for grey, and one more where pictures have "
            f"another band, not {values!r:.200}."
        )
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) == math.inf:
            raise UsageError(f"{name} must be finite numbers, not {values!r:.200}.")
        if abs(value) > 100:
            raise UsageError(f"{name} {values!r:.200} is out of range; pixels are in [0, 1] here, not in [0, 255].")
    return tuple(float(value) for value in values)


IMAGENET = Preprocess()  # upstream's evaluation: 256, bicubic, 224


def read_preprocess(given: Path | Preprocess) -> Preprocess:
    """Read a JSON file with the keys of `to_dict`; a Preprocess is its own answer.

    Raises:
        UsageError: when the file is missing, no JSON, or not a Preprocess.
    """
    if isinstance(given, Preprocess):
        return given
    data = read_bounded(given, JSON_BYTES)
    try:
        return Preprocess.from_dict(parse_json(data, "the file"))
    except UsageError as error:
        raise UsageError(f"{given}: {error}") from error
