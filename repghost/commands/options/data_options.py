"""Options of every command that takes labelled images, and what it says about them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from repghost.commands.progress.notes import say_notes

if TYPE_CHECKING:
    from repghost.data import ImageSet

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
class_options = (class_order_option, class_map_option)


def tell_notes(*datasets: ImageSet | None) -> None:
    """Say on stderr what a user should know about how sets were read, each thing once."""
    from repghost.data import notes_on

    say_notes(note for dataset in datasets if dataset is not None for note in notes_on(dataset))
