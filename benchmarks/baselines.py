"""Other mobile networks through the same compiler: what RepGhostNet is compared with, in one file.

`make baselines` builds each network of random weights, measures it on this machine and counts it under emulation. What
the file said of other networks stays, so they can be done one by one. Milliseconds are taken on a quiet machine only;
`make baseline-latency` fills in those that are missing, from the bundles that are there
(`benchmarks.baseline_latency`). The result is docs/baselines.json:

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

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.arm64 import Counting, counted
from benchmarks.fresh_bundles import fresh_bundles
from compile.bench.count import find_cpu
from compile.bench.counter_build import build_counter, find_counting_emulator
from compile.bundle.manifest import Bundle
from compile.machine.facts import describe_machine
from compile.report.run_report import read_report
from compile.storage import formats
from compile.storage.stage_cache import StageCache
from compile.storage.strict_json import parse_strict
from compile.subject.request import Request
from compile.subject.subject import RANDOM
from compile.targets.precisions import FP32, INT8
from compile.targets.table import ARM64, HOST
from repghost.errors import UsageError
from repghost.files import write_text_atomically

FORMAT, VERSION = formats.BASELINES
FILE = "baselines.json"
SIZE = 224  # pixels
BESIDES = 1  # programs that may run besides a measurement: this one still counts in the load
LATENCY_COMMAND = "make baseline-latency"
CPUS = {  # plain NEON, the dot-product instructions, and i8mm, of which float32 has no use
    INT8.name: ("cortex-a72", "cortex-a76", "max"),
    FP32.name: ("cortex-a72", "cortex-a76"),
}


@dataclass(frozen=True)
class Baseline:
    """A network and its published accuracy."""

    name: str  # timm's
    family: str
    top1: float | None = None  # percent, from the figure in RepGhost's repository


NETWORKS = (
    Baseline("ghostnet_050", "GhostNet", 66.4),
    Baseline("ghostnet_100", "GhostNet", 74.0),
    Baseline("mobilenetv3_small_100", "MobileNetV3", 67.4),
    Baseline("mobilenetv3_large_100", "MobileNetV3", 75.2),
    Baseline("mobilenetv2_100", "MobileNetV2"),
    Baseline("efficientnet_lite0", "EfficientNet-Lite"),
    Baseline("resnet18", "ResNet"),
)


def run_baselines(
    output: Path, docs: Path, say: Callable[[str], None], networks: Sequence[Baseline] = NETWORKS
) -> dict[str, Any]:
    """Build, measure and count each network, and write docs/baselines.json after each of them.

    Args:
        output: the folder of builds.
        docs: where the file goes.
        say: is given one line per stage.
        networks: what is built.

    Raises:
        ToolMissingError: when there is no QEMU with plugins.
    """
    cache = StageCache(output / ".cache")
    emulator = find_counting_emulator()
    counting = Counting(emulator, build_counter(emulator, cache), cache)
    value: dict[str, Any] = {}
    for network in networks:
        entry = {**asdict(network), "builds": measure_baseline(network, output, counting, say)}
        value = {
            "format": FORMAT,
            "version": VERSION,
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "size": SIZE,
            "machine": describe_machine(),
            "emulator": emulator.version(),
            "networks": with_entry(read_networks(docs), entry),
        }
        write_baselines(docs, value)
    return value


def read_baselines(docs: Path) -> dict[str, Any]:
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


def read_networks(docs: Path) -> list[dict[str, Any]]:
    """Return the networks of the file as it is now; none where there is no file yet."""
    return list(read_baselines(docs)["networks"]) if (docs / FILE).is_file() else []


def with_entry(networks: Sequence[dict[str, Any]], entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the networks with one put in, or in place of what was said of it, in the order of the table."""
    order = {network.name: place for place, network in enumerate(NETWORKS)}
    kept = [network for network in networks if network["name"] != entry["name"]]
    return sorted([*kept, entry], key=lambda network: order.get(network["name"], len(order)))


def write_baselines(docs: Path, value: dict[str, Any]) -> None:
    """Write the file, whole."""
    write_text_atomically(docs / FILE, json.dumps(value, indent=1, sort_keys=True) + "\n")


def measure_baseline(
    network: Baseline, output: Path, counting: Counting, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Return the entries of "builds": int8, then float32 with the same weights (`compile.ir.float_from_integer`)."""
    folder = run_folder(network.name)
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
    bundles = fresh_bundles(request, folder, counting.cache, say)
    report = read_report(output / folder)["builds"]
    return [
        _build(precision.name, bundle, report, counting, say)
        for precision, bundle in zip(request.precisions, bundles, strict=True)
    ]


def run_folder(name: str) -> str:
    """Return the name of a network's folder of builds."""
    return f"{name}-{SIZE}px-{RANDOM}"


def _build(
    precision: str, bundle: Bundle, report: list[dict[str, Any]], counting: Counting, say: Callable[[str], None]
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
    reason = f"{load:.0f} programs ran on {cores} cores"
    return {"measured": False, "reason": reason, "command": LATENCY_COMMAND}


def _count(bundle: Bundle, name: str, counting: Counting, say: Callable[[str], None]) -> dict[str, Any]:
    result = counted(bundle, find_cpu(name), counting)
    whole = result["whole"]
    say(f"  {name}: {whole['total'] / 1e6:.2f} M instructions")
    return {
        "cpu": name,
        "variant": result["variant"],
        "instructions": whole["total"],
        "modelled_cycles": whole["modelled_cycles"],
    }


@click.command()
@click.option("--output", default="build", show_default=True, type=click.Path(path_type=Path), help="Of the builds.")
@click.option("--docs", default="docs", show_default=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--networks", default=",".join(it.name for it in NETWORKS), show_default=True, help="timm's names.")
def main(output: Path, docs: Path, networks: str) -> None:
    """Build, measure and count other mobile networks."""
    known = {network.name: network for network in NETWORKS}
    chosen = [known.get(name, Baseline(name, name.split("_")[0])) for name in networks.split(",")]
    run_baselines(output, docs, click.echo, chosen)


if __name__ == "__main__":
    main()
