"""Milliseconds that are missing in docs/baselines.json, measured later on a quiet machine, of bundles that are there.

Nothing is compiled: `make baselines` built the bundles, and only those whose digest the file names are measured.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from benchmarks.baselines import LATENCY_COMMAND, read_baselines, run_folder, write_baselines
from compile.bundle.manifest import check_bundle
from compile.machine.facts import describe_machine
from compile.machine.latency import measure_latency
from compile.report.run_report import read_report
from compile.targets.table import ARM64, HOST
from repghost.errors import RepGhostError


def fill_latencies(output: Path, docs: Path, again: bool, say: Callable[[str], None]) -> int:
    """Measure the builds of docs/baselines.json that have no latency yet, and write the file after each of them.

    Args:
        output: the folder of builds.
        docs: where the file lies.
        again: whether to measure those that have one, too.
        say: is given one line per build.

    Returns:
        How many builds still have none.

    Raises:
        UsageError: when there is no such file.
    """
    value = read_baselines(docs)
    value["machine"] = describe_machine()
    missing = 0
    for network in value["networks"]:
        for build in network["builds"]:
            if again or not build["host"].get("measured"):
                build["host"] = _latency(network["name"], build, output)
                write_baselines(docs, value)
            missing += not build["host"]["measured"]
            say(f"{network['name']} {build['precision']}: {_said(build['host'])}")
    return missing


def _latency(name: str, build: dict[str, Any], output: Path) -> dict[str, Any]:
    """Return what "host" says of a build: its latency, or why it has none."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > cores:  # no compiler of ours is in it, other than in `benchmarks.baselines.quiet`
        return {"measured": False, "reason": f"the load was {load:.1f} on {cores} cores", "command": LATENCY_COMMAND}
    try:
        return {"measured": True, **measure_latency(_counted_bundle(name, build, output)).to_dict()}
    except RepGhostError as error:
        return {"measured": False, "reason": str(error), "command": "make baselines"}


def _counted_bundle(name: str, build: dict[str, Any], output: Path) -> Path:
    """Return the folder of the host bundle that was built together with the one that was counted.

    Raises:
        RepGhostError: when it is not there, or another one is.
    """
    folder = output / run_folder(name)
    for entry in read_report(folder)["builds"]:
        if entry["target"] != ARM64.name and entry["precision"] == build["precision"]:
            path = folder / str(entry["folder"])
            if check_bundle(path).digest == build.get("bundles", {}).get(HOST):
                return path
            raise RepGhostError(f"{path} is not the bundle that was built with the counted one.")
    raise RepGhostError(f"{folder} holds no {build['precision']} bundle for this machine.")


def _said(host: dict[str, Any]) -> str:
    return f"{host['median_ms']:.3f} ms, {host['variant']}" if host["measured"] else f"not measured: {host['reason']}"


@click.command()
@click.option("--output", default="build", show_default=True, type=click.Path(path_type=Path), help="Of the builds.")
@click.option("--docs", default="docs", show_default=True, type=click.Path(path_type=Path), help="Folder of the file.")
@click.option("--again", is_flag=True, help="Measure the builds that have a latency, too.")
def main(output: Path, docs: Path, again: bool) -> None:
    """Measure the milliseconds that are missing in docs/baselines.json; compiles nothing."""
    missing = fill_latencies(output, docs, again, click.echo)
    if missing:
        click.echo(f"{missing} builds have no latency.")


if __name__ == "__main__":
    main()
