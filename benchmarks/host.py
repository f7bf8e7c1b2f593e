"""This host: our builds against the fastest other runtime, in the host's part of docs/performance.json and .md."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from benchmarks.first_inference import measure_first_inference
from benchmarks.pages.host import render_host
from benchmarks.shared.bundles import fresh_bundles, random_folder
from benchmarks.shared.command import docs_option, output_option, python_option, run_command, say_progress
from benchmarks.shared.documents import Markers, Section, write_section
from benchmarks.shared.goals import HOST_WIDTHS, SIZE
from compile.bench.compare import Entry, Settings, run_bench
from compile.bench.peers import PEERS
from compile.bench.prepare_inputs import prepare
from compile.bench.processes import link_packages
from compile.bundle.host_model import load
from compile.bundle.manifest import Bundle
from compile.machine.facts import cpu_flags
from compile.storage.measurements import Measurements
from compile.subject.request import Request
from compile.subject.subject import RANDOM
from compile.targets.precisions import FP32, INT8
from compile.targets.table import HOST
from repghost.errors import UsageError
from repghost.network.spec import model_name

HOST_SECTION = Section(
    key="host",
    markers=Markers("<!-- host: written by 'make bars' -->", "<!-- end of host -->", "the host's table belongs"),
    render=render_host,
)
THREADS = (1, 2)


def run_host(output: Path, docs: Path, settings: Settings, say: Callable[[str], None]) -> dict[str, Any]:
    """Build each width, measure it on this machine, and write docs/performance.json and .md.

    Args:
        output: the folder of builds.
        docs: where the two files lie.
        settings: how to compare; the numbers of threads are fixed.
        say: is given one line per step.

    Returns:
        the "host" part of the JSON.
    """
    networks = []
    for width in HOST_WIDTHS:
        say(f"width {width:g}")
        bundles = built(output, width, say)
        networks.append({"width": width, **_measure(bundles, replace(settings, threads=THREADS), say)})
    host = {"networks": networks}
    write_section(docs, HOST_SECTION, host)
    return host


def built(output: Path, width: float, say: Callable[[str], None]) -> list[Bundle]:
    """Return the int8 and the fp32 bundle of a width for this machine, of random weights."""
    request = Request(
        target=HOST,
        precisions=(INT8, FP32),
        weights=RANDOM,
        width=str(width),
        size=SIZE,
        output=output,
        fetch=False,
        jobs=os.cpu_count() or 1,
    )
    return fresh_bundles(request, random_folder(model_name(width), SIZE), Measurements(output / ".cache"), say)


def _measure(bundles: Sequence[Bundle], settings: Settings, say: Callable[[str], None]) -> dict[str, Any]:
    flags = cpu_flags()
    entries = [Entry(bundle, variant) for bundle in bundles for variant in usable_variants(bundle)]
    with tempfile.TemporaryDirectory(prefix="repghost-host-") as name:
        folder = Path(name)
        link_packages(folder)
        prepared = prepare(bundles[0], folder, None, flags)
        result = run_bench(entries, tuple(PEERS.values()), prepared, settings, say)
    first = {str(bundle.manifest["precision"]): measure_first_inference(bundle) for bundle in bundles}
    return {**result, "first_answer": first}


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
@output_option
@docs_option
@python_option
def command(output: Path, docs: Path, python: Path | None) -> None:
    """Measure int8 and fp32 on this machine against other runtimes, into docs/performance.md."""
    run_host(output, docs, Settings(python=None if python is None else python.absolute()), say_progress)
    click.echo(f"written: {docs / 'performance.json'} and {docs / 'performance.md'}")


if __name__ == "__main__":
    run_command(command)
