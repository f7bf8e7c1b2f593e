"""Emulated 32-bit ARM cores: the 0.5x counted beside other runtimes' wheels, in docs/performance.json and .md.

Into the part "armv7": our builds as `compile.bench.count.count_result` says it, how they were verified, and the result
of `compile.bench.count_peers.count_peers`. What was counted for the same bundle is not counted again.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from benchmarks.arm64 import Network, built
from benchmarks.other_runtimes import count_others
from benchmarks.pages.armv7 import render_counts
from benchmarks.pages.summary import write_performance
from benchmarks.shared.command import docs_option, output_option, python_option, run_command, say_progress
from benchmarks.shared.counting import Say, counted, start_counting, verified
from benchmarks.shared.documents import Markers, Section
from benchmarks.shared.goals import SIZE, armv7_goals, goals_in_one
from compile.bench.count import CPUS, DEFAULT_CPUS, cpus_of
from compile.bench.peers import parse_peers
from compile.targets.precisions import FP32, INT8
from compile.targets.table import ARMV7
from repghost.goals import evaluate

SECTION = Section(
    key="armv7",
    markers=Markers("<!-- armv7: written by benchmarks.armv7 -->", "<!-- end of armv7 -->", "the armv7 counts belong"),
    render=render_counts,
    says=lambda armv7: goals_in_one(evaluate(goal, armv7) for goal in armv7_goals(armv7)),
)
NETWORK = Network(0.5, SIZE)
USUAL = CPUS[DEFAULT_CPUS[ARMV7.name]]


def run_counts(output: Path, docs: Path, python: Path | None, say: Say) -> dict[str, Any]:
    """Build and count the network and the runtimes beside it, and write docs/performance.json and .md.

    Args:
        output: the folder of builds.
        docs: where the two files lie.
        python: the interpreter that has the runtimes' converters; None: this one.
        say: is given one line per step.

    Returns:
        the "armv7" part of the JSON.

    Raises:
        ToolMissingError: when there is no QEMU with plugins, or no runtime could be counted.
    """
    counting = start_counting(output, ARMV7)
    bundles = built(NETWORK, (INT8, FP32), output, counting, say, ARMV7)
    verification = {str(bundle.manifest["precision"]): verified(bundle, counting) for bundle in bundles}
    counts = [counted(bundle, cpu, counting) for bundle in bundles for cpu in cpus_of(ARMV7)]
    others = count_others(bundles[0], parse_peers("all"), USUAL, counting.store, python, say)
    part = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "emulator": counting.counter.emulator.version(),
        "width": NETWORK.width,
        "verification": verification,
        "counts": [{key: value for key, value in count.items() if key != "layers"} for count in counts],
        "others": {key: others[key] for key in ("cpu", "results", "absent")},
    }
    write_performance(docs, SECTION, part)
    return part


@click.command("armv7")
@output_option
@docs_option
@python_option
def command(output: Path, docs: Path, python: Path | None) -> None:
    """Count the instructions of emulated 32-bit ARM cores, of ours and of other runtimes, into docs/performance.md."""
    run_counts(output, docs, None if python is None else python.absolute(), say_progress)
    click.echo(f"written: {docs / 'performance.json'} and {docs / 'performance.md'}")


if __name__ == "__main__":
    run_command(command)
