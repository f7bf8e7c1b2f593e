"""Other runtimes' executed arm64 instructions: OUTPUT/rivals/<width>-<core>.json, which `repghost report` reads.

The same as `repghost bench BUNDLE --count --against RUNTIMES`, for several widths and cores; a width and core whose
bundle did not change is not counted again without --again. It needs qemu-user with plugins, Debian's packages of an
arm64 Python and the runtimes' wheels, which are fetched.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from benchmarks.shared.bundles import fresh_bundles, random_folder
from benchmarks.shared.command import output_option, python_option, run_command, say_progress
from benchmarks.shared.counting import Say
from benchmarks.shared.documents import write_json
from benchmarks.shared.goals import SIZE
from compile.bench.count import CountedCpu, find_cpu
from compile.bench.count_peers import count_peers
from compile.bench.counter_build import COUNTER_SOURCES, find_counting_emulator
from compile.bench.peers import Peer, parse_peers
from compile.bundle.manifest import Bundle
from compile.storage.code_key import code_digest, files_digest
from compile.storage.measurements import Measurements
from compile.subject.request import Request
from compile.subject.subject import RANDOM
from compile.targets.precisions import INT8
from compile.targets.table import ARM64, EMULATED, TARGETS
from repghost.network.spec import model_name, parse_width

CORES = ("cortex-a72", "cortex-a76", "max")


def count_others(
    bundle: Bundle, peers: tuple[Peer, ...], cpu: CountedCpu, store: Measurements, python: Path | None, say: Say
) -> dict[str, Any]:
    """Return the result of `count_peers`, counted once for the same bundle, core and runtimes."""
    key = {
        "bundle": bundle.digest,
        "cpu": cpu.emulated,
        "runtimes": [peer.name for peer in peers],
        "python": None if python is None else str(python),
        "emulator": find_counting_emulator(emulation=TARGETS[cpu.target].emulation or EMULATED).version(),
        "counter": files_digest(COUNTER_SOURCES.glob("*.[ch]")),
        "code": code_digest("compile.bench.count_peers", *(peer.module for peer in peers)),
    }
    return dict(store.record("others", key, lambda: count_peers(bundle.path, peers, cpu, None, python, say)))


def built(width: float, output: Path, store: Measurements, say: Say) -> Bundle:
    """Return the int8 bundle for arm64 of a width, of random weights."""
    request = Request(
        ARM64.name, (INT8,), weights=RANDOM, width=f"{width:g}", size=SIZE, output=output, jobs=os.cpu_count() or 1
    )
    (bundle,) = fresh_bundles(request, random_folder(model_name(width), SIZE), store, say)
    return bundle


@click.command("other_runtimes")
@output_option
@python_option
@click.option("--runtimes", default="all", show_default=True, help="Separated by commas.")
@click.option("--widths", default="0.5,1.0", show_default=True, help="Separated by commas.")
@click.option("--again", is_flag=True, help="Count again, e.g. what could not be counted in an earlier run.")
def command(output: Path, python: Path | None, runtimes: str, widths: str, again: bool) -> None:
    """Count what other runtimes execute on emulated arm64 cores."""
    peers, store = parse_peers(runtimes), Measurements(output / ".cache", again)
    interpreter = None if python is None else python.absolute()
    for name in widths.split(","):
        bundle = built(parse_width(name), output, store, say_progress)
        for core in CORES:
            path = output / "rivals" / f"{name}-{core}.json"
            write_json(path, count_others(bundle, peers, find_cpu(core), store, interpreter, say_progress))
            click.echo(f"written: {path}")


if __name__ == "__main__":
    run_command(command)
