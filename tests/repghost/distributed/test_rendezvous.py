from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest
from torch.distributed import HashStore, Store

from repghost.distributed.rendezvous import meet


def gather(store: Store, delays: Sequence[float], timeout: float = 20) -> list[str]:
    """What each process of a start agrees on, when they come one after the other."""
    names = [""] * len(delays)

    def come(rank: int) -> None:
        time.sleep(delays[rank])
        names[rank] = meet(store, rank, len(delays), timeout)

    threads = [threading.Thread(target=come, args=(rank,)) for rank in range(len(delays))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return names


@pytest.mark.parametrize("delays", [(0, 0, 0), (0.3, 0, 0.1), (0, 0.3, 0.1)])
def test_each_start_in_the_same_store_agrees_on_a_new_name(delays: tuple[float, ...]) -> None:
    store, seen = HashStore(), set[str]()
    for _ in range(3):
        names = gather(store, delays)  # a process that comes before the first one finds the old start's question
        assert len(set(names)) == 1
        assert names[0] not in seen
        seen.update(names)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_nobody_meets_gives_up(rank: int) -> None:
    store = HashStore()
    gather(store, (0, 0))
    started = time.monotonic()
    with pytest.raises(RuntimeError, match="timed out"):
        meet(store, rank, 2, 0.3)
    assert time.monotonic() - started < 10
