"""timm's changes of colour for images with one band more: they get the colours, and the other band stays as it is.

What moves or blurs an image does so to every band.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image
from timm.data.auto_augment import AugmentOp, AugMixAugment, AutoAugment, RandAugment

from repghost.channels import GREY, RGB
from repghost.data.images.bands import MODES, stored_bands
from repghost.errors import UsageError, option
from repghost.training.feeds.quick_steps import Jitter

MOVES = ("Shear", "Translate", "Rotate", "GaussianBlur")  # beginnings of timm's names


@dataclass(frozen=True)
class OnColours:
    """A function of an image that is given its colours alone."""

    change: Any
    channels: int

    def __call__(self, image: Image.Image, *arguments: Any, **named: Any) -> Image.Image:
        """Return the image with changed colours."""
        *colours, other = image.split()
        changed = self.change(Image.merge("RGB", colours) if len(colours) == RGB else colours[0], *arguments, **named)
        return Image.merge(MODES[self.channels], (*changed.split(), other))


@dataclass(frozen=True)
class AsStored:
    """Put an image into the mode whose bands are changed alike; torchvision's reflecting pad leaves another one."""

    channels: int

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the image with the same bytes."""
        return stored_bands(image, self.channels) or image


def change_colours_alone(transform: Any, channels: int) -> Any:
    """Return timm's transform for training as one for images of 2 or 4 channels.

    Args:
        transform: a Compose; it is changed.
        channels: of the images.

    Raises:
        UsageError: for AugMix, which makes images of three bands.
    """
    from torchvision.transforms import Compose  # which trainings of quantized networks need not load

    steps: list[Any] = []
    for step in transform.transforms:
        if isinstance(step, AugMixAugment):
            raise UsageError(
                f"{option('aa')} augmix is for images of {GREY} or {RGB} channels, not of {channels}; give a policy "
                "such as rand-m9-mstd0.5, original or v0."
            )
        for operation in _operations(step):
            if not operation.name.startswith(MOVES):
                operation.aug_fn = OnColours(operation.aug_fn, channels)
        changed = OnColours(step, channels) if isinstance(step, Jitter) else step
        steps += [AsStored(channels), changed] if changed is not step or list(_operations(step)) else [changed]
    return Compose(steps)


def _operations(step: Any) -> Iterator[AugmentOp]:
    """Yield the operations of a policy."""
    if isinstance(step, RandAugment):
        yield from step.ops
    elif isinstance(step, AutoAugment):
        for together in step.policy:
            yield from together
