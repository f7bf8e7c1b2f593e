"""The arm64 section of docs/performance.md, from the JSON alone: every goal, every count, which precision to use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.shared.goals import CYCLE_CORES, MEGABYTE, MILLION, SIZE, arm64_goals, count_path, cycles_of
from compile.cycles.cores import CORES
from repghost.goals import Outcome, Verdict, evaluate, find
from repghost.tables import make_table, markdown_lines

# Cores that a precision is advised for, and the emulated core whose code their int8 is.
ADVISED = {
    "cortex-a53": "cortex-a72",
    "cortex-a72": "cortex-a72",
    "cortex-a55": "cortex-a76",
    "cortex-a76": "cortex-a76",
}
SHOWN_CORES = ("cortex-a53", "cortex-a72", "cortex-a55", "cortex-a76", "cortex-a510", "cortex-a710")
FLOATS_ON = {"fp32": "cortex-a72", "fp16": "cortex-a76"}  # what their code was counted on
OTHERS_ON = ("cortex-a72", "cortex-a76", "max")  # the cores that other runtimes are counted on


def render_counts(arm64: Mapping[str, Any]) -> str:
    """Return the section in Markdown.

    Args:
        arm64: the part of docs/performance.json that `benchmarks.arm64.run_counts` wrote.
    """
    lines = [
        "## 64-bit ARM, counted under emulation",
        "",
        f"Executed instructions of one inference, batch 1, one thread, counted by {arm64['emulator']} on "
        f"{arm64['date']}: exact, and the same on every machine. Cycles are modelled: every executed block priced by "
        "LLVM's scheduling models, without caches. What they say of the milliseconds of boards, and with which error: "
        "[boards-model.md](boards-model.md). Random weights with real batch statistics. "
        f"{_verified(arm64)}",
        "",
        *goal_lines(evaluate_counts(arm64)),
        "",
        "### Which precision",
        "",
        *_advice(arm64),
        "",
        "### Every network",
        "",
        *_count_lines(arm64),
        *_agreement_lines(arm64.get("agreement")),
        "",
        "### Other runtimes",
        "",
        *_other_lines(arm64["rivals"]),
    ]
    return "\n".join(lines)


def evaluate_counts(arm64: Mapping[str, Any]) -> list[Outcome]:
    """Return the outcome of every goal whose figure is there."""
    outcomes = [evaluate(goal, arm64) for goal in arm64_goals(arm64)]
    return [outcome for outcome in outcomes if outcome.verdict is not Verdict.NOT_MEASURED]


def _verified(arm64: Mapping[str, Any]) -> str:
    """Return what was proven about the counted builds."""
    replays = [
        replay for network in arm64["networks"] for replays in network["verification"].values() for replay in replays
    ]
    exact = sum(replay["tolerance"] == 0 for replay in replays)
    within = len(replays) - exact
    return (
        f"Before they were counted, {exact} int8 builds (a width, a size, an instruction set) repeated the numpy "
        f"reference to the bit under emulation, and {within} float builds their reference within its tolerance."
    )


def goal_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the table of goals and what was measured."""
    rows = []
    for outcome in outcomes:
        goal, measured = outcome.goal, outcome.measured or 0.0
        missed = f"**missed by {outcome.missed_by:.3g} {goal.unit}**"
        stretch = "" if goal.stretch is None else f"{goal.stretch:g}{', reached' * (measured <= goal.stretch)}"
        verdict = "reached" if outcome.reached else missed
        figures = f"{_figure(measured)} {goal.unit}", _figure(goal.limit)
        rows.append((goal.what, goal.subject, *figures, verdict, stretch, goal.note))
    heads = ("what", "network", "measured", "bar", "", "stretch", "best elsewhere")
    return markdown_lines(make_table(heads, rows))


def _figure(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.2f}"


def _advice(arm64: Mapping[str, Any]) -> list[str]:
    """Return in words which precision to use on a core, from modelled cycles at 224 px."""
    lines = []
    for core, cpu in ADVISED.items():
        ratios: dict[float, float] = {}
        for network in arm64["networks"]:
            width, cycles = network["width"], ("whole", "modelled_cycles", core)
            int8 = find(arm64, (*count_path(width, "int8", cpu), *cycles))
            floats = [find(arm64, (*count_path(width, name, on), *cycles)) for name, on in FLOATS_ON.items()]
            known = [value for value in floats if value is not None]
            if network["size"] == SIZE and int8 is not None and known:
                ratios[width] = int8 / min(known)
        if ratios:
            figures = ", ".join(f"{ratio:.2f} at {width:g}x" for width, ratio in ratios.items())
            said = "int8 takes so much of the modelled cycles of the faster float build"
            lines.append(f"- {CORES[core].label}: {_choice(ratios)}. {said}: {figures}.")
    return lines


def _choice(ratios: Mapping[float, float]) -> str:
    better = [f"{width:g}x" for width, ratio in ratios.items() if ratio < 1]
    if len(better) == len(ratios):
        return "use int8"
    return f"use int8 at {', '.join(better)} and float at the others" if better else "use float"


def _count_lines(arm64: Mapping[str, Any]) -> list[str]:
    cycles = [f"{CORES[core].label} cycles" for core in SHOWN_CORES]
    heads = ("network", "build", "counted on", "instruction set", "instructions", *cycles, "model.so", "working memory")
    rows = [
        (
            f"{network['width']:g}x, {network['size']} px",
            result["precision"],
            result["cpu"],
            result["variant"],
            f"{result['whole']['total'] / MILLION:.2f} M",
            *(_cycles(result["whole"]["modelled_cycles"].get(core)) for core in SHOWN_CORES),
            f"{result['model_bytes'] / MEGABYTE:.2f} MB",
            f"{result['workspace_bytes'] / MEGABYTE:.2f} MB",
        )
        for network in arm64["networks"]
        for result in network["counts"]
    ]
    return markdown_lines(make_table(heads, rows))


def _cycles(cycles: float | None) -> str:
    return "-" if cycles is None else f"{cycles / MILLION:.2f} M"


def _agreement_lines(found: Mapping[str, Any] | None) -> list[str]:
    if not found:
        return []
    change = found["change"]
    return [
        "",
        f"fp16 of {found['model']} with the carried weights gives the class of float32 (PyTorch) on "
        f"{found['agreeing']} of {found['pictures']} pictures of {found['data']}, split {found['split']}, run by "
        f"{found['machine']}; top-1 changes by {100 * change['difference']:+.2f} points (paired 95 %: "
        f"{100 * change['low']:+.2f} to {100 * change['high']:+.2f}).",
    ]


def _other_lines(others: Mapping[str, Any]) -> list[str]:
    """Return the figures of other runtimes: millions of instructions by core, and modelled cycles of CYCLE_CORES."""
    widths = [key for key in ("0.5", "1.0") if any(key in row for row in others["rows"])]
    heads = [f"{float(width):g}x {column}" for width in widths for column in (*OTHERS_ON, "cycles A76 / A55")]
    rows = []
    for row in others["rows"]:
        cells = []
        for width in widths:
            figures = row.get(width, {})
            cells += [f"{figures[cpu]:g}" if cpu in figures else "-" for cpu in OTHERS_ON]
            cycles = [figures[cycles_of(core)] for core in CYCLE_CORES if cycles_of(core) in figures]
            cells.append(" / ".join(f"{value:g}" for value in cycles) or "-")
        rows.append((f"{row['runtime']} {row['precision']}", *cells))
    source = f"{others['source'][0].upper()}{others['source'][1:]}. {others['method']}"
    return markdown_lines(make_table(("runtime", *heads), rows, about=source))
