"""Steps of timm's transform for training, with the same random numbers and the same bytes in less time.

Brightness and contrast mix an image with one colour: what becomes of a byte depends on that byte alone, and a table of
256 is applied three times as fast as two images are mixed. The table is made by the same mixing, of all 256 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageStat
from timm.data.transforms import MaybePILToTensor

BYTES = Image.frombytes("L", (256, 1), bytes(range(256)))
BRIGHTNESS, CONTRAST = 0, 1  # numbers of torchvision's ColorJitter; 2 is saturation, 3 hue


@dataclass(frozen=True)
class Jitter:
    """torchvision's ColorJitter without hue."""

    step: Any

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the image with other colours."""
        step = self.step
        order, *factors = step.get_params(step.brightness, step.contrast, step.saturation, None)
        for kind in order.tolist():
            if factors[kind] is None:
                continue
            if kind == BRIGHTNESS:
                image = mixed(image, 0, factors[kind])
            elif kind == CONTRAST:
                image = mixed(image, _mean(image), factors[kind])
            else:
                image = ImageEnhance.Color(image).enhance(factors[kind])
        return image


def mixed(image: Image.Image, grey: int, factor: float) -> Image.Image:
    """Return what Image.blend of an image of one grey and of this image, in RGB or L, gives."""
    table = list(Image.blend(Image.new("L", BYTES.size, grey), BYTES, factor).tobytes())
    return image.point(table * len(image.getbands()))


def to_planes(image: Image.Image) -> NDArray[np.uint8]:
    """Return uint8 [channels, height, width], a view of the pixels."""
    pixels = np.asarray(image)
    return (pixels[..., None] if pixels.ndim == 2 else pixels).transpose(2, 0, 1)


def quicker(transform: Any) -> Any:
    """Return timm's transform with these steps in the place of its own.

    Args:
        transform: a Compose; it is changed.
    """
    from torchvision.transforms import ColorJitter  # which trainings of quantized networks need not load

    for place, step in enumerate(transform.transforms):
        if isinstance(step, ColorJitter) and step.hue is None:
            transform.transforms[place] = Jitter(step)
        elif isinstance(step, MaybePILToTensor):
            transform.transforms[place] = to_planes
    return transform


def _mean(image: Image.Image) -> int:
    """Return the grey that ImageEnhance.Contrast mixes with."""
    return int(ImageStat.Stat(image.convert("L") if image.mode != "L" else image).mean[0] + 0.5)
