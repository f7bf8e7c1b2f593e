"""Options of commands that compute with PyTorch, alone or as one of several processes that torchrun started."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from repghost.commands.options.gather import gather

if TYPE_CHECKING:
    from repghost.distributed.ranks import Ranks


@dataclass(frozen=True)
class ProcessOptions:
    """Where a process computes, and how long it waits for the others."""

    device: str | None
    dist_timeout: float  # seconds

    def join(self) -> AbstractContextManager[Ranks]:
        """Join the processes of the run; leaves them at the end of the block."""
        from repghost.distributed.ranks import join

        return join(self.device, self.dist_timeout)


dist_timeout_option = click.option(
    "--dist-timeout", default=600.0, type=click.FloatRange(1), help="Seconds to wait for other processes."
)
process_options = gather(
    "processes",
    ProcessOptions,
    (click.option("--device", help="cpu or cuda; a GPU by default where there is one."), dist_timeout_option),
)
