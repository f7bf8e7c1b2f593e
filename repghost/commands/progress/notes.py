"""What a command says on stderr of how it read files and suited a run to them."""

from __future__ import annotations

from collections.abc import Iterable

from repghost.terminal import say


def say_notes(notes: Iterable[str]) -> None:
    """Print each note once; an empty one is none."""
    for note in dict.fromkeys(notes):
        if note:
            say(f"note: {note}", err=True)
