"""What is asked of a library of networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from repghost.data.images.preprocess import INTERPOLATIONS, Preprocess


@dataclass(frozen=True)
class Recipe:
    """What a library says of a network.

    Attributes:
        classes: that its published weights tell apart.
        imagenet: whether these are those of ImageNet-1k.
        preprocess: how its images are prepared.
        source: where its published weights are; "" for nowhere.
        fetch: returns the file of the published weights.
        notes: what could not be taken over, one sentence each.
    """

    classes: int
    imagenet: bool
    preprocess: Preprocess
    source: str
    fetch: Callable[[], Path]
    notes: tuple[str, ...] = ()


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


def preparation(interpolation: str, **settings: Any) -> tuple[Preprocess, tuple[str, ...]]:
    """Return how images are prepared, and a note where a library does something else."""
    if interpolation in INTERPOLATIONS:
        return Preprocess(interpolation=interpolation, **settings), ()
    note = f"its pictures are resized by {interpolation!r}, which is not known here; bicubic is used"
    return Preprocess(interpolation="bicubic", **settings), (note,)
