"""The runner's threads: how long one takes to begin with its piece of a step, what they cost when idle, what each does.

Into the threads' part of docs/performance.json and .md; it takes a second and needs as many free cores as threads. With
--count it is counted under emulation how evenly threads share an inference, and nothing is timed.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.pages.summary import write_performance
from benchmarks.shared.bundles import fresh_bundles, random_folder
from benchmarks.shared.command import docs_option, output_option, run_command, say_progress
from benchmarks.shared.documents import Markers, Section, read_performance
from benchmarks.shared.goals import POOL_WAKE, SIZE, goals_in_one
from compile.bench.count import DEFAULT_CPU, find_cpu
from compile.bench.count_threads import count_threads
from compile.bench.counter_build import start_counter
from compile.link.toolchain import RUNNER_SOURCES
from compile.link.zig import run_zig
from compile.machine.execute import machine_for, run_runner
from compile.machine.facts import describe_machine
from compile.storage.measurements import Measurements
from compile.storage.typed_json import check_types
from compile.subject.request import Request
from compile.subject.subject import RANDOM
from compile.targets.precisions import INT8
from compile.targets.table import ARM64, host_target
from repghost.errors import IntegrityError, ToolMissingError
from repghost.goals import evaluate
from repghost.network.spec import model_name
from repghost.tables import make_table, markdown_lines

SOURCE = Path(__file__).with_name("pool_wake.c")
THREADS = 2
PROCESSES = 5
TIME_LIMIT = 60  # seconds of one process
WIDTH, SHARED_BY = 1.0, (2, 4)  # the network that is counted, and the numbers of threads


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


def count_shares(output: Path) -> list[dict[str, Any]]:
    """Return how 2 and 4 threads share an inference of 1.0x on an emulated core; its recorded images are replayed, too.

    Args:
        output: the folder of builds.

    Raises:
        ToolMissingError: when there is no QEMU with plugins.
        IntegrityError: when an image does not match.
    """
    counter, store, cpu = start_counter(), Measurements(output / ".cache"), find_cpu(DEFAULT_CPU)
    request = Request(
        ARM64.name, (INT8,), weights=RANDOM, width=f"{WIDTH:g}", size=SIZE, output=output, fetch=False, host=False
    )
    (bundle,) = fresh_bundles(request, random_folder(model_name(WIDTH), SIZE), store, say_progress)
    one, found = count_threads(bundle, counter, cpu, 1), []
    for threads in SHARED_BY:
        shared = count_threads(bundle, counter, cpu, threads)
        machine = machine_for(ARM64, ARM64.variant(shared.variant), counter.emulator)
        said = run_runner(bundle, machine, ["--verify", "--threads", str(threads)])
        replayed = check_types(said, _Replayed, "the answer of the runner")
        if (replayed.ok, replayed.variant) != (True, shared.variant):
            raise IntegrityError(f"{threads} threads do not compute the recorded images: {replayed}.")
        found.append(
            {
                "width": WIDTH, "cpu": cpu.name, "variant": shared.variant, "threads": threads, "alone": shared.alone,
                "longest": shared.longest, "by_thread": list(shared.by_thread), "of_one_thread": one.total,
                "pictures": replayed.pictures,
            }
        )  # fmt: skip
    return found


@dataclass(frozen=True)
class _Replayed:
    """What is read of the runner's answer."""

    ok: bool
    variant: str
    pictures: int


def render_shares(shares: Sequence[Mapping[str, Any]]) -> str:
    """Return a paragraph and a table in Markdown."""
    first = shares[0]
    heads = ("threads", "longest way of one thread's", "executed by each thread", "by one alone")
    rows = [
        (
            str(it["threads"]),
            f"{it['longest'] / it['of_one_thread']:.3f}",
            " / ".join(f"{count / sum(it['by_thread']):.1%}" for count in it["by_thread"]),
            f"{it['alone'] / it['of_one_thread']:.1%}",
        )
        for it in shares
    ]
    text = (
        f"Counted on an emulated {first['cpu']} ({first['variant']}), {first['width']:g}x int8 of {SIZE} px: each step "
        "is cut into a piece for each thread. The longest way takes the largest piece of every step: no machine can be "
        "faster with so many threads where one thread executes its instructions at the same rate. The emulated runner "
        f"gives the recorded integers of {first['pictures']} images with as many threads, too. By `python -m "
        "benchmarks.pool --count`."
    )
    return "\n".join([text, "", *markdown_lines(make_table(heads, rows))])


def render_pool(pool: Mapping[str, Any]) -> str:
    """Return the section in Markdown."""
    outcome = evaluate(POOL_WAKE, pool)
    verdict = "reached" if outcome.reached else f"missed by {outcome.missed_by:.2f}"
    middle, often, most = (pool["wake_ns"][f"p{share}"] / 1e3 for share in (50, 90, 99))
    shares = f"\n\n{render_shares(pool['shares'])}" if pool.get("shares") else ""
    return (
        f"## Threads\n\nFrom asking {pool['threads']} threads for a step of the size of a small layer, 20 microseconds "
        f"after the last one, until the last of them has begun: {middle:.2f} microseconds (median of {pool['steps']:,} "
        f"steps; 90 % within {often:.2f}, 99 % within {most:.2f}), goal {outcome.goal.limit:g}: {verdict}. While "
        f"nothing is asked of them they take {pool['idle_share']:.1%} of a core. Measured on {pool['machine']['core']} "
        f"by `python -m benchmarks.pool`.{shares}"
    )


POOL_SECTION = Section(
    key="pool",
    markers=Markers("<!-- pool: written by benchmarks.pool -->", "<!-- end of pool -->", "the threads' part belongs"),
    render=render_pool,
    says=lambda pool: goals_in_one([evaluate(POOL_WAKE, pool)]),
)


@click.command("pool")
@output_option
@docs_option
@click.option("--count", is_flag=True, help="Count under emulation how threads share an inference; time nothing.")
def command(output: Path, docs: Path, count: bool) -> None:
    """Measure how long the runner's threads take to begin, into docs/performance.md."""
    known = read_performance(docs).get(POOL_SECTION.key, {})
    fresh = {"shares": count_shares(output)} if count else measure_pool()
    write_performance(docs, POOL_SECTION, {**known, **fresh})
    click.echo(f"written: {docs / 'performance.json'} and {docs / 'performance.md'}")


if __name__ == "__main__":
    run_command(command)
