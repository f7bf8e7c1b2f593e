"""Notes on stderr: how files were read, and what a run changed to suit them."""

from __future__ import annotations

from collections.abc import Iterable

from repghost.terminal import say_progress


def say_notes(notes: Iterable[str]) -> None:
    """Print each note once, and leave out empty ones."""
    for note in dict.fromkeys(notes):
        if note:
            say_progress(f"note: {note}", err=True)
