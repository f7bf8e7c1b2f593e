"""The size of an image: a number where height and width are equal, otherwise (height, width), as everywhere here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeAlias

from repghost.errors import UsageError

MAX_SIDE = 4096

Size: TypeAlias = int | tuple[int, int]  # pixels; a pair is (height, width), and its sides differ
_WRITTEN = re.compile(r"([0-9]{1,6})(?:x([0-9]{1,6}))?")


def check_size(name: str, value: object) -> Size:
    """Return a size in its one form: a number where both sides are equal.

    Args:
        name: what the value is called in errors.
        value: a whole number, or a height and a width.

    Raises:
        UsageError: for anything but whole numbers in [1, MAX_SIDE].
    """
    pair: Any = value if isinstance(value, list | tuple) and len(value) == 2 else (value, value)
    for side in pair:
        if isinstance(side, bool) or not isinstance(side, int) or not 1 <= side <= MAX_SIDE:
            raise UsageError(
                f"{name} must be a whole number of pixels from 1 to {MAX_SIDE}, or a height and a width, not "
                f"{value!r:.80}."
            )
    height, width = pair
    return int(height) if height == width else (int(height), int(width))


def sides(size: int | Sequence[int]) -> tuple[int, int]:
    """Return height and width in pixels of a size, also of one that came out of JSON."""
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def size_text(size: Any) -> str:
    """Return a size as users write it, e.g. 64 or 96x160 (height first); `size` may have come out of JSON."""
    return str(size) if isinstance(size, int) else sides_text(size)


def sides_text(size: Any) -> str:
    """Return both sides of a size, e.g. 64x64 or 96x160 (height first); `size` may have come out of JSON."""
    if isinstance(size, str):
        return size
    height, width = sides(size)
    return f"{height}x{width}"


def reported(size: int | Sequence[int]) -> int | str:
    """Return a size as reports hold it: a number, or e.g. "96x160" where the sides differ."""
    height, width = sides(size)
    return height if height == width else sides_text(size)


def parse_size(text: str) -> Size:
    """Return a size that a user wrote: 64, or 96x160 for 96 rows of 160 pixels.

    Raises:
        UsageError: for another form, or a side out of range.
    """
    found = _WRITTEN.fullmatch(text)
    if found is None:
        raise UsageError(f"a size is a number of pixels, or HEIGHTxWIDTH, e.g. 224 or 96x160; not {text!r:.80}.")
    height, width = found.groups()
    return check_size("a size", (int(height), int(width or height)))
