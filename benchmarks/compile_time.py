"""How long `repghost compile` takes: the whole command, in a process of its own, with no kernel of an earlier run.

What was measured goes to the key "compile" of docs/performance.json:

    {"machine": {...}, "runs": [{"width": 0.5, "host": true, "processor_seconds": 38.1, "wall_seconds": 21.0,
     "kernels": 397, "model_bytes": 2735096, "load": [0.3, 1.9]}, ...]}

`processor_seconds` is what the process and its children used on all cores together, which other programs on the machine
change less than the time on the clock; `load` is how many wanted to run before and after.
"""

from __future__ import annotations

import os
import re
import resource
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.pages.summary import write_performance
from benchmarks.shared.command import docs_option, run_command
from benchmarks.shared.documents import Markers, Section
from benchmarks.shared.goals import COMPILE_ALL, COMPILE_CORES, COMPILE_ONE, SIZE
from compile.machine.facts import describe_machine
from compile.stages.own_command import own_command
from compile.storage.kernel_store import FOLDER_VARIABLE
from repghost.errors import RepGhostError
from repghost.goals import Goal, evaluate
from repghost.network.spec import WIDTHS
from repghost.processes import run_limited
from repghost.tables import make_table, markdown_lines

ALL = ",".join(f"{width.multiplier:g}" for width in WIDTHS)
KERNELS = re.compile(r"(\d+) kernels compiled")
RUN_LIMIT_S = 3600.0  # of one command


def run_compile_time(docs: Path, widths: Sequence[float], say: Callable[[str], None]) -> dict[str, Any]:
    """Measure the first width with the builds for this machine, then each width for arm64 alone, and write the page.

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
    write_performance(docs, COMPILE_SECTION, value)
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
    load, used, started = os.getloadavg()[0], _children_seconds(), time.monotonic()
    done = run_limited(
        command, RUN_LIMIT_S, name="repghost compile", advice="Try again when the machine has less to do.",
        environment=environment,
    )  # fmt: skip
    wall, used = time.monotonic() - started, _children_seconds() - used
    said = done.stdout + done.stderr
    if done.returncode:
        raise RepGhostError(f"{' '.join(command)} ended with code {done.returncode}: {said[-2000:]}")
    models = list((folder / "build").glob("*/arm64/int8/model.so"))
    found = KERNELS.search(said)
    return {
        "width": width,
        "host": host,
        "processor_seconds": round(used, 2),
        "wall_seconds": round(wall, 2),
        "kernels": int(found[1]) if found else 0,
        "model_bytes": models[0].stat().st_size,
        "load": [round(load, 2), round(os.getloadavg()[0], 2)],
    }


def _children_seconds() -> float:
    """Return the processor time of every process that this one started and that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def render_compile_time(value: Mapping[str, Any]) -> str:
    """Return the section of docs/performance.md in Markdown.

    Args:
        value: the key "compile" of docs/performance.json.
    """
    machine, runs = value["machine"], value["runs"]
    about = (
        "`repghost compile --target arm64 --precision int8`, 224 px, random weights: the whole command, from weights "
        "to a verified bundle, in a process of its own and without a kernel of an earlier run. Machine: "
        f"{machine['core']}, {machine['cores']} cores, {machine['system']}. Processor time is that of all threads and "
        f"children together; a bar in seconds on {COMPILE_CORES} free cores is compared with half of it. The time on "
        "the clock is that of a machine on which as many programs wanted to run as the last column says; where these "
        "are more than it has cores, caches are shared and the processor time grows, too."
    )
    heads = ("width", "for", "kernels", "model.so, MB", "processor time, s", "on the clock, s", "load")
    table = make_table(heads, [_cells(run) for run in runs], title="The time of compilation", about=about)
    note = (
        "A kernel depends on shapes and not on weights: a network that was trained further, or quantized again, takes "
        "its kernels from the user's cache (`REPGHOST_CACHE`, otherwise `~/.cache/repghost`), to the same bytes."
    )
    return "\n".join([*markdown_lines(table), "", *(f"- {line}" for line in goal_sentences(runs)), "", note])


def _cells(run: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = sorted(run["load"])
    return (
        f"{run['width']:g}x",
        made_for(run["host"]),
        str(run["kernels"]),
        f"{run['model_bytes'] / 1e6:.2f}",
        f"{run['processor_seconds']:.1f}",
        f"{run['wall_seconds']:.0f}",
        f"{low:.0f} to {high:.0f}",
    )


def made_for(host: bool) -> str:
    """Return what a run builds for, in words."""
    return "arm64 and this machine" if host else "arm64"


def goal_sentences(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each goal: reached, or missed by how much, or not measured."""
    sentences = []
    for run in (run for run in runs if run["width"] == 0.5):
        besides = " `--no-host` leaves out the builds that only evaluate and measure here." if run["host"] else ""
        sentences.append(_sentence(f"0.5x for {made_for(run['host'])}", COMPILE_ONE, run) + besides)
    alone = [run for run in runs if not run["host"]]
    if len({run["width"] for run in alone}) == len(WIDTHS):
        total = {"processor_seconds": sum(run["processor_seconds"] for run in alone)}
        sentences.append(_sentence(COMPILE_ALL.what, COMPILE_ALL, total))
    else:
        sentences.append(f"{COMPILE_ALL.what}: not measured; `make compile-time` does.")
    return sentences


def _sentence(what: str, goal: Goal, run: Mapping[str, Any]) -> str:
    outcome = evaluate(goal, run)
    verdict = "reached" if outcome.reached else f"missed by {outcome.missed_by / goal.limit:.0%}"
    return (
        f"{what}: {run['processor_seconds']:.1f} s of processor time, {outcome.measured:.1f} s on {COMPILE_CORES} free "
        f"cores; bar {goal.limit:g} s: {verdict}."
    )


COMPILE_SECTION = Section(
    key="compile",
    markers=Markers(
        "<!-- compile: written by 'make compile-time' -->", "<!-- end of compile -->", "the time of compilation belongs"
    ),
    render=render_compile_time,
    says=lambda value: " ".join(goal_sentences(value["runs"])),
)


@click.command("compile_time")
@click.option("--widths", default=ALL, show_default=True, help="Separated by commas.")
@docs_option
def command(widths: str, docs: Path) -> None:
    """Measure how long it takes to compile networks of random weights for arm64."""
    run_compile_time(docs, [float(width) for width in widths.split(",")], click.echo)


if __name__ == "__main__":
    run_command(command)
