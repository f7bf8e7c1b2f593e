"""Options of every command that takes labelled images, and what it says about them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from repghost.errors import UsageError
from repghost.terminal import escape, shell_command

NAMED, FOLDERS = ("hfds/", "wds/"), ("folder", "imagefolder")  # timm's --dataset
DATA_HELP = "A set of pictures (see docs/pictures.md), or 'bundled': that of the package."
NAMED_SET = f"{__name__}.named"  # where the context of a command keeps it

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


def _choose_set(context: click.Context, parameter: click.Parameter, name: str | None) -> None:
    """Take --dataset as --data where it names a set, and as nothing where it names the kind of a folder.

    Raises:
        UsageError: for any other name, or where --data is given, too.
    """
    if not name or name.lower() in FOLDERS:
        return
    if not name.startswith(NAMED):
        raise UsageError(
            f"--dataset {escape(name)}: allowed are hfds/NAME and wds/SHARDS; any other kind of set is found out from "
            "--data. Leave it out."
        )
    context.default_map = {**(context.default_map or {}), "data": name}
    context.meta[NAMED_SET] = name


def refuse_two_sets() -> None:
    """Refuse --data beside a --dataset that names a set.

    Raises:
        UsageError: naming both.
    """
    context = click.get_current_context()
    name = context.meta.get(NAMED_SET)
    if name is not None and context.get_parameter_source("data") is ParameterSource.COMMANDLINE:
        raise UsageError(
            f"--dataset {escape(name)} and --data {context.params['data']} are two sets; give one of them."
        )


dataset_option = click.option(
    "--dataset", is_eager=True, expose_value=False, callback=_choose_set,
    help="Instead of --data, as timm spells a set: hfds/NAME or wds/SHARDS.",
)  # fmt: skip


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
