"""Options of every command that takes labelled images, and what it says about them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from repghost.terminal import shell_command

class_order_option = click.option(
    "--class-order",
    metavar="natural|characters|FILE",
    help="Order of the classes of a network that does not name them; FILE has a name on each line.",
)
class_map_option = click.option(
    "--class-map",
    type=click.Path(path_type=Path),
    help="The class of each picture, where a split has no class folders: lines of a file name and a class.",
)
val_share_option = click.option(
    "--val-share",
    type=float,
    help="Of each class, held out of a folder of classes that has no splits.  [default: 0.2]",
)


def options_of_set(given: Mapping[str, Any]) -> list[str]:
    """Return the options by which a command reads a set as another one did, for a command to copy."""
    names = ("class_map", "val_share")
    return [
        word
        for name in names
        if given.get(name) is not None
        for word in (f"--{name.replace('_', '-')}", str(given[name]))
    ]


def compile_command(weights: Path, data: Path, given: Mapping[str, Any]) -> str:
    """Return the command that makes a bundle of trained weights with the set that they were trained on."""
    said = "--target", "arm64", "--weights", weights, "--data", data
    return shell_command("repghost", "compile", *said, *options_of_set(given))


class_options = (class_order_option, class_map_option, val_share_option)
