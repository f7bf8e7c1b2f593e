"""The processes of one start find each other, whatever an earlier start left in the store."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from torch.distributed import HashStore, Store

from repghost.distributed.rendezvous import agree_on_name
from tests.support import ROOT


def gather(store: Store, delays: Sequence[float], timeout: float = 20) -> list[str]:
    """What each process of a start agrees on, when they come one after the other."""
    names = [""] * len(delays)

    def come(rank: int) -> None:
        time.sleep(delays[rank])
        names[rank] = agree_on_name(store, rank, len(delays), timeout)

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
        names = gather(store, delays)  # a process that comes before the first one finds the old start's proposal
        assert len(set(names)) == 1
        assert names[0] not in seen
        seen.update(names)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_nobody_meets_gives_up(rank: int) -> None:
    store = HashStore()
    gather(store, (0, 0))
    started = time.monotonic()
    with pytest.raises(RuntimeError, match="timed out"):
        agree_on_name(store, rank, 2, 0.3)
    assert time.monotonic() - started < 10


@pytest.mark.slow
def test_two_agents_start_again_though_only_one_counts_the_restart(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--max-restarts=2"]
    command += ["--rdzv-backend=c10d", f"--rdzv-endpoint={endpoint}", "--rdzv-id=two-agents"]
    command += ["-m", "tests.support.lost_process", str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    agents = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    try:
        said = [agent.communicate(timeout=200)[1] for agent in agents]
    finally:
        for agent in agents:
            agent.kill()
            agent.wait()
    assert [agent.returncode for agent in agents] == [0, 0], said
    assert sorted(json.loads((tmp_path / "restarts.json").read_text())) == [0, 1]
