"""A set of images that is already an array in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from repghost.channels import RGB
from repghost.data.images.decode import to_channels
from repghost.errors import UsageError


@dataclass(frozen=True, eq=False)
class ArraySet:
    """Images of one size.

    Args:
        source: what messages call the set, e.g. the file it came from.
        classes: the names of the classes, in label order.
        images: uint8 [N, H, W] (grey) or [N, H, W, 3] (RGB).
        labels: int64 [N].

    Raises:
        UsageError: when the counts differ or a label names no class.
    """

    source: str
    classes: tuple[str, ...]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        """Check that images, labels and classes belong together."""
        if len(self.images) != len(self.labels):
            raise UsageError(
                f"{self.source}: {len(self.images)} pictures but {len(self.labels)} labels; the two files do not "
                "belong together. Fetch the set again."
            )
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.classes):
            raise UsageError(
                f"{self.source}: labels from {self.labels.min()} to {self.labels.max()}; 0 to "
                f"{len(self.classes) - 1} are allowed. Fetch the set again."
            )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        """Return the image (RGB) and its label."""
        return self.image(index), int(self.labels[index])

    def image(self, index: int, channels: int = RGB) -> Image.Image:
        """Return the image as a network of so many channels takes it."""
        return to_channels(Image.fromarray(self.images[index]), channels)

    def name(self, index: int) -> str:
        """Return the source and the number of the image in it."""
        return f"{self.source}#{index}"
