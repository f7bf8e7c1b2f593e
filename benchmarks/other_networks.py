"""Other mobile networks through the same compiler: what RepGhostNet is compared with, in docs/baselines.json.

`make baselines` builds each network of random weights, measures it on this machine and counts it under emulation. What
the file said of other networks stays, so they can be done one by one. Milliseconds are taken on a quiet machine only;
`make baseline-latency` (--latency-only) fills in those that are missing, from the bundles that are there:

    {"format": "repghost-baselines", "version": 1, "date": "2026-11-24", "size": 224, "machine": {...},
     "emulator": "...", "networks": [{
        "name": "mobilenetv3_large_100",   as timm calls it
        "family": "MobileNetV3",
        "top1": 75.2,                      percent on ImageNet as RepGhost's authors plot it; null where they do not
        "builds": [{
            "precision": "int8",               or "fp32": the same layers and weights, nothing rounded in between
            "model_bytes": {"arm64": 3970000, "host": 7410000},
            "workspace_bytes": 1500000,    of the arm64 build
            "bundles": {"arm64": "5c0f...", "host": "91ab..."},    their digests
            "host": {"measured": true, "median_ms": 1.2, "p90_ms": 1.3, "min_ms": 1.1, "threads": 1, "variant": "vnni",
                     "runs": 200, ...},      or {"measured": false, "reason": "...", "command": "..."}
            "arm64": [{"cpu": "cortex-a76", "variant": "dot", "instructions": 30000000,
                       "modelled_cycles": {"a76": 12000000, ...}}, ...],
            "verified": true               every instruction set agreed with the numpy reference: to the bit, or fp32
        }]}]}

Accuracy is published, instructions are emulated, cycles modelled, and the milliseconds those of the machine named.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.shared.bundles import fresh_bundles, random_folder
from benchmarks.shared.command import docs_option, output_option, run_command
from benchmarks.shared.counting import Counting, Say, counted, start_counting
from benchmarks.shared.documents import write_json
from compile.bench.count import find_cpu
from compile.bundle.manifest import Bundle, check_bundle
from compile.machine.facts import describe_machine
from compile.machine.latency import measure_latency
from compile.report.run_report import read_report
from compile.storage import formats
from compile.storage.strict_json import parse_strict
from compile.subject.request import Request
from compile.subject.subject import RANDOM
from compile.targets.precisions import FP32, INT8
from compile.targets.table import ARM64, HOST
from repghost.errors import RepGhostError, UsageError

FORMAT, VERSION = formats.BASELINES
FILE = "baselines.json"
SIZE = 224  # pixels
BESIDES = 1  # programs that may run besides a measurement: the compiler that just ended still counts in the load
LATENCY_COMMAND = "make baseline-latency"
CPUS = {  # plain NEON, the dot-product instructions, and i8mm, of which float32 has no use
    INT8.name: ("cortex-a72", "cortex-a76", "max"),
    FP32.name: ("cortex-a72", "cortex-a76"),
}


@dataclass(frozen=True)
class OtherNetwork:
    """A network and its published accuracy."""

    name: str  # timm's
    family: str
    top1: float | None = None  # percent, from the figure in RepGhost's repository


NETWORKS = (
    OtherNetwork("ghostnet_050", "GhostNet", 66.4),
    OtherNetwork("ghostnet_100", "GhostNet", 74.0),
    OtherNetwork("mobilenetv3_small_100", "MobileNetV3", 67.4),
    OtherNetwork("mobilenetv3_large_100", "MobileNetV3", 75.2),
    OtherNetwork("mobilenetv2_100", "MobileNetV2"),
    OtherNetwork("efficientnet_lite0", "EfficientNet-Lite"),
    OtherNetwork("resnet18", "ResNet"),
)


def run_networks(output: Path, docs: Path, say: Say, networks: Sequence[OtherNetwork] = NETWORKS) -> None:
    """Build, measure and count each network, and write docs/baselines.json after each of them.

    Args:
        output: the folder of builds.
        docs: where the file goes.
        say: is given one line per stage.
        networks: what is built.

    Raises:
        ToolMissingError: when there is no QEMU with plugins.
    """
    counting = start_counting(output)
    for network in networks:
        entry = {**asdict(network), "builds": measure_network(network, output, counting, say)}
        known = read_document(docs)["networks"] if (docs / FILE).is_file() else []
        value = {
            "format": FORMAT,
            "version": VERSION,
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "size": SIZE,
            "machine": describe_machine(),
            "emulator": counting.counter.emulator.version(),
            "networks": with_entry(known, entry),
        }
        write_json(docs / FILE, value)


def read_document(docs: Path) -> dict[str, Any]:
    """Return what an earlier run wrote.

    Raises:
        UsageError: when there is no such file, or it is something else.
    """
    path = docs / FILE
    if not path.is_file():
        raise UsageError(f"there is no {path}; 'make baselines' writes it.")
    value = dict(parse_strict(path.read_bytes(), str(path)))
    if (value.get("format"), value.get("version")) != (FORMAT, VERSION):
        raise UsageError(f"{path} is {value.get('format')!r} version {value.get('version')!r}, not {FORMAT} {VERSION}.")
    return value


def with_entry(networks: Sequence[dict[str, Any]], entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the networks with one added, or put in place of its earlier entry, in the order of NETWORKS."""
    order = {network.name: place for place, network in enumerate(NETWORKS)}
    kept = [network for network in networks if network["name"] != entry["name"]]
    return sorted([*kept, entry], key=lambda network: order.get(network["name"], len(order)))


def measure_network(network: OtherNetwork, output: Path, counting: Counting, say: Say) -> list[dict[str, Any]]:
    """Return the entries of "builds": int8, then float32 with the same weights (`compile.ir.float_from_integer`)."""
    folder = random_folder(network.name, SIZE)
    request = Request(
        target=ARM64.name,
        precisions=(INT8, FP32),
        weights=RANDOM,
        model=network.name,
        size=SIZE,
        output=output,
        fetch=False,
        jobs=os.cpu_count() or 1,
    )
    say(network.name)
    bundles = fresh_bundles(request, folder, counting.store, say)
    report = read_report(output / folder)["builds"]
    return [
        _build(precision.name, bundle, report, counting, say)
        for precision, bundle in zip(request.precisions, bundles, strict=True)
    ]


def _build(
    precision: str, bundle: Bundle, report: list[dict[str, Any]], counting: Counting, say: Say
) -> dict[str, Any]:
    """Return one entry of "builds"."""
    builds = {build["target"]: build for build in report if build["precision"] == precision}
    arm64, host = builds[ARM64.name], next(build for name, build in builds.items() if name != ARM64.name)
    return {
        "precision": precision,
        "model_bytes": {ARM64.name: arm64["sizes"]["files"]["model.so"], HOST: host["sizes"]["files"]["model.so"]},
        "workspace_bytes": arm64["sizes"]["workspace"],
        "bundles": {ARM64.name: arm64["bundle_digest"], HOST: host["bundle_digest"]},
        "host": quiet(host["latency"]),
        "arm64": [_count(bundle, name, counting, say) for name in CPUS[precision]],
        "verified": bool(arm64["verification"]["verified"] and host["verification"]["verified"]),
    }


def quiet(latency: dict[str, Any]) -> dict[str, Any]:
    """Return a latency as it is, or that it was not measured where more programs ran than there are cores."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load <= cores + BESIDES:
        return latency
    return _not_measured(f"{load:.0f} programs ran on {cores} cores", LATENCY_COMMAND)


def _not_measured(reason: str, command: str) -> dict[str, Any]:
    return {"measured": False, "reason": reason, "command": command}


def _count(bundle: Bundle, name: str, counting: Counting, say: Say) -> dict[str, Any]:
    result = counted(bundle, find_cpu(name), counting)
    whole = result["whole"]
    say(f"  {name}: {whole['total'] / 1e6:.2f} M instructions")
    return {
        "cpu": name,
        "variant": result["variant"],
        "instructions": whole["total"],
        "modelled_cycles": whole["modelled_cycles"],
        "lines_missed": whole["lines_missed"],
    }


def fill_latencies(output: Path, docs: Path, again: bool, say: Say) -> int:
    """Measure the builds of docs/baselines.json that have no latency yet, and write the file after each of them.

    Nothing is compiled: only bundles that are there and whose digest the file names are measured.

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
    value = read_document(docs)
    value["machine"] = describe_machine()
    missing = 0
    for network in value["networks"]:
        for build in network["builds"]:
            if again or not build["host"].get("measured"):
                build["host"] = _latency(network["name"], build, output)
                write_json(docs / FILE, value)
            host = build["host"]
            missing += not host["measured"]
            said = f"{host['median_ms']:.3f} ms, {host['variant']}" if host["measured"] else host["reason"]
            say(f"{network['name']} {build['precision']}: {'' if host['measured'] else 'not measured: '}{said}")
    return missing


def _latency(name: str, build: dict[str, Any], output: Path) -> dict[str, Any]:
    """Return what "host" says of a build: its latency, or why it has none."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > cores:  # no compiler of ours ran just now, as in `quiet`
        return _not_measured(f"the load was {load:.1f} on {cores} cores", LATENCY_COMMAND)
    try:
        return {"measured": True, **measure_latency(_counted_bundle(name, build, output)).to_dict()}
    except RepGhostError as error:
        return _not_measured(str(error), "make baselines")


def _counted_bundle(name: str, build: dict[str, Any], output: Path) -> Path:
    """Return the folder of the host bundle that was built together with the one that was counted.

    Raises:
        RepGhostError: when it is not there, or another one is.
    """
    folder = output / random_folder(name, SIZE)
    for entry in read_report(folder)["builds"]:
        if entry["target"] != ARM64.name and entry["precision"] == build["precision"]:
            path = folder / str(entry["folder"])
            if check_bundle(path).digest == build.get("bundles", {}).get(HOST):
                return path
            raise RepGhostError(f"{path} is not the bundle that was built with the counted one.")
    raise RepGhostError(f"{folder} holds no {build['precision']} bundle for this machine.")


@click.command("other_networks")
@output_option
@docs_option
@click.option("--networks", default=",".join(it.name for it in NETWORKS), show_default=True, help="timm's names.")
@click.option("--latency-only", is_flag=True, help="Only measure the milliseconds that are missing; compile nothing.")
@click.option("--again", is_flag=True, help="With --latency-only: measure those that are there, too.")
def command(output: Path, docs: Path, networks: str, latency_only: bool, again: bool) -> None:
    """Build, measure and count other mobile networks, into docs/baselines.json."""
    if latency_only:
        missing = fill_latencies(output, docs, again, click.echo)
        if missing:
            click.echo(f"{missing} builds have no latency.")
        return
    known = {network.name: network for network in NETWORKS}
    chosen = [known.get(name, OtherNetwork(name, name.split("_")[0])) for name in networks.split(",")]
    run_networks(output, docs, click.echo, chosen)


if __name__ == "__main__":
    run_command(command)
