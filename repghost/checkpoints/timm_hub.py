"""Weights that timm publishes on the Hugging Face hub, for machines with a network.

They are the authors' EMA weights, MIT licence; top-1 by timm's measurement is within 0.03 points of the authors'.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from repghost.checkpoints.checkpoint import Checkpoint, read_checkpoint
from repghost.data.images.preprocess import IMAGENET
from repghost.errors import UsageError, option
from repghost.hub.download import published_file
from repghost.network.spec import WIDTHS, find_width

SOURCE = "timm"  # what a user writes where a path is expected
FILE_NAME = "model.safetensors"


def fetch(width: float) -> Checkpoint:
    """Return timm's published ImageNet-1k checkpoint of one width; the file is kept in the hub's cache folder.

    Raises:
        UsageError: when there are no published weights of this width.
        ToolMissingError: when huggingface_hub is not installed.
        RepGhostError: when the file cannot be fetched.
    """
    row = find_width(width)
    if row is None:
        allowed = ", ".join(f"{known.multiplier:g}" for known in WIDTHS)
        raise UsageError(f"timm has no weights of width {width:g}; published are {allowed}.")
    repository = f"timm/{row.timm_name}.in1k"
    checkpoint = read_checkpoint(published_file(repository, FILE_NAME), width=width, form="train")
    metadata = {**checkpoint.metadata, "source": repository, "license": "MIT"}
    return replace(checkpoint, preprocess=IMAGENET.to_dict(), metadata=metadata)


def open_checkpoint(source: str | Path, width: float | None = None) -> Checkpoint:
    """Return the checkpoint of a path, or timm's when `source` is the word "timm".

    Args:
        source: a path, or "timm".
        width: needed for timm; for a file, another width is refused.
    """
    if str(source) != SOURCE:
        return read_checkpoint(source, width=width)
    if width is None:
        raise UsageError(f"timm has weights of eight widths; say which one, e.g. {option('width', '0.5')}.")
    return fetch(width)
