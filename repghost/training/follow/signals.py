"""Stopping a training run on SIGINT or SIGTERM between two steps, so that its state is written first."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

from repghost.errors import RepGhostError


@contextlib.contextmanager
def stop_on_signals(stopped: type[RepGhostError]) -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether SIGINT or SIGTERM arrived; a second one of the same kind acts at once.

    Args:
        stopped: what the run raises once it has stopped; it gets the exit code of the signal.
    """
    received: list[int] = []
    old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, old[signal.Signals(number)])

    for number in old:
        signal.signal(number, note)
    try:
        yield lambda: bool(received)
    except stopped as error:
        error.exit_code = 128 + (received[0] if received else signal.SIGTERM)  # as a shell reports a signal
        raise
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
