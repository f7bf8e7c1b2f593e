"""Progress of long calls: a bar where somebody looks, a function of the caller's, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from tqdm.auto import tqdm

from repghost import terminal

Report: TypeAlias = Callable[[str, int, int | None], None]  # stage, how many are done, of how many
Progress: TypeAlias = bool | Report | None


@contextmanager
def follow(progress: Progress, stage: str, total: int | None, unit: str = "picture") -> Iterator[Callable[[int], None]]:
    """Give a function that is told how many more are done.

    Args:
        progress: None: a bar in a terminal or a notebook, nothing elsewhere; True: a bar; False: nothing; a function:
            called with the stage, how many are done, and of how many (None where nobody knows).
        stage: what is done.
        total: of how many.
        unit: what is counted.
    """
    if callable(progress):
        done = 0

        def tell(count: int) -> None:
            nonlocal done
            done += count
            progress(stage, done, total)

        yield tell
        return
    shown = progress if progress is not None else _is_watched()
    with tqdm(total=total, desc=stage, unit=unit, leave=False, disable=not shown) as bar:
        yield bar.update


def _is_watched() -> bool:
    return (sys.stderr.isatty() and not terminal.quiet) or "ipykernel" in sys.modules
