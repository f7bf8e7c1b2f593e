"""How long `repghost compile` takes: the whole command, in a process of its own, with no kernel of an earlier run.

The runs, bars and what was measured go to the key "compile" of docs/performance.json:

    {"machine": {...}, "runs": [{"width": 0.5, "host": true, "processor_seconds": 38.1, "wall_seconds": 21.0,
     "kernels": 397, "model_bytes": 2735096, "load": [0.3, 1.9]}, ...]}

`processor_seconds` is what the process and its children used on all cores together, which other programs on the machine
change less than the time on the clock; `load` is how many wanted to run before and after.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.compile_time_page import made_for, render_compile_time
from benchmarks.performance_files import Section, write_section
from compile.machine.facts import describe_machine
from compile.stages.own_command import own_command
from compile.storage.kernel_store import FOLDER_VARIABLE
from repghost.errors import RepGhostError
from repghost.network.spec import WIDTHS

COMPILE_SECTION = Section(
    key="compile",
    begin="<!-- compile: written by 'make compile-time' -->",
    end="<!-- end of compile -->",
    what="the time of compilation",
    render=render_compile_time,
)
SIZE = 224  # pixels
ALL = ",".join(f"{width.multiplier:g}" for width in WIDTHS)
KERNELS = re.compile(r"(\d+) kernels compiled")


def run_compile_time(docs: Path, widths: Sequence[float], say: Callable[[str], None]) -> dict[str, Any]:
    """Measure 0.5x with the builds for this machine, then each width for arm64 alone, and write the page.

    Args:
        docs: where docs/performance.json and .md lie.
        widths: of the runs for arm64 alone.
        say: is given one line per run.
    """
    runs = []
    wanted = [(widths[0], True), *((width, False) for width in widths)]
    for number, (width, host) in enumerate(wanted, 1):
        with tempfile.TemporaryDirectory(prefix="repghost-compile-time-") as folder:
            runs.append(measure_run(width, host, Path(folder)))
        seconds, what = runs[-1]["processor_seconds"], made_for(host)
        say(f"  {number} of {len(wanted)}: {width:g}x for {what}, {seconds:.1f} s of processor time")
    value = {"machine": describe_machine(), "runs": runs}
    write_section(docs, COMPILE_SECTION, value)
    return value


def measure_run(width: float, host: bool, folder: Path) -> dict[str, Any]:
    """Return what one run of the command took, as JSON values.

    Args:
        width: of a network with random weights.
        host: whether builds for this machine are made besides.
        folder: an empty one, for the kernels and the output.

    Raises:
        RepGhostError: when the command failed.
    """
    command = [own_command("repghost"), "compile", "--target", "arm64", "--width", f"{width:g}", "--size", str(SIZE)]
    command += ["--weights", "random", "--precision", "int8", "--output", str(folder / "build")]
    command += [] if host else ["--no-host"]
    environment = {**os.environ, FOLDER_VARIABLE: str(folder / "store"), "OMP_NUM_THREADS": "1"}
    load, started = os.getloadavg()[0], time.monotonic()
    with (folder / "output.txt").open("w+b") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - started
        output.seek(0)
        said = output.read().decode(errors="replace")
    if process.returncode:
        raise RepGhostError(f"{' '.join(command)} ended with code {process.returncode}: {said[-2000:]}")
    models = list((folder / "build").glob("*/arm64/int8/model.so"))
    found = KERNELS.search(said)
    return {
        "width": width,
        "host": host,
        "processor_seconds": round(used.ru_utime + used.ru_stime, 2),
        "wall_seconds": round(wall, 2),
        "kernels": int(found[1]) if found else 0,
        "model_bytes": models[0].stat().st_size,
        "load": [round(load, 2), round(os.getloadavg()[0], 2)],
    }


@click.command()
@click.option("--widths", default=ALL, show_default=True, help="Separated by commas.")
@click.option("--docs", default="docs", show_default=True, type=click.Path(path_type=Path), help="Folder to write.")
def main(widths: str, docs: Path) -> None:
    """Measure how long it takes to compile networks of random weights for arm64."""
    run_compile_time(docs, [float(width) for width in widths.split(",")], click.echo)


if __name__ == "__main__":
    main()
