"""Options of commands that compute with PyTorch, alone or as one of several processes that torchrun started."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import click

from repghost.commands.options.gather import gather


@dataclass(frozen=True)
class ProcessOptions:
    """Where a process computes, and how long it waits for the others."""

    device: str | None
    dist_timeout: float  # seconds


def is_first() -> bool:
    """Return whether this is the process that writes files and prints: the only one, or the first of torchrun's."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def quiet_but_first() -> Iterator[None]:
    """Let only the first process of torchrun's write to the terminal; errors are shown by whoever catches them."""
    if is_first():
        yield
        return
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def start_processes(count: int | None) -> None:
    """Become torchrun, which starts this command so many times on this machine; return in each of those processes.

    Args:
        count: of `--processes`; None or 1 stays one process.
    """
    if count in (None, 1) or "WORLD_SIZE" in os.environ:
        return
    assert count is not None
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    launcher = ["-m", "repghost.distributed.launcher", "--standalone", f"--nproc-per-node={count}", "-m", "repghost"]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *launcher, *sys.argv[1:]])


processes_option = click.option(
    "--processes", "count", type=click.IntRange(1), help="On this machine, one for each GPU; torchrun starts them."
)
dist_timeout_option = click.option(
    "--dist-timeout", default=600.0, type=click.FloatRange(1), help="Seconds to wait for other processes."
)
process_options = gather(
    "processes",
    ProcessOptions,
    (click.option("--device", help="cpu or cuda; a GPU by default where there is one."), dist_timeout_option),
)
