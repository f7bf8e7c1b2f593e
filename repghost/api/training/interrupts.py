"""What ends a training early: Ctrl-C or SIGTERM, between two steps where the run can be continued."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from repghost.errors import RepGhostError
from repghost.training.follow.signals import stop_on_signals


@contextmanager
def interruptible(stopped: type[RepGhostError], state: object | None) -> Iterator[Callable[[], bool]]:
    """Give what says whether to stop: after Ctrl-C, where a run can be continued; otherwise Ctrl-C acts at once.

    Args:
        stopped: what the run raises once it has stopped and its state is written.
        state: where the state is; None: it has none.

    Raises:
        KeyboardInterrupt: instead of `stopped`, after Ctrl-C.
    """
    if state is None or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    try:
        with stop_on_signals(stopped) as should_stop:
            yield should_stop
    except stopped as error:
        if error.exit_code == 128 + signal.SIGINT:
            raise KeyboardInterrupt(f"{error} The state is in {state}.") from error
        raise
