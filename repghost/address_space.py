"""A limit of the address space (ulimit -v): libraries that need more than it allows end a process without a word.

PyTorch alone maps a few gigabytes. Where that goes wrong while it is loaded, C++ ends the process at once, so it is
loaded in a child first; what goes wrong later is an exception, for which some memory is set aside.
"""

from __future__ import annotations

import importlib
import importlib.abc
import os
import resource
import signal
import sys
from collections.abc import Sequence
from types import ModuleType

LARGE = "torch"  # the library that is tried
NO_PLACE = "PyTorch cannot be loaded"
LOAD_LIMIT_S = 600  # of the trial; on a cold disk it takes a minute
RESERVE_BYTES = 16 << 20
_RESERVE: list[bytearray] = []


def limit_bytes() -> int | None:
    """Return how much address space this process may have, None where nothing limits it."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def prepare() -> None:
    """Set memory aside and try large libraries before they are loaded, where the address space is limited."""
    if limit_bytes() is None:
        return
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's ends the process where it gets no thread
    _RESERVE.append(bytearray(RESERVE_BYTES))
    sys.meta_path.insert(0, _Trial())


def release() -> None:
    """Give back what was set aside: from here on there is memory to say that there is none."""
    _RESERVE.clear()


class _Trial(importlib.abc.MetaPathFinder):
    """Finds nothing; a large library is loaded in a child before the other finders are asked."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Raise MemoryError when a process that loads the library ends."""
        if name == LARGE and self in sys.meta_path:
            sys.meta_path.remove(self)
            process = os.fork()
            if process == 0:
                _load_and_end()
            if os.waitpid(process, 0)[1] != 0:
                raise MemoryError(NO_PLACE)


def _load_and_end() -> None:
    signal.alarm(LOAD_LIMIT_S)
    code = 1
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (1, 2):
            os.dup2(null, stream)
        importlib.import_module(LARGE)
        code = 0
    finally:
        os._exit(code)
