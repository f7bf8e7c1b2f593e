"""The bars of the host: our builds against the fastest other runtime, in one table that a command writes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from benchmarks.command import run_command
from benchmarks.first_answer import measure_first_answer
from benchmarks.host_page import BARS, SIZE, Bar, render_bars
from benchmarks.performance_files import Section, write_section
from compile.bench.case import prepare
from compile.bench.compare import Entry, Settings, run_bench
from compile.bench.peers import PEERS
from compile.bench.processes import link_packages
from compile.bundle.host_model import load
from compile.bundle.manifest import Bundle, check_bundle
from compile.machine.facts import cpu_flags
from compile.pipeline import run
from compile.subject.request import Request
from compile.subject.subject import RANDOM
from compile.targets.precisions import FP32, INT8
from repghost.commands.options.bench_request import tell
from repghost.errors import UsageError
from repghost.network.spec import model_name

HOST_SECTION = Section(
    key="host",
    begin="<!-- host: written by 'make bars' -->",
    end="<!-- end of host -->",
    what="the host's table",
    render=render_bars,
)
THREADS = (1, 2)
WIDE_REGISTERS = "avx512f"  # where cores have it, runtimes are also measured without


def run_bars(output: Path, docs: Path, settings: Settings, say: Callable[[str], None]) -> dict[str, Any]:
    """Build what is missing, measure every bar on this machine, and write docs/performance.json and .md.

    Args:
        output: the folder of builds.
        docs: where the two files lie.
        settings: how to compare; the numbers of threads are fixed.
        say: is given one line per step.

    Returns:
        the "host" part of the JSON.
    """
    networks = []
    for bar in BARS:
        bundles = [built(output, bar.width, precision.name, say) for precision in (INT8, FP32)]
        say(f"width {bar.width:g}")
        networks.append(_measure(bar, bundles, replace(settings, threads=THREADS), say))
    host = {"networks": networks}
    write_section(docs, HOST_SECTION, host)
    return host


def built(output: Path, width: float, precision: str, say: Callable[[str], None]) -> Bundle:
    """Return the host bundle of random weights of a width, building it where there is none."""
    path = output / f"{model_name(width)}-{SIZE}px-{RANDOM}" / "host" / precision
    if not path.is_dir():
        run(
            Request(
                target="host",
                precisions=(INT8, FP32),
                weights=RANDOM,
                width=str(width),
                size=SIZE,
                output=output,
                fetch=False,
                jobs=os.cpu_count() or 1,
            ),
            say,
        )
    return check_bundle(path)


def _measure(bar: Bar, bundles: Sequence[Bundle], settings: Settings, say: Callable[[str], None]) -> dict[str, Any]:
    flags = cpu_flags()
    entries = [Entry(bundle, variant) for bundle in bundles for variant in usable_variants(bundle)]
    with tempfile.TemporaryDirectory(prefix="repghost-bars-") as name:
        folder = Path(name)
        link_packages(folder)
        prepared = prepare(bundles[0], folder, None, flags)
        hold = WIDE_REGISTERS in flags
        result = run_bench(entries, tuple(PEERS.values()), prepared, replace(settings, hold=hold), say)
    first = {str(bundle.manifest["precision"]): measure_first_answer(bundle) for bundle in bundles}
    return {"width": bar.width, **result, "first_answer": first}


def usable_variants(bundle: Bundle) -> list[str]:
    """Return the instruction sets of a bundle that this machine has, the plainest first."""
    model, found = load(bundle.path), []
    for name in bundle.manifest["variants"]:
        try:
            model.select(name)
        except UsageError:
            continue
        found.append(str(name))
    return found


@click.command("host")
@click.option(
    "--output", "-o", default="build", show_default=True, type=click.Path(path_type=Path), help="Of the builds."
)
@click.option("--docs", default="docs", show_default=True, type=click.Path(path_type=Path), help="The folder to write.")
@click.option(
    "--python",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The interpreter that has the runtimes.",
)
def command(output: Path, docs: Path, python: Path | None) -> None:
    """Measure int8 and fp32 on this machine against other runtimes, into docs/performance.md."""
    run_bars(output, docs, Settings(python=None if python is None else python.absolute()), tell)
    click.echo(f"written: {docs / 'performance.json'} and {docs / 'performance.md'}")


if __name__ == "__main__":
    run_command(command)
