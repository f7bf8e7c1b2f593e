"""Emulated arm64 cores: networks built and counted, in the arm64 part of docs/performance.json and .md.

A run that was interrupted goes on where it stopped, and a build whose bytes did not change is not counted again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from benchmarks.fp16_agreement import FP16_IMAGES, compare_predictions
from benchmarks.pages.arm64 import evaluate_counts, render_counts
from benchmarks.pages.summary import write_performance
from benchmarks.shared.bundles import fresh_bundles, random_folder
from benchmarks.shared.command import docs_option, output_option, run_command, say_progress
from benchmarks.shared.counting import Counting, Say, counted, start_counting, verified
from benchmarks.shared.documents import Markers, Section, read_performance
from benchmarks.shared.goals import goals_in_one
from compile.bench.count import cpus_of, find_cpu
from compile.bundle.manifest import Bundle
from compile.storage.strict_json import parse_strict
from compile.subject.request import Request
from compile.subject.subject import RANDOM
from compile.targets.precisions import FP16, FP32, INT8, Precision, parse_precisions
from compile.targets.table import ARM64, Target
from repghost.errors import UsageError
from repghost.network.spec import WIDTHS, model_name

ARM64_SECTION = Section(
    key="arm64",
    markers=Markers(
        "<!-- arm64: written by 'make counts' -->", "<!-- end of arm64 -->", "the table of arm64 counts belongs"
    ),
    render=render_counts,
    says=lambda arm64: goals_in_one(evaluate_counts(arm64)),
)
PRECISIONS = (INT8, FP32, FP16)
OTHERS_FILE, OTHERS_FORMAT = "rivals-arm64.json", "repghost-rivals"
CALIBRATION = 32  # images: weights are random, and only counts are reported
CPU_OF_FLOAT = {FP32.name: "cortex-a72", FP16.name: "cortex-a76"}  # plain NEON code is the same on every core


@dataclass(frozen=True)
class Network:
    """One network that is counted, of random weights with real batch statistics."""

    width: float
    size: int  # pixels


NETWORKS = (
    *(Network(width.multiplier, 224) for width in WIDTHS),
    Network(0.5, 160),
    Network(1.0, 160),
)


def run_counts(
    output: Path,
    docs: Path,
    say: Say,
    networks: Sequence[Network] = NETWORKS,
    precisions: Sequence[Precision] = PRECISIONS,
) -> dict[str, Any]:
    """Build and count every network, compare fp16 predictions, and write docs/performance.json and .md.

    Args:
        output: the folder of builds.
        docs: where the two files and the figures of other runtimes lie.
        say: is given one line per step.
        networks: what is counted.
        precisions: of the builds; what docs/performance.json has of the others stays.

    Returns:
        the "arm64" part of the JSON.

    Raises:
        ToolMissingError: when there is no QEMU with plugins.
    """
    counting = start_counting(output)
    before = read_performance(docs).get("arm64", {"networks": []})
    known = {(entry["width"], entry["size"]): entry for entry in before["networks"]}
    agreement = partial(compare_predictions, output, FP16_IMAGES, counting.store, say)
    arm64 = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "emulator": counting.counter.emulator.version(),
        "cores": {cpu.name: cpu.has for cpu in cpus_of(ARM64)},
        "networks": [
            with_kept(_network(network, precisions, output, counting, say), known.get((network.width, network.size)))
            for network in networks
        ],
        "agreement": agreement() if FP16 in precisions else before.get("agreement"),
        "rivals": read_others(docs),
    }
    write_performance(docs, ARM64_SECTION, arm64)
    return arm64


def with_kept(entry: dict[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a network's entry with the precisions that only an earlier one has."""
    if before is None:
        return entry
    verification = {**before["verification"], **entry["verification"]}
    kept = [count for count in before["counts"] if count["precision"] not in entry["verification"]]
    return {**entry, "verification": verification, "counts": [*entry["counts"], *kept]}


def _network(
    network: Network, precisions: Sequence[Precision], output: Path, counting: Counting, say: Say
) -> dict[str, Any]:
    counts, verification = [], {}
    for bundle in built(network, precisions, output, counting, say):
        precision = str(bundle.manifest["precision"])
        verification[precision] = verified(bundle, counting)
        for cpu in cpus_of(ARM64) if precision == INT8.name else [find_cpu(CPU_OF_FLOAT[precision])]:
            result = counted(bundle, cpu, counting)
            whole = result["whole"]
            say(f"{network.width:g}x {network.size} px {precision} on {cpu.name}: {whole['total'] / 1e6:.2f} M")
            counts.append({key: value for key, value in result.items() if key != "layers"})
    return {"width": network.width, "size": network.size, "verification": verification, "counts": counts}


def built(
    network: Network, precisions: Sequence[Precision], output: Path, counting: Counting, say: Say,
    target: Target = ARM64,
) -> list[Bundle]:  # fmt: skip
    """Return the bundles of a network.

    Args:
        network: the width and size.
        precisions: of the bundles.
        output: the folder of builds.
        counting: remembers which bundles this version of the code made.
        say: is given one line per stage.
        target: of the bundles.
    """
    request = Request(
        target=target.name,
        precisions=tuple(precisions),
        weights=RANDOM,
        width=str(network.width),
        size=network.size,
        output=output,
        calibration_images=CALIBRATION,
        fetch=False,
        host=False,
        verify=False,  # `verified` does, once for the same bytes
        jobs=os.cpu_count() or 1,
    )
    say(f"width {network.width:g}, {network.size} px")
    return fresh_bundles(request, random_folder(model_name(network.width), network.size), counting.store, say)


def read_others(docs: Path) -> dict[str, Any]:
    """Return the figures of other runtimes from OTHERS_FILE; they are not measured by this command."""
    path = docs / OTHERS_FILE
    found = dict(parse_strict(path.read_bytes(), str(path)))
    if found.get("format") != OTHERS_FORMAT:
        raise UsageError(f"{path} has the format {found.get('format')!r}, not {OTHERS_FORMAT!r}.")
    return {key: found[key] for key in ("source", "method", "rows")}


@click.command("arm64")
@output_option
@docs_option
@click.option("--precisions", default="int8,fp32,fp16", show_default=True, help="What the file has of others stays.")
def command(output: Path, docs: Path, precisions: str) -> None:
    """Count the instructions of emulated arm64 cores, into docs/performance.md."""
    run_counts(output, docs, say_progress, precisions=parse_precisions(precisions))
    click.echo(f"written: {docs / 'performance.json'} and {docs / 'performance.md'}")


if __name__ == "__main__":
    run_command(command)
