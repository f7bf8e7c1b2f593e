"""Options that the commands that calibrate share: `repghost quantize`, `repghost sensitivity` and `repghost qat`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

_FILE = click.Path(path_type=Path)
_DATA = click.option("--data", required=True, type=_FILE, help="A set of pictures (see the README).")
_TRAINING_SPLIT = click.option(
    "--split", default="train", show_default=True, help="Never the split that accuracy is measured on."
)
_CALIBRATION_SPLIT = click.option(
    "--split", help="Never the split that accuracy is measured on.  [default: calibration, or else train]"
)
_OPTIONS = (
    click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Chooses the pictures."),
    click.option("--preprocess", "preprocess_path", type=_FILE, help="JSON, where the file has none."),
    click.option("--size", type=click.IntRange(32), help="Pixels of the input, instead of the checkpoint's."),
    click.option("--width", help="Refuse a checkpoint of another width; chooses the file when CKPT is 'timm'."),
    click.option("--config", "config_path", type=_FILE, help="Quantization settings as JSON."),
    click.option("--policy", help="cpu or tensorrt, instead of the config's."),
)
output_option = click.option("--output", "-o", required=True, type=_FILE, help="The file to write.")


def quantization_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a click command that trains the checkpoint argument and the options above."""
    return _with_options(command, _TRAINING_SPLIT)


def calibration_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a click command that only calibrates the checkpoint argument and the options above."""
    return _with_options(command, _CALIBRATION_SPLIT)


def _with_options(command: Callable[..., Any], split: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed((_DATA, split, *_OPTIONS)):
        command = option(command)
    return click.argument("checkpoint", metavar="CKPT")(command)
