"""The arm64 part of docs/performance.json: networks built, counted under emulation, and what is kept in between.

A counted inference is kept in the cache of the builds under what it depends on: the bytes of model.so, the core, the
counter and the emulator. A run that was interrupted goes on where it stopped, and a build whose bytes did not change
is not counted again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.arm64_page import render_counts
from benchmarks.command import run_command
from benchmarks.fp16_agreement import FP16_IMAGES, compare_predictions
from benchmarks.fresh_bundles import fresh_bundles
from benchmarks.performance_files import Section, write_section
from compile.bench.count import CPUS, CountedCpu, count_result, find_cpu, run_counted
from compile.bench.counter_build import build_counter, find_counting_emulator
from compile.bundle.manifest import Bundle
from compile.machine.emulator import Emulator
from compile.machine.replay import verify_bundle
from compile.storage.files import sha256
from compile.storage.stage_cache import StageCache
from compile.storage.strict_json import parse_strict
from compile.subject.request import Request
from compile.subject.subject import RANDOM
from compile.targets.precisions import FP16, FP32, INT8
from compile.targets.table import ARM64
from repghost.commands.options.bench_request import tell
from repghost.errors import UsageError
from repghost.network.spec import model_name

ARM64_SECTION = Section(
    key="arm64",
    begin="<!-- arm64: written by 'make counts' -->",
    end="<!-- end of arm64 -->",
    what="the table of arm64 counts",
    render=render_counts,
)
RIVALS_FILE, RIVALS_FORMAT = "rivals-arm64.json", "repghost-rivals"
CALIBRATION = 32  # images; of random weights nothing but the counts is told
CPU_OF_FLOAT = {FP32.name: "cortex-a72", FP16.name: "cortex-a76"}  # plain NEON code is the same on every core


@dataclass(frozen=True)
class Network:
    """One network that is counted, of random weights with real batch statistics."""

    width: float
    size: int  # pixels


NETWORKS = (
    *(Network(width, 224) for width in (0.5, 0.58, 1.0, 1.3, 2.0)),
    Network(0.5, 160),
    Network(1.0, 160),
)


@dataclass(frozen=True)
class Counting:
    """What counting takes."""

    emulator: Emulator
    files: dict[str, bytes]  # from `build_counter`
    cache: StageCache


def run_counts(
    output: Path, docs: Path, say: Callable[[str], None], networks: Sequence[Network] = NETWORKS
) -> dict[str, Any]:
    """Build and count every network, compare fp16 answers, and write docs/performance.json and .md.

    Args:
        output: the folder of builds.
        docs: where the two files and the figures of other runtimes lie.
        say: is given one line per step.
        networks: what is counted.

    Returns:
        the "arm64" part of the JSON.

    Raises:
        ToolMissingError: when there is no QEMU with plugins.
    """
    cache = StageCache(output / ".cache")
    emulator = find_counting_emulator()
    counting = Counting(emulator, build_counter(emulator, cache), cache)
    arm64 = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "emulator": emulator.version(),
        "cores": {cpu.name: cpu.has for cpu in CPUS.values()},
        "networks": [_network(network, output, counting, say) for network in networks],
        "agreement": compare_predictions(output, FP16_IMAGES, cache, say),
        "rivals": read_rivals(docs),
    }
    write_section(docs, ARM64_SECTION, arm64)
    return arm64


def _network(network: Network, output: Path, counting: Counting, say: Callable[[str], None]) -> dict[str, Any]:
    counts, verification = [], {}
    for bundle in built(network, output, counting.cache, say):
        precision = str(bundle.manifest["precision"])
        verification[precision] = verified(bundle, counting)
        for name in CPUS if precision == INT8.name else (CPU_OF_FLOAT[precision],):
            result = counted(bundle, find_cpu(name), counting)
            whole = result["whole"]
            say(f"{network.width:g}x {network.size} px {precision} on {name}: {whole['total'] / 1e6:.2f} M")
            counts.append({key: value for key, value in result.items() if key != "layers"})
    return {"width": network.width, "size": network.size, "verification": verification, "counts": counts}


def built(network: Network, output: Path, cache: StageCache, say: Callable[[str], None]) -> list[Bundle]:
    """Return the bundles of a network in every precision.

    Args:
        network: the width and size.
        output: the folder of builds.
        cache: remembers which bundles this version of the code made.
        say: is given one line per stage.
    """
    folder = f"{model_name(network.width)}-{network.size}px-{RANDOM}"
    request = Request(
        target=ARM64.name,
        precisions=(INT8, FP32, FP16),
        weights=RANDOM,
        width=str(network.width),
        size=network.size,
        output=output,
        calibration_images=CALIBRATION,
        fetch=False,
        host=False,
        verify=False,  # see `verified`
        jobs=os.cpu_count() or 1,
    )
    say(f"width {network.width:g}, {network.size} px")
    return fresh_bundles(request, folder, cache, say)


def verified(bundle: Bundle, counting: Counting) -> list[dict[str, Any]]:
    """Return how the recorded images were replayed, now or by an earlier run of the same bytes.

    Raises:
        IntegrityError: when an image does not match; nothing is counted then.
    """
    key = {
        "model": sha256(bundle.read("model.so")),
        "vectors": sha256(bundle.read("vectors.bin")),
        "emulator": counting.emulator.version(),
    }

    def make() -> dict[str, bytes]:
        result = verify_bundle(bundle.path, emulator=counting.emulator)
        return {"replays.json": json.dumps({"replays": [replay.to_dict() for replay in result.replays]}).encode()}

    files, _ = counting.cache.get("replays", key, make)
    return list(parse_strict(files["replays.json"], "replays.json")["replays"])


def counted(bundle: Bundle, cpu: CountedCpu, counting: Counting) -> dict[str, Any]:
    """Return the result of `compile.bench.count.count_result`, counted now or kept from an earlier run."""
    key = {
        "model": sha256(bundle.read("model.so")),
        "cpu": cpu.emulated,
        "counter": {name: sha256(content) for name, content in sorted(counting.files.items())},
        "emulator": counting.emulator.version(),
        "bundle": bundle.digest,
    }

    def make() -> dict[str, bytes]:
        run = run_counted(bundle, counting.emulator, cpu, counting.files)
        return {"count.json": json.dumps(count_result(bundle, counting.emulator, cpu, run)).encode()}

    files, _ = counting.cache.get("count", key, make)
    return dict(parse_strict(files["count.json"], "count.json"))


def read_rivals(docs: Path) -> dict[str, Any]:
    """Return the figures of other runtimes, which are data; this command does not measure them."""
    path = docs / RIVALS_FILE
    found = dict(parse_strict(path.read_bytes(), str(path)))
    if found.get("format") != RIVALS_FORMAT:
        raise UsageError(f"{path} has the format {found.get('format')!r}, not {RIVALS_FORMAT!r}.")
    return {key: found[key] for key in ("source", "method", "rows")}


@click.command("arm64")
@click.option(
    "--output", "-o", default="build", show_default=True, type=click.Path(path_type=Path), help="Of the builds."
)
@click.option("--docs", default="docs", show_default=True, type=click.Path(path_type=Path), help="The folder to write.")
def command(output: Path, docs: Path) -> None:
    """Count the instructions of emulated arm64 cores, into docs/performance.md."""
    run_counts(output, docs, tell)
    click.echo(f"written: {docs / 'performance.json'} and {docs / 'performance.md'}")


if __name__ == "__main__":
    run_command(command)
