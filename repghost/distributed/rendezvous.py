"""A name that the processes of one start agree on, for keys in a store that may still hold those of an earlier start.

torchrun gives the processes that it starts again the store of those before them. Without a name of its own for each
start, a fast process reads the address of a dead one there, and the restart fails. `TORCHELASTIC_RESTART_COUNT` cannot
be that name: of several nodes only the one that lost a process counts the restart.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator

from torch.distributed import Store  # type: ignore[attr-defined]

_PAUSE = 0.02  # seconds between two looks


def agree_on_name(store: Store, rank: int, count: int, timeout: float) -> str:
    """Return a name that all processes of this start agree on, and no earlier start used.

    The first process proposes a fresh name. Each other one replies to the latest proposal with a fresh word of its own,
    and takes the name once the first process has confirmed that word. Dead processes cannot have replied to a fresh
    proposal, nor confirmed a fresh word.

    Args:
        store: that all processes reach.
        rank: of this process.
        count: of all processes.
        timeout: seconds to wait for the others.

    Raises:
        RuntimeError: when not all of them came in time.
    """
    own, waiting = uuid.uuid4().hex, _until(timeout)
    if rank == 0:
        store.set("start/proposal", own)
        words: dict[int, str] = {}
        while len(words) < count - 1:
            next(waiting)
            for other in set(range(1, count)) - set(words):
                proposal, _, word = _read(store, f"start/reply/{other}").partition(" ")
                if proposal == own:
                    words[other] = word
        store.set(f"start/{own}", json.dumps(sorted(words.values())))
        return own
    replied = ""
    while True:
        next(waiting)
        proposal = _read(store, "start/proposal")
        if proposal != replied:
            store.set(f"start/reply/{rank}", f"{proposal} {own}")
            replied = proposal
        if own in _read(store, f"start/{proposal}"):
            return proposal


def _read(store: Store, key: str) -> str:
    """Return a value, or an empty text where there is none; `get` alone would wait for it."""
    return store.get(key).decode() if store.check([key]) else ""


def _until(timeout: float) -> Iterator[None]:
    """Pause at each step; at the end of the time, fail."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        time.sleep(_PAUSE)
        yield
    raise RuntimeError(f"timed out: not all processes came to the store within {timeout:g} s")
