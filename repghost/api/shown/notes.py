"""What a caller should know of images, as warnings: left out ones, copies."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

from repghost.errors import NoteWarning
from repghost.terminal import escape

CALLER = 3  # frames above `warn`: who called the public function


def warn_of(notes: Iterable[str], broken: Sequence[str] = ()) -> None:
    """Warn of each note once, and of images that could not be decoded.

    Args:
        notes: sentences.
        broken: a message for each image that was left out.
    """
    left_out = f"{len(broken)} broken picture(s) left out, the first: {broken[0]}" if broken else ""
    for note in dict.fromkeys((*notes, left_out)):
        if note:
            warnings.warn(escape(note), NoteWarning, stacklevel=CALLER)
