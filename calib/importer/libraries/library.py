"""What is asked of a library of networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from repghost.data.images.preprocess import Preprocess


@dataclass(frozen=True)
class Recipe:
    """What a library says of a network.

    Attributes:
        classes: that its published weights tell apart.
        imagenet: whether these are those of ImageNet-1k.
        preprocess: how its images are prepared.
        source: where its published weights are; "" for nowhere.
        fetch: returns the file of the published weights.
    """

    classes: int
    imagenet: bool
    preprocess: Preprocess
    source: str
    fetch: Callable[[], Path]


@dataclass(frozen=True)
class Library:
    """A library of networks.

    Attributes:
        names: returns the names of its networks.
        create: returns a network with random weights, of the library's number of classes or of another one.
        recipe: returns what the library says of a network.
    """

    names: Callable[[], list[str]]
    create: Callable[[str, int | None], nn.Module]
    recipe: Callable[[str], Recipe]
