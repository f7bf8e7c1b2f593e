"""Steps that take turns, so that whatever else a machine does slows all of them down alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

Step = Callable[[], object]


def take_turns(steps: Mapping[str, Step], rounds: int, repeats: int = 1) -> dict[str, list[float]]:
    """Return the processor seconds of each step in every round, by name.

    Processor time is that of this process: waiting for other programs is no part of it. Each round has another order.

    Args:
        steps: what is measured.
        rounds: that are kept; one before them warms up.
        repeats: of a step in its turn; their mean is kept.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    random = np.random.default_rng(0)
    for number in range(rounds + 1):
        for name in random.permutation(list(steps)):
            begun = time.process_time()
            for _ in range(repeats):
                steps[name]()
            if number:
                seconds[name].append((time.process_time() - begun) / repeats)
    return seconds
