"""The runner's threads: how long one takes to begin with its piece of a step, and what they cost when idle.

Into the threads' part of docs/performance.json and .md; it takes a second and needs as many free cores as threads.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.pages.summary import write_performance
from benchmarks.shared.command import docs_option, run_command
from benchmarks.shared.documents import Markers, Section
from benchmarks.shared.goals import POOL_WAKE
from compile.link.toolchain import RUNNER_SOURCES
from compile.link.zig import run_zig
from compile.machine.facts import describe_machine
from compile.targets.table import host_target
from repghost.errors import ToolMissingError
from repghost.goals import evaluate

SOURCE = Path(__file__).with_name("pool_wake.c")
THREADS = 2
PROCESSES = 5
TIME_LIMIT = 60  # seconds of one process


def measure_pool() -> dict[str, Any]:
    """Return nanoseconds from asking for a step until its last piece begins, and processor time in half an idle second.

    Raises:
        ToolMissingError: on a machine that is no target.
    """
    target = host_target()
    if target is None:
        raise ToolMissingError("there is no target for this machine.")
    runs = []
    with tempfile.TemporaryDirectory(prefix="repghost-pool-") as name:
        program = Path(name) / "pool_wake"
        pool = str(RUNNER_SOURCES / "inference/pool.c")
        flags = ["-target", target.zig_triple, "-O2", "-D_GNU_SOURCE", f"-I{RUNNER_SOURCES}"]
        run_zig(["cc", *flags, str(SOURCE), pool, "-lpthread", "-o", str(program)])
        for _ in range(PROCESSES):
            command = [str(program), str(THREADS)]
            done = subprocess.run(command, capture_output=True, timeout=TIME_LIMIT, check=True)
            runs.append(json.loads(done.stdout))
    waited = np.concatenate([run["wake_ns"] for run in runs])
    return {
        "machine": describe_machine(),
        "threads": THREADS,
        "steps": len(waited),
        "wake_ns": {f"p{share}": float(np.percentile(waited, share)) for share in (50, 90, 99)},
        "idle_share": float(np.median([run["idle_ms"][1] / run["idle_ms"][0] for run in runs])),
    }


def render_pool(pool: Mapping[str, Any]) -> str:
    """Return the section in Markdown."""
    outcome = evaluate(POOL_WAKE, pool)
    verdict = "reached" if outcome.reached else f"missed by {outcome.missed_by:.2f}"
    middle, often, most = (pool["wake_ns"][f"p{share}"] / 1e3 for share in (50, 90, 99))
    return (
        f"## Threads\n\nFrom asking {pool['threads']} threads for a step of the size of a small layer, 20 microseconds "
        f"after the last one, until the last of them has begun: {middle:.2f} microseconds (median of {pool['steps']:,} "
        f"steps; 90 % within {often:.2f}, 99 % within {most:.2f}), goal {outcome.goal.limit:g}: {verdict}. While "
        f"nothing is asked of them they take {pool['idle_share']:.1%} of a core. Measured on {pool['machine']['core']} "
        "by `python -m benchmarks.pool`."
    )


POOL_SECTION = Section(
    key="pool",
    markers=Markers("<!-- pool: written by benchmarks.pool -->", "<!-- end of pool -->", "the threads' part belongs"),
    render=render_pool,
)


@click.command("pool")
@docs_option
def command(docs: Path) -> None:
    """Measure how long the runner's threads take to begin, into docs/performance.md."""
    write_performance(docs, POOL_SECTION, measure_pool())
    click.echo(f"written: {docs / 'performance.json'} and {docs / 'performance.md'}")


if __name__ == "__main__":
    run_command(command)
