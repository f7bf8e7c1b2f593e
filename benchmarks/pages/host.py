"""The section of docs/performance.md about this host, made from its JSON alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.shared.goals import FIRST_ANSWER, SIZE, goals_in_one, host_goal
from compile.bench.compare_page import fastest_other, of_rounds
from compile.bench.statistics import paired_ratio
from compile.targets.precisions import FP32, INT8
from compile.targets.table import find_target
from repghost.goals import Outcome, evaluate
from repghost.tables import make_table, markdown_lines

LOADS = ("load_before", "load_after")
PRECISIONS = (INT8.name, FP32.name)


@dataclass(frozen=True)
class HostRow:
    """One build of ours beside the fastest other one.

    Attributes:
        network: its width, e.g. "0.5x", or its name.
        threads: that share an inference.
        ours: a result of `compile.bench.compare.run_bench`.
        other: the result it is compared with.
        ratio: our time divided by the other's: median, low and high.
        outcome: of the goal for this ratio; None where it has none.
    """

    network: str
    threads: int
    ours: Mapping[str, Any]
    other: Mapping[str, Any]
    ratio: Mapping[str, float]
    outcome: Outcome | None


def host_rows(host: Mapping[str, Any]) -> list[HostRow]:
    """Return a row for each build of ours that has another to be compared with.

    Args:
        host: the part of docs/performance.json, of widths or of other networks.
    """
    rows = []
    for network in host["networks"]:
        name = name_of(network)
        for run in network["runs"]:
            limited = {result["variant"] for result in run["results"] if not result["ours"]}
            own = [result for result in run["results"] if result["ours"]]
            best = {result["precision"]: result["variant"] for result in own}  # the plainest come first
            for ours in own:
                precision = ours["precision"]
                other = fastest_other(run, None if precision == INT8.name else precision, ours["variant"])
                if other is None:
                    continue
                ratio = paired_ratio(np.array(ours["rounds_ms"]), np.array(other["rounds_ms"]))
                # A plainer instruction set is judged by runtimes that are held to it, not by those that use all.
                alike = ours["variant"] in {best[precision], *limited}
                goal = host_goal(name, precision, ours["variant"]) if alike else None
                outcome = None if goal is None else evaluate(goal, {"ratio": ratio})
                rows.append(HostRow(name, run["threads"], ours, other, ratio, outcome))
    return rows


def name_of(network: Mapping[str, Any]) -> str:
    """Return what rows call a network: its width, e.g. "0.5x", or its name."""
    return f"{network['width']:g}x" if "width" in network else str(network["name"])


def render_host(host: Mapping[str, Any]) -> str:
    """Return the host's section of the page in Markdown."""
    first = host["networks"][0]
    lines = [*_head(f"## This host: {first['machine']['core']}", host), "", *_goal_lines(host_rows(host))]
    for network in host["networks"]:
        lines += ["", *_network_lines(network)]
    return "\n".join([*lines, "", *_notes(first)])


def host_says(host: Mapping[str, Any]) -> str:
    """Return in one line which goals of the host's section, or that of other networks, are reached."""
    return goals_in_one(row.outcome for row in host_rows(host) if row.outcome is not None)


def render_networks(host: Mapping[str, Any]) -> str:
    """Return the section of other networks on this host in Markdown."""
    head = _head("## Other networks on this host", host)
    return "\n".join([*head, "", *_goal_lines(host_rows(host)), "", *_notes(host["networks"][0])])


def _head(title: str, host: Mapping[str, Any]) -> list[str]:
    """Return the title, and how and on which machine was measured."""
    first = host["networks"][0]
    machine, settings = first["machine"], first["settings"]
    loads = {
        name_of(network): max(run[key][0] for run in network["runs"] for key in LOADS) for network in host["networks"]
    }
    return [
        title,
        "",
        f"{machine['cores']} cores ({', '.join(machine['flags'])}), {machine['system']}, clock {machine['clock']}, "
        f"load {min(loads.values()):.2f} to {max(loads.values()):.2f}. Batch 1, {SIZE} px, random weights with real "
        "batch statistics.",
        "",
        f"Every build runs in a process of its own; in each of {_rounds(host)} every one has a turn of "
        f"{settings['inferences']} timed inferences after {settings['warmup']} untimed ones. A ratio is our time "
        "divided by theirs in the same round, taking the fastest inference of each turn; the median of the rounds "
        "counts, with its 95 % interval. int8 is compared with the fastest other build of any precision, fp32 with the "
        f"fastest fp32. {_instruction_sets(first)}",
        *_busy(loads, machine["cores"]),
    ]


def _rounds(host: Mapping[str, Any]) -> str:
    """Return how many rounds the networks had, and by which rule they ended."""
    counts = {len(run["results"][0]["rounds_ms"]) for network in host["networks"] for run in network["runs"]}
    settings = host["networks"][0]["settings"]
    text = " to ".join(str(count) for count in dict.fromkeys((min(counts), max(counts))))
    if not settings.get("spread"):
        return f"{text} rounds"
    return (
        f"{text} rounds (they end where the interval of our ratio to the fastest spans {100 * settings['spread']:g} % "
        f"of it, or after {settings['rounds']})"
    )


def _goal_lines(found: Sequence[HostRow]) -> list[str]:
    heads = ("network", "threads", "our build", "ms", "fastest other", "ms", "ratio", "95 %", "bar", "")
    rows = [
        (
            row.network,
            str(row.threads),
            f"{row.ours['precision']} {row.ours['variant']}",
            f"{of_rounds(row.ours):.3f}",
            row.other["name"],
            f"{of_rounds(row.other):.3f}",
            f"{row.ratio['median']:.2f}",
            f"{row.ratio['low']:.2f} to {row.ratio['high']:.2f}",
            *_reached(row.outcome),
        )
        for row in found
    ]
    return markdown_lines(make_table(heads, rows))


def _reached(outcome: Outcome | None) -> tuple[str, str]:
    if outcome is None:
        return "-", ""
    return f"{outcome.goal.limit:g}", "reached" if outcome.reached else f"**missed by {outcome.missed_by:.2f}**"


def _instruction_sets(network: Mapping[str, Any]) -> str:
    """Return which instruction sets the runtimes used, and which of ours this machine lacks."""
    results = network["runs"][0]["results"]
    others = [it for it in results if not it["ours"]]
    held = {it["variant"]: it["runtime"] for it in others if it["variant"]}
    free = sorted({it["runtime"] for it in others} - set(held.values()))
    text = ["The other runtimes use every instruction set this machine has, so our build for the best one is judged."]
    if len({it["variant"] for it in results if it["ours"]}) < 2:
        return text[0]
    if not held:
        text.append("Those for plainer ones stand beside it.")
    for variant, runtime in held.items():
        text.append(
            f"Builds whose name ends in {variant} were held to it by a switch of {runtime}, its quantizer told where "
            f"8-bit products saturate; our build for {variant} is judged by these alone. {', '.join(free)} have no "
            "such switch."
        )
    machine = network["machine"]
    for variant in find_target(machine["system"].split()[-1]).variants:
        if not all(set(feature.reported) <= set(machine["flags"]) for feature in variant.requires):
            text.append(f"Our {variant.name} was not measured: this machine has no such instructions.")
    return " ".join(text)


def _busy(loads: Mapping[str, float], cores: int) -> list[str]:
    """Return a warning when other programs wanted the cores too; a comparison alone loads a thread each."""
    busy = [name for name, load in loads.items() if load > cores + 1]
    if not busy:
        return []
    return [
        "",
        f"**The machine was busy** at {', '.join(busy)}: a load of up to {max(loads.values()):.1f} on {cores} cores. "
        "One thread is judged by its fastest inferences all the same. With as many threads as cores nobody had the "
        "cores; those rows say little. Run `make bars` on a quiet machine.",
    ]


def _network_lines(network: Mapping[str, Any]) -> list[str]:
    """Return the table of every build of one width: minimum / median / 90th percentile in milliseconds."""
    runs = network["runs"]
    threads = [f"{run['threads']} thread{'s' * (run['threads'] > 1)}" for run in runs]
    rows = []
    for result in runs[0]["results"]:
        agreement = result["agreement"]
        known = "with_float" in agreement
        cosine = f"{agreement['lowest_cosine']:.4f}" if known else "-"
        same = f"{agreement['with_float']} of {agreement['pictures']}" if known else "-"
        rows.append((result["name"], *(_times(run, result["name"]) for run in runs), cosine, same))
    table = make_table(("build", *threads, "lowest cosine to float", "same class as float"), rows)
    title = f"### {network['width']:g}x, every build: min / median / p90 in ms"
    return [title, "", *markdown_lines(table), *_first_answers(network)]


def _first_answers(network: Mapping[str, Any]) -> list[str]:
    """Return how long a fresh process waits for its first answer, where that was measured."""
    found = network.get("first_answer", {})
    texts = [
        f"{name} {found[name]['median_ms']:.1f} ms (median of {found[name]['processes']} processes, at most "
        f"{found[name]['max_ms']:.1f})"
        for name in PRECISIONS
        if name in found
    ]
    if not texts:
        return []
    limit = f"{FIRST_ANSWER.limit:g} {FIRST_ANSWER.unit}"
    return ["", f"From opening `model.so` to the first answer: {', '.join(texts)}; bar for int8: {limit}."]


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
