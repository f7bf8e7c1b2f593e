"""Other networks on an emulated arm64 core: our int8 and the arm64 wheels of other runtimes, in executed instructions.

Into the part "arm64_networks" of docs/performance.json and its section of docs/performance.md, after each runtime; what
was counted for the same bundle is not counted again, and what the file says of other networks and runtimes stays:

    {"cpu": "cortex-a76", "emulator": "...", "networks": [{
        "name": "mobilenetv2_100",
        "ours": {"variant": "dot", "total": 33000000, "modelled_cycles": {"cortex-a76": ..., ...}},
        "others": [{"name": "ncnn fp32", "version": "...", "total": ..., "modelled_cycles": {...}, "cosine": 1.0}],
        "absent": [{"name": "litert int8", "reason": "..."}]
    }]}
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from benchmarks.other_runtimes import count_others
from benchmarks.pages.network_counts import network_counts_say, render_network_counts
from benchmarks.pages.summary import write_performance
from benchmarks.shared.bundles import fresh_bundles, random_folder
from benchmarks.shared.command import docs_option, output_option, python_option, run_command, say_progress
from benchmarks.shared.counting import Counting, Say, counted, start_counting
from benchmarks.shared.documents import Markers, Section, read_performance
from benchmarks.shared.goals import NETWORKS, SIZE
from compile.bench.count import DEFAULT_CPU, find_cpu
from compile.bench.peers import Peer, parse_peers
from compile.bundle.manifest import Bundle
from compile.subject.request import Request
from compile.subject.subject import RANDOM
from compile.targets.precisions import INT8
from compile.targets.table import ARM64
from repghost.errors import RepGhostError

CPU = find_cpu(DEFAULT_CPU)
SECTION = Section(
    key="arm64_networks",
    markers=Markers(
        "<!-- arm64 networks: written by benchmarks.network_counts -->",
        "<!-- end of arm64 networks -->",
        "other networks' counts belong",
    ),
    render=render_network_counts,
    says=network_counts_say,
)


def build_for_arm64(name: str, output: Path, counting: Counting, say: Say) -> Bundle:
    """Return the int8 bundle for arm64 of a network of random weights."""
    request = Request(
        ARM64.name,
        (INT8,),
        weights=RANDOM,
        model=name,
        size=SIZE,
        output=output,
        fetch=False,
        host=False,
        jobs=os.cpu_count() or 1,
    )
    (bundle,) = fresh_bundles(request, random_folder(name, SIZE), counting.store, say)
    return bundle


def count_ours(bundle: Bundle, counting: Counting) -> dict[str, Any]:
    """Return what "ours" says of a network."""
    result = counted(bundle, CPU, counting)
    return {"variant": result["variant"], **_figures(result["whole"])}


def count_peer(bundle: Bundle, peer: Peer, counting: Counting, python: Path | None, say: Say) -> dict[str, Any]:
    """Return what "others" and "absent" say of a network and one runtime."""
    try:
        found = count_others(bundle, (peer,), CPU, counting.store, python, say)
    except RepGhostError as error:  # not one form of it could be counted
        return {"others": [], "absent": [{"name": peer.name, "reason": str(error)}]}
    others = [
        {
            "name": f"{result['runtime']} {result['form']}",
            "version": result["version"],
            "cosine": result["agreement"].get("lowest_cosine"),
            **_figures(result["whole"]),
        }
        for result in found["results"]
    ]
    return {"others": others, "absent": found["absent"]}


def _figures(whole: Mapping[str, Any]) -> dict[str, Any]:
    return {"total": whole["total"], "modelled_cycles": whole["modelled_cycles"]}


def with_counts(before: list[dict[str, Any]], name: str, ours: dict[str, Any], more: dict[str, Any]) -> list[Any]:
    """Return the networks with one runtime's counts in place of its earlier ones, in the order of NETWORKS."""
    known = {network["name"]: network for network in before}
    entry = known.get(name, {"others": [], "absent": []})
    counted_now = {it["name"].split()[0] for kind in more.values() for it in kind}
    kept = {
        kind: [it for it in entry[kind] if it["name"].split()[0] not in counted_now] for kind in ("others", "absent")
    }
    known[name] = {"name": name, "ours": ours} | {kind: kept[kind] + more.get(kind, []) for kind in kept}
    order = {network: place for place, network in enumerate(NETWORKS)}
    return sorted(known.values(), key=lambda network: order.get(network["name"], len(order)))


@click.command("network_counts")
@output_option
@docs_option
@python_option
@click.option("--networks", default=",".join(NETWORKS), help="timm's names, separated by commas.")
@click.option(
    "--runtimes", default="ncnn,mnn,onnxruntime", show_default=True, help="Separated by commas; may be empty."
)
def command(output: Path, docs: Path, python: Path | None, networks: str, runtimes: str) -> None:
    """Count our int8 of other networks and other runtimes on an emulated arm64 core, into docs/performance.md."""
    counting, interpreter = start_counting(output), None if python is None else python.absolute()
    for name in networks.split(","):
        say_progress(name)
        bundle = build_for_arm64(name, output, counting, say_progress)
        ours = count_ours(bundle, counting)
        say_progress(f"  ours: {ours['total'] / 1e6:.1f} M instructions")
        _write(docs, counting, name, ours, {})
        for peer in (peer for row in runtimes.split(",") for peer in parse_peers(row)):  # in the order that was given
            _write(docs, counting, name, ours, count_peer(bundle, peer, counting, interpreter, say_progress))


def _write(docs: Path, counting: Counting, name: str, ours: dict[str, Any], more: dict[str, Any]) -> None:
    before = read_performance(docs).get(SECTION.key, {"networks": []})["networks"]
    emulator = counting.counter.emulator.version()
    networks = with_counts(before, name, ours, more)
    write_performance(docs, SECTION, {"cpu": CPU.name, "emulator": emulator, "networks": networks})


if __name__ == "__main__":
    run_command(command)
