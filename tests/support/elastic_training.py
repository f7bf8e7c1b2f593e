"""Training that torchrun's agent starts again: its processes are forked from this one, which has imported theirs."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from torch.distributed.launcher.api import LaunchConfig, elastic_launch

COUNT, RESTARTS = 2, 1


def train(words: Sequence[str]) -> None:
    """Be one of the processes."""
    from repghost.cli import main as repghost

    sys.argv = ["repghost", *words]
    try:
        repghost()
    except SystemExit as ended:
        if ended.code:
            raise


def main(*words: str) -> None:
    """Run a command of `repghost` in two processes, as `torchrun --standalone --max-restarts=1` does."""
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=COUNT, max_restarts=RESTARTS, start_method="fork",
        rdzv_backend="c10d", rdzv_endpoint="localhost:0", run_id="training", monitor_interval=0.1,
    )  # fmt: skip
    elastic_launch(config, train)(list(words))
