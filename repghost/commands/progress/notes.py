"""What a command says of a checkpoint that it has opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from repghost.checkpoints.checkpoint import Checkpoint


def say_notes(checkpoint: Checkpoint) -> None:
    """Print what the user of a file is told."""
    for note in checkpoint.notes:
        click.echo(f"note: {note}", err=True)
