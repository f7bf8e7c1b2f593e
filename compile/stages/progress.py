"""The progress of a run: one line per stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from repghost.terminal import say_passing


class Progress:
    """One line per stage: its name, what it did, how long it took."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.note = ""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; what was put into `note` is printed on its line."""
        started, self.note = time.monotonic(), ""
        say_passing(f"{name} ...")
        yield
        self.say(f"{name:<10} {time.monotonic() - started:6.1f} s   {self.note}".rstrip())
