"""The bars of the host and their page: what was asked for, what was measured, against whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from compile.bench.compare_page import fastest_other, of_rounds
from compile.bench.peers.hold import HELD
from compile.bench.statistics import paired_ratio
from compile.targets.precisions import INT8

SIZE = 224  # pixels
LOADS = ("load_before", "load_after")


@dataclass(frozen=True)
class Bar:
    """What one width has to reach: our time divided by that of the fastest other build."""

    width: float
    int8: float  # against any precision
    fp32: float  # against fp32


BARS = (Bar(0.5, 0.65, 1.0), Bar(1.0, 0.75, 1.0), Bar(2.0, 0.9, 1.0))


def bar_rows(host: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row per bar and instruction set: what was asked for, what was measured, against whom."""
    limits = {bar.width: bar for bar in BARS}
    rows = []
    for network in host["networks"]:
        for run in network["runs"]:
            for ours in (result for result in run["results"] if result["ours"]):
                is_int8 = ours["precision"] == INT8.name
                other = fastest_other(run, None if is_int8 else ours["precision"], ours["variant"])
                if other is None:
                    continue
                ratio = paired_ratio(np.array(ours["rounds_ms"]), np.array(other["rounds_ms"]))
                limit = limits[network["width"]].int8 if is_int8 else limits[network["width"]].fp32
                rows.append(
                    {
                        "width": network["width"],
                        "threads": run["threads"],
                        "ours": ours,
                        "other": other,
                        "ratio": ratio,
                        "limit": limit,
                        "reached": ratio["median"] <= limit,
                    }
                )
    return rows


def render_bars(host: Mapping[str, Any]) -> str:
    """Return the host's section of the page in Markdown."""
    first = host["networks"][0]
    machine, settings = first["machine"], first["settings"]
    loads = [run[key][0] for network in host["networks"] for run in network["runs"] for key in LOADS]
    lines = [
        f"## This host: {machine['core']}",
        "",
        f"{machine['cores']} cores ({', '.join(machine['flags'])}), {machine['system']}, clock {machine['clock']}, "
        f"load {min(loads):.2f} to {max(loads):.2f}. Batch 1, {SIZE} px, random weights with real batch statistics.",
        "",
        f"Every build runs in a process of its own; in each of {settings['rounds']} rounds every one has a turn of "
        f"{settings['inferences']} timed inferences after {settings['warmup']} untimed ones. A ratio is our time "
        "divided by theirs in the same round, taking the fastest inference of each turn; the median of the rounds "
        "counts, with its 95 % interval. int8 is compared with the fastest other build of any precision, fp32 with the "
        f"fastest fp32. {_held(first)}",
        *_busy(loads, machine["cores"]),
        "",
        "| width | threads | our build | ms | fastest other | ms | ratio | 95 % | bar | |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in bar_rows(host):
        ours, other, ratio = row["ours"], row["other"], row["ratio"]
        verdict = "reached" if row["reached"] else f"**missed by {ratio['median'] - row['limit']:.2f}**"
        lines.append(
            f"| {row['width']:g}x | {row['threads']} | {ours['precision']} {ours['variant']} | "
            f"{of_rounds(ours):.3f} | {other['name']} | {of_rounds(other):.3f} | {ratio['median']:.2f} | "
            f"{ratio['low']:.2f} to {ratio['high']:.2f} | {row['limit']:g} | {verdict} |"
        )
    lines += _not_held_lines(host)
    for network in host["networks"]:
        lines += ["", *_network_lines(network)]
    return "\n".join([*lines, "", *_notes(first)])


def _not_held_lines(host: Mapping[str, Any]) -> list[str]:
    """Return how our AVX2 builds stand against runtimes that use all instruction sets; nothing where none was held."""
    texts = []
    for network in host["networks"]:
        for run in network["runs"]:
            for ours in (it for it in run["results"] if it["ours"] and it["variant"] == HELD):
                other = fastest_other(run, None if ours["precision"] == INT8.name else ours["precision"])
                if other is not None and fastest_other(run, variant=HELD) is not fastest_other(run):
                    ratio = paired_ratio(np.array(ours["rounds_ms"]), np.array(other["rounds_ms"]))["median"]
                    threads = f"{run['threads']} thread{'s' * (run['threads'] > 1)}"
                    texts.append(f"{network['width']:g}x {ours['precision']}, {threads}: {ratio:.2f} ({other['name']})")
    if not texts:
        return []
    return ["", f"Our AVX2 builds against runtimes that are not held to AVX2: {'; '.join(texts)}."]


def _held(network: Mapping[str, Any]) -> str:
    """Return which instruction sets the other runtimes used."""
    if not any(result["variant"] for result in network["runs"][0]["results"] if not result["ours"]):
        return "The other runtimes use every instruction set this machine has."
    return (
        "Our AVX2 builds are compared with runtimes that are held to AVX2, too: in a copy of their libraries the "
        "question whether the system keeps AVX-512 registers is answered with no (`compile/bench/peers/hold.py`), "
        "and their quantizers know that 8-bit products saturate then. Our AVX-512 builds are compared with runtimes "
        "that use every instruction set this machine has."
    )


def _busy(loads: list[float], cores: int) -> list[str]:
    """Return a warning when other programs wanted the cores too; a comparison alone loads a thread each."""
    if max(loads) <= cores + 1:
        return []
    return [
        "",
        f"**The machine was busy**: a load of up to {max(loads):.1f} on {cores} cores. One thread is judged by its "
        "fastest inferences all the same. With as many threads as cores nobody had the cores; those rows say little."
        " Run `make bars` on a quiet machine.",
    ]


def _network_lines(network: Mapping[str, Any]) -> list[str]:
    """Return the table of every build of one width: minimum / median / 90th percentile in milliseconds."""
    runs = network["runs"]
    heads = " | ".join(f"{run['threads']} thread{'s' * (run['threads'] > 1)}" for run in runs)
    lines = [
        f"### {network['width']:g}x, every build: min / median / p90 in ms",
        "",
        f"| build | {heads} | lowest cosine to float | same class as float |",
        f"|---|{'---|' * len(runs)}---|---|",
    ]
    for result in runs[0]["results"]:
        cells = [_times(run, result["name"]) for run in runs]
        agreement = result["agreement"]
        known = "with_float" in agreement
        cosine = f"{agreement['lowest_cosine']:.4f}" if known else "-"
        same = f"{agreement['with_float']} of {agreement['pictures']}" if known else "-"
        lines.append(f"| {result['name']} | {' | '.join(cells)} | {cosine} | {same} |")
    return [*lines, *_first_answers(network)]


def _first_answers(network: Mapping[str, Any]) -> list[str]:
    """Return how long a fresh process waits for its first answer, where that was measured."""
    texts = [
        f"{precision} {it['median_ms']:.1f} ms (median of {it['processes']} processes, at most {it['max_ms']:.1f})"
        for precision, it in network.get("first_answer", {}).items()
    ]
    return (
        ["", f"From opening `model.so` to the first answer: {', '.join(texts)}; bar for int8: 10 ms."] if texts else []
    )


def _times(run: Mapping[str, Any], name: str) -> str:
    for result in run["results"]:
        if result["name"] == name:
            return f"{result['min_ms']:.2f} / {result['median_ms']:.2f} / {result['p90_ms']:.2f}"
    return "not measured"


def _notes(network: Mapping[str, Any]) -> list[str]:
    """Return which builds these are, and what was left out."""
    lines = ["The builds:", ""]
    for result in network["runs"][0]["results"]:
        version = f", version {result['version']}" if result["version"] else ""
        lines.append(f"- {result['name']}: {result['made_by']}{version}")
    lines += [f"- {it['name']}: not compared: {it['reason']}" for it in network["absent"]]
    return lines
