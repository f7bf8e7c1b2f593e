"""Weights that timm publishes on the Hugging Face hub, for machines with a network.

They are the authors' EMA weights, MIT licence; top-1 by timm's measurement is within 0.03 points of the authors'.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from repghost.checkpoints.checkpoint import Checkpoint, read_checkpoint
from repghost.data.images.preprocess import IMAGENET
from repghost.errors import RepGhostError, ToolMissingError, UsageError, option
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
    path = _download(repository)
    checkpoint = read_checkpoint(path, width=width, form="train")
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


def _download(repository: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise ToolMissingError("fetching weights needs a package: pip install huggingface_hub.") from error
    try:
        return Path(hf_hub_download(repository, FILE_NAME))
    except Exception as error:  # the hub's client raises its own, its transport's and the system's errors
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise RepGhostError(
            f"could not fetch {FILE_NAME} of {repository} ({lines[0][:200]}). Check the network; or fetch the file on "
            "another machine and give its path."
        ) from error
