"""Runs side by side: their order, their errors, and the threads that PyTorch has afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Barrier

import pytest
import torch

from repghost.graph.threads import in_parallel, single_threaded


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_results_keep_their_order_and_every_run_has_one_thread() -> None:
    assert in_parallel(lambda x: (x, torch.get_num_threads()), range(8)) == [(x, 1) for x in range(8)]
    assert torch.get_num_threads() == 3
    assert in_parallel(str, []) == []


def test_an_error_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        in_parallel(lambda x: 1 // x, [1, 0, 2])
    assert torch.get_num_threads() == 3


def test_as_many_run_at_a_time_as_there_were_threads_before() -> None:
    together = Barrier(3)
    with single_threaded():
        assert torch.get_num_threads() == 1
        with single_threaded():
            assert sorted(in_parallel(lambda _: together.wait(30), range(3))) == [0, 1, 2]
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
