"""Modelled cycles beside the milliseconds that ncnn's authors and users published: docs/boards-model.json and .md.

The networks of ncnn's own benchmark are counted in its arm64 wheels under emulation, priced as our own builds are, and
fitted to the published times on half of the networks. The fit, compile/cycles/fitted.json, is what estimates of boards
are made from; the other half says how good they are.

    {"format": "repghost-boards-model", "version": 1, "date": ..., "emulator": ..., "llvm": "19", "published": SOURCE,
     "networks": {"resnet18": {"1.0.20261020": {"cortex-a76": {a result of `compile.bench.count.Counted`}}}},
     "runs": [{"board": "raspberry-pi-5", "text": ..., "line": 1965, "min_ms": {"resnet18": 29.54, ...}}]}
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.pages.boards import PLAIN, fitted_boards, render_boards
from benchmarks.shared.command import docs_option, output_option, run_command, say_progress
from benchmarks.shared.counting import Counting, Say, start_counting
from benchmarks.shared.documents import write_json
from compile.bench.count import COUNTS, CPUS, WHOLE, CountedCpu, count_stretches
from compile.bench.counter_build import PLUGIN
from compile.bench.emulated_python import EmulatedPython, fetch_emulated_python, fetch_wheels
from compile.cycles.boards import FITTED
from compile.cycles.llvm import RELEASE
from compile.cycles.stretch import read_stretches
from compile.machine.emulator import TOOLS
from compile.storage import formats
from compile.storage.files import sha256
from compile.storage.strict_json import parse_strict
from repghost.errors import RepGhostError, UsageError
from repghost.files import temporary_folder, write_text_atomically
from repghost.processes import run_limited

FORMAT, VERSION = formats.BOARDS_MODEL
FILE, PAGE = "boards-model.json", "boards-model.md"
WORKER = Path(__file__).with_name("count_ncnn.py")
LIMIT_S = 1800.0  # of one network
# Whose code is counted: one emulated core for each set of instructions.
CODES = (PLAIN, "cortex-a76", "max")
# Many published runs with dot-product are of 2022 and 2023 (pull requests 3808, 4275, 4977 of Tencent/ncnn), when its
# int8 convolutions were other code. Of the wheels of then this is the oldest that an interpreter of today takes.
OLD = "1.0.20230223"
# The published runs, by the line of ncnn's README they begin at, and the board of `compile.cycles.boards.BOARDS`.
RUNS = {
    1794: "raspberry-pi-3", 1878: "raspberry-pi-4", 1965: "raspberry-pi-5", 2321: "orion-o6", 2586: "khadas-vim3",
    2717: "rk3588-big", 2797: "rk3588-little", 2924: "rk3588-big", 3046: "rk3568", 3126: "rk3568", 3217: "rk3566",
    3303: "rk3399-big", 3383: "rk3399-little", 3724: "rk3566", 4108: "rk3228h", 4283: "jetson-orin-nano",
    7038: "macbook-m1", 7933: "rk3588-big", 9010: "dimensity-9300", 9458: "ax630c",
}  # fmt: skip


@dataclass(frozen=True)
class Wheel:
    """A version of ncnn: where it lies, and what is counted of it."""

    version: str
    packages: Path
    codes: tuple[str, ...]


def run_model(published: Path, networks: Path, output: Path, docs: Path, say: Say) -> None:
    """Count every network, fit every board, and write the JSON, the page and the fit.

    Args:
        published: JSON with ncnn's runs, see docs/boards-model.json.
        networks: the folder of .param files, ncnn's own benchmark/.
        output: the folder of builds; keeps what was counted.
        docs: the folder to write.
        say: is given one line per network.
    """
    counting, python = start_counting(output), fetch_emulated_python()
    runs = published_runs(parse_strict(published.read_bytes(), str(published)))
    names = sorted({name for run in runs for name in run["min_ms"] if (networks / f"{name}.param").is_file()})
    if not names:
        raise UsageError(f"{networks} has none of the networks that were published; give ncnn's folder benchmark/.")
    wheels = fetched_wheels(python)
    counts = {
        name: {
            wheel.version: {
                code: counted(networks / f"{name}.param", wheel, CPUS[code], python, counting, say)
                for code in wheel.codes
            }
            for wheel in wheels
        }
        for name in names
    }
    value = {
        "format": FORMAT,
        "version": VERSION,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "emulator": counting.counter.emulator.version(),
        "llvm": RELEASE,
        "published": "Tencent/ncnn, benchmark/README.md at a4d2ea1d4, least milliseconds of one thread",
        "networks": counts,
        "runs": [
            {**run, "min_ms": {name: run["min_ms"][name] for name in names if name in run["min_ms"]}} for run in runs
        ],
    }
    write_json(docs / FILE, value)
    write_results(value, docs)


def write_results(value: Mapping[str, Any], docs: Path) -> None:
    """Write the page and the fit from the JSON alone."""
    write_text_atomically(docs / PAGE, render_boards(value))
    write_json(FITTED, {"source": f"docs/{FILE}", "boards": fitted_boards(value)})


def published_runs(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the runs of boards in the table, as docs/boards-model.json has them."""
    return [
        {"board": RUNS[run["line"]], "text": run["board"], "line": run["line"], "min_ms": dict(run["min_ms"])}
        for run in document["runs"]
        if run["line"] in RUNS
    ]


def fetched_wheels(python: EmulatedPython) -> Sequence[Wheel]:
    """Return the newest wheel that is there, for every core, and the old one for those that published with it."""
    newest = next(python.packages.glob("ncnn-*.dist-info")).name.removeprefix("ncnn-").removesuffix(".dist-info")
    old = (TOOLS / f"ncnn-{OLD}").absolute()
    fetch_wheels(python, (f"ncnn=={OLD}",), old)
    return Wheel(newest, python.packages, CODES), Wheel(OLD, old, ("cortex-a76",))


def counted(
    network: Path, wheel: Wheel, cpu: CountedCpu, python: EmulatedPython, counting: Counting, say: Say
) -> dict[str, Any]:
    """Return what one inference of a network executes and how many cycles that is modelled to take."""
    key = {
        "network": sha256(network.read_bytes()),
        "ncnn": wheel.version,
        "cpu": cpu.emulated,
        "plugin": sha256(counting.counter.files[PLUGIN]),
        "emulator": counting.counter.emulator.version(),
        "worker": sha256(WORKER.read_bytes()),
    }

    def count() -> dict[str, bytes]:
        say(f"{network.stem}, ncnn {wheel.version}, {cpu.name}")
        return {COUNTS: _count(network, wheel, cpu, python, counting)}

    lines = counting.store.files("ncnn", key, count)[COUNTS].decode("ascii").splitlines()
    code = None if cpu.name == PLAIN else cpu.name  # every core runs what has no newer instructions
    (result,) = count_stretches([read_stretches(lines)[WHOLE]], counting.counter, code)
    return {key: value for key, value in result.to_dict().items() if key != "cycles_spent_on"}


def _count(network: Path, wheel: Wheel, cpu: CountedCpu, python: EmulatedPython, counting: Counting) -> bytes:
    """Return the counter's lines of a network, run once before it is counted."""
    with temporary_folder(counting.store.folder / "ncnn") as folder:
        (folder / PLUGIN).write_bytes(counting.counter.files[PLUGIN])
        options = ["-plugin", f"{folder.absolute() / PLUGIN},out={folder.absolute() / COUNTS}"]
        command = python.command(counting.counter.emulator, cpu.emulated, wheel.packages, options)
        advice = "Try again when the machine has less to do."
        done = run_limited([*command, str(WORKER), str(network.absolute())], LIMIT_S, name="ncnn", advice=advice)
        if done.returncode or not (folder / COUNTS).is_file():
            words = done.stderr.strip().splitlines() or ["it said nothing"]
            raise RepGhostError(f"ncnn {wheel.version} on {cpu.name} ended with code {done.returncode}: {words[-1]}")
        return (folder / COUNTS).read_bytes()


@click.command("boards_model")
@click.option("--published", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="JSON of ncnn's runs.")
@click.option("--networks", type=click.Path(path_type=Path, exists=True, file_okay=False), help="ncnn's benchmark/.")
@output_option
@docs_option
def command(published: Path | None, networks: Path | None, output: Path, docs: Path) -> None:
    """Compare modelled cycles with published milliseconds; without options only the page and the fit are written."""
    if published is None or networks is None:
        write_results(parse_strict((docs / FILE).read_bytes(), FILE), docs)
        return
    run_model(published, networks, output, docs, say_progress)


if __name__ == "__main__":
    run_command(command)
