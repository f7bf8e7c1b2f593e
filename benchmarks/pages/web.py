"""The section of docs/web.md about other runtimes, made from docs/web.json alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.shared.goals import MEGABYTE, WEB_FIRST_ANSWER, WEB_MODEL, web_ratio_goal
from compile.bench.compare_page import fastest_other, of_rounds
from compile.bench.statistics import paired_ratio
from compile.targets.precisions import INT8
from repghost.goals import Goal, Outcome, evaluate
from repghost.tables import make_table, markdown_lines
from repghost.terminal import escape

MISSING = "-"


@dataclass(frozen=True)
class WebRow:
    """One build of ours beside the fastest other one.

    Attributes:
        network: its width, e.g. "0.5x", or its name.
        ours: an entry of "results".
        other: the one it is compared with: int8 with any precision, fp32 with fp32.
        ratio: our time divided by the other's: median, low and high.
        outcome: of the goal for this ratio; None where it has none.
    """

    network: str
    ours: Mapping[str, Any]
    other: Mapping[str, Any]
    ratio: Mapping[str, float]
    outcome: Outcome | None


def web_rows(document: Mapping[str, Any]) -> Iterator[WebRow]:
    """Yield a row for each build of ours that has another to be compared with.

    Args:
        document: docs/web.json.
    """
    for network in document["networks"]:
        (run,) = network["runs"]
        for ours in (result for result in run["results"] if result["ours"]):
            precision = ours["precision"]
            other = fastest_other(run, None if precision == INT8.name else precision)
            if other is None:
                continue
            ratio = paired_ratio(np.array(ours["rounds_ms"]), np.array(other["rounds_ms"]))
            goal = web_ratio_goal(network["name"], precision)
            outcome = None if goal is None else evaluate(goal, {"ratio": ratio})
            yield WebRow(network["name"], ours, other, ratio, outcome)


def render_web(document: Mapping[str, Any]) -> str:
    """Return the section in Markdown.

    Args:
        document: docs/web.json.
    """
    first = document["networks"][0]
    machine, settings = first["machine"], first["settings"]
    runs = [run for network in document["networks"] for run in network["runs"]]
    loads = [run[key][0] for run in runs for key in ("load_before", "load_after")]
    counts = [len(run["results"][0]["rounds_ms"]) for run in runs]
    rounds = " to ".join(str(count) for count in dict.fromkeys((min(counts), max(counts))))
    lines = [
        "## Beside other runtimes",
        "",
        f"Networks in {first['browser']}, headless, on {machine['core']} ({machine['cores']} cores, "
        f"{machine['system']}, load {min(loads):.2f} to {max(loads):.2f}): our WebAssembly beside other runtimes for "
        "the web. `python -m benchmarks.web` wrote this section from docs/web.json.",
        "",
        f"Batch 1, {settings['size']} px, random weights with real batch statistics, one thread, WebAssembly with "
        f"SIMD. All builds of a network are open in one page; in each of {rounds} rounds every one has a turn of "
        f"{settings['inferences']} timed inferences after {settings['warmup']} untimed ones. An inference begins "
        "with an image in JavaScript's memory, bytes for ours and normalized numbers for the others, and ends with its "
        "scores there. A ratio is our time divided by theirs in the same round, taking the fastest inference of each "
        "turn; the median of the rounds counts, with its 95 % interval. int8 is compared with the fastest other build "
        "of any precision, fp32 with the fastest fp32. Ours answered every recorded image as the reference does.",
        "",
        *_ratio_lines(document),
        "",
        "### How long a page waits",
        "",
        *_carried_lines(document["carried"]),
        "",
        "For each build the page is opened anew; the time begins where it asks for the runtime's code, and ends with "
        f"the scores of one image. Median of {settings['visits']} visits. Everything is sent by this machine, "
        "uncompressed, and nothing is kept between visits.",
    ]
    for network in document["networks"]:
        lines += ["", f"### {network['name']}, every build", "", *_network_lines(network)]
    return "\n".join([*lines, "", *_notes(document)])


def _ratio_lines(document: Mapping[str, Any]) -> list[str]:
    heads = ("network", "our build", "#ms", "fastest other", "#ms", "#ratio", "95 %", "#goal", "")
    rows = [
        (
            row.network,
            row.ours["precision"],
            f"{of_rounds(row.ours):.2f}",
            row.other["name"],
            f"{of_rounds(row.other):.2f}",
            f"{row.ratio['median']:.2f}",
            f"{row.ratio['low']:.2f} to {row.ratio['high']:.2f}",
            MISSING if row.outcome is None else f"{row.outcome.goal.limit:g}",
            "" if row.outcome is None else _reached(row.outcome),
        )
        for row in web_rows(document)
    ]
    return markdown_lines(make_table(heads, rows))


def _reached(outcome: Outcome) -> str:
    return "reached" if outcome.reached else f"**missed by {outcome.missed_by:.2f} {outcome.goal.unit}".rstrip() + "**"


def _carried_lines(carried: Mapping[str, Any]) -> list[str]:
    """Return the goals of the bundled network."""
    first = carried["first_answer"]
    rows = [_goal_row(goal, carried) for goal in (WEB_MODEL, WEB_FIRST_ANSWER)]
    files = ", ".join(f"{name.rpartition('/')[2]} {size / 1e3:.1f}" for name, size in sorted(first["files"].items()))
    return [
        f"The bundled network, {carried['name']} at {carried['size']} px in int8:",
        "",
        *markdown_lines(make_table(("what", "#measured", "#goal", ""), rows)),
        "",
        f"The page downloads {first['bytes'] / MEGABYTE:.2f} MB for it, in kB: {files}. Of the time, "
        f"{first['download_ms']:.0f} ms are the download and its check.",
    ]


def _goal_row(goal: Goal, carried: Mapping[str, Any]) -> tuple[str, ...]:
    outcome = evaluate(goal, carried)
    return goal.what, f"{outcome.measured:.4g} {goal.unit}", f"{goal.limit:g} {goal.unit}", _reached(outcome)


def _network_lines(network: Mapping[str, Any]) -> list[str]:
    """Return the table of every build of one network."""
    heads = ("build", "#min ms", "#median", "#p90", "lowest cosine to float", "same class as float",
             "#first answer, ms", "#downloaded, MB")  # fmt: skip
    rows = []
    for result in network["runs"][0]["results"]:
        agreement, first = result["agreement"], network["first_answer"].get(result["name"])
        known = "with_float" in agreement
        rows.append(
            (
                result["name"],
                *(f"{result[key]:.2f}" for key in ("min_ms", "median_ms", "p90_ms")),
                f"{agreement['lowest_cosine']:.4f}" if known else MISSING,
                f"{agreement['with_float']} of {agreement['pictures']}" if known else MISSING,
                MISSING if first is None else f"{first['median_ms']:.0f}",
                MISSING if first is None else f"{first['bytes'] / MEGABYTE:.1f}",
            )
        )
    return markdown_lines(make_table(heads, rows))


def _notes(document: Mapping[str, Any]) -> list[str]:
    """Return which builds these are, and what was left out."""
    lines = ["### The builds", ""]
    for result in document["networks"][0]["runs"][0]["results"]:
        version = f", version {result['version']}" if result["version"] else ""
        lines.append(f"- {result['name']}: {result['made_by']}{version}")
    absent = [(it["name"], it["reason"]) for network in document["networks"] for it in network["absent"]]
    lines += [f"- {name}: not compared: {escape(reason)}" for name, reason in dict.fromkeys(absent)]
    packages = ", ".join(f"{name} {version}" for name, version in sorted(document["packages"].items()))
    return [*lines, "", f"The npm packages, for this benchmark alone: {packages}."]
