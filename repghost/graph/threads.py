"""Threads for many small operators: whole runs side by side, each with one of PyTorch's threads.

PyTorch divides one operator among its threads. Where operators are small they wait for each other more than they
compute, and where the machine does something else as well they take ten times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch

T = TypeVar("T")
V = TypeVar("V")

_workers: ContextVar[int] = ContextVar("workers")


@contextmanager
def single_threaded() -> Iterator[None]:
    """Give every operator one thread; `in_parallel` uses as many as operators would have had."""
    threads = torch.get_num_threads()
    token = _workers.set(_workers.get(threads))
    torch.set_num_threads(1)  # also of threads that begin later
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        _workers.reset(token)


def in_parallel(function: Callable[[V], T], items: Sequence[V]) -> list[T]:
    """Return what a function makes of each item, with as many items at a time as PyTorch has threads."""
    with single_threaded(), ThreadPoolExecutor(_workers.get()) as pool:
        return list(pool.map(function, items))
