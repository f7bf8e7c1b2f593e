"""The section of docs/performance.md about the time of compilation, made from the JSON alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CORES = 2  # of the machine the bars are for
ONE_BAR, ALL_BAR = 20.0, 300.0  # seconds on two cores that do nothing else
ALL_WIDTHS = 8


def render_compile_time(value: Mapping[str, Any]) -> str:
    """Return the section in Markdown.

    Args:
        value: the key "compile" of docs/performance.json, see `benchmarks.compile_time`.
    """
    machine, runs = value["machine"], value["runs"]
    lines = [
        "## The time of compilation",
        "",
        "`repghost compile --target arm64 --precision int8`, 224 px, random weights: the whole command, from weights "
        "to a verified bundle, in a process of its own and without a kernel of an earlier run. Machine: "
        f"{machine['core']}, {machine['cores']} cores, {machine['system']}. Processor time is that of all threads and "
        f"children together; a bar in seconds on {CORES} free cores is compared with half of it. The time on the clock "
        "is that of a machine on which as many programs wanted to run as the last column says; where these are more "
        "than it has cores, caches are shared and the processor time grows, too.",
        "",
        "| width | for | kernels | model.so, MB | processor time, s | on the clock, s | load |",
        "|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        what = made_for(run["host"])
        low, high = sorted(run["load"])
        lines.append(
            f"| {run['width']:g}x | {what} | {run['kernels']} | {run['model_bytes'] / 1e6:.2f} | "
            f"{run['processor_seconds']:.1f} | {run['wall_seconds']:.0f} | {low:.0f} to {high:.0f} |"
        )
    return "\n".join([*lines, "", *(f"- {line}" for line in bars(runs)), *_note()])


def made_for(host: bool) -> str:
    """Return what a run builds for, in words."""
    return "arm64 and this machine" if host else "arm64"


def bars(runs: list[dict[str, Any]]) -> list[str]:
    """Return a sentence for each bar: reached, or missed by how much, or not measured."""
    smallest = [run for run in runs if run["width"] == 0.5]
    alone = [run for run in runs if not run["host"]]
    sentences = []
    for run in smallest:
        what = made_for(run["host"])
        besides = " `--no-host` leaves out the builds that only judge and measure here." if run["host"] else ""
        sentences.append(_bar(f"0.5x for {what}", run["processor_seconds"], ONE_BAR) + besides)
    if len({run["width"] for run in alone}) == ALL_WIDTHS:
        sentences.append(_bar("all eight widths for arm64", sum(run["processor_seconds"] for run in alone), ALL_BAR))
    else:
        sentences.append("all eight widths for arm64: not measured; `make compile-time` does.")
    return sentences


def _bar(what: str, seconds: float, bar: float) -> str:
    share = seconds / CORES
    verdict = "reached" if share <= bar else f"missed by {share / bar - 1:.0%}"
    return f"{what}: {seconds:.1f} s of processor time, {share:.1f} s on {CORES} free cores; bar {bar:g} s: {verdict}."


def _note() -> list[str]:
    return [
        "",
        "A kernel depends on shapes and not on weights: a network that was trained further, or quantized again, takes "
        "its kernels from the user's cache (`REPGHOST_CACHE`, otherwise `~/.cache/repghost`), to the same bytes.",
    ]
