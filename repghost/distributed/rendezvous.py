"""How the processes of one start find each other in a store that may still hold what an earlier start wrote.

torchrun gives the processes that it starts again the store of those before them. Without a name of its own for each
start, a fast process reads the address of a dead one there, and the restart fails.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator

from torch.distributed import Store  # type: ignore[attr-defined]

_PAUSE = 0.02  # seconds between two looks


def meet(store: Store, rank: int, count: int, timeout: float) -> str:
    """Return a name that all processes of this start agree on, and no earlier start used.

    The first process asks a fresh question; each other one answers the latest question with a word of its own, and goes
    on when the first one has repeated that word. Dead processes cannot have answered a fresh question, nor repeated a
    fresh word.

    Args:
        store: that all processes reach.
        rank: of this process.
        count: of all.
        timeout: seconds to wait for the others.

    Raises:
        RuntimeError: when not all of them came in time.
    """
    own, waiting = uuid.uuid4().hex, _until(timeout)
    if rank == 0:
        store.set("meet/question", own)
        answers: dict[int, str] = {}
        while len(answers) < count - 1:
            next(waiting)
            for other in set(range(1, count)) - set(answers):
                question, _, word = _read(store, f"meet/answer/{other}").partition(" ")
                if question == own:
                    answers[other] = word
        store.set(f"meet/{own}", json.dumps(sorted(answers.values())))
        return own
    answered = ""
    while True:
        next(waiting)
        question = _read(store, "meet/question")
        if question != answered:
            store.set(f"meet/answer/{rank}", f"{question} {own}")
            answered = question
        if own in _read(store, f"meet/{question}"):
            return question


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
