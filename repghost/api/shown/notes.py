"""What a caller should know of images and settings, as warnings: left out ones, copies, too few steps."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Sequence

from repghost.errors import NoteWarning
from repghost.terminal import escape

OURS = "repghost"


def warn_of(notes: Iterable[str], broken: Sequence[str] = ()) -> None:
    """Warn of each note once, and of images that could not be decoded.

    Args:
        notes: sentences.
        broken: a message for each image that was left out.
    """
    left_out = f"{len(broken)} broken picture(s) left out, the first: {broken[0]}" if broken else ""
    for note in dict.fromkeys((*notes, left_out)):
        if note:
            warnings.warn(escape(note), NoteWarning, stacklevel=_caller())


def _caller() -> int:
    """Return how many frames above its caller the line stands that called the library."""
    frame, level = sys._getframe(2), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == OURS:
        frame, level = frame.f_back, level + 1
    return level


class Notes:
    """The notes of a run, each given once: to the caller's function, or as a warning without one.

    Attributes:
        say: called with each note; None: it is a warning.
        notes: what was given so far.
    """

    def __init__(self, say: Callable[[str], None] | None) -> None:
        self.say, self.notes = say, list[str]()

    def __call__(self, *notes: str) -> None:
        """Give notes; empty ones are left out."""
        for note in notes:
            if note and note not in self.notes:
                self.notes.append(note)
                if self.say is None:
                    warn_of([note])
                else:
                    self.say(note)

    def mention(self, line: str) -> None:
        """Give a line that is no reason for a warning: to the caller's function, or to nobody."""
        if self.say is not None and line:
            self.say(line)
