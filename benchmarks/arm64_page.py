"""The arm64 section of docs/performance.md, from the JSON alone: every bar, every count, which precision to use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.arm64_goals import MILLION, SIZE, Outcome, find_count, outcomes
from compile.bench.count_page import CORES

# Cores without dot-product: whose code they run, whose cycles stand for them.
PLAIN_CORES = {"Cortex-A72": ("cortex-a72", "a72"), "Cortex-A53": ("cortex-a53", "a55")}
RIVAL_COLUMNS = ("cortex-a72", "cortex-a76", "max")


def render_counts(arm64: Mapping[str, Any]) -> str:
    """Return the section in Markdown.

    Args:
        arm64: the part of docs/performance.json that `benchmarks.arm64.run_counts` wrote.
    """
    lines = [
        "## 64-bit ARM, counted under emulation",
        "",
        f"Executed instructions of one inference, batch 1, one thread, counted by {arm64['emulator']} on "
        f"{arm64['date']}: exact, and the same on every machine. Cycles are modelled from them, without caches and "
        "dependencies (`compile/counter/cores.h`): they compare builds with each other and are no prediction of "
        "milliseconds. Random weights with real batch statistics. "
        f"{_verified(arm64)}",
        "",
        *_bar_lines(outcomes(arm64)),
        "",
        "### int8 or float32 without dot-product",
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
        *_rival_lines(arm64["rivals"]),
    ]
    return "\n".join(lines)


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


def _bar_lines(rows: list[Outcome]) -> list[str]:
    lines = [
        "| what | network | measured | bar | | stretch | best elsewhere |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        missed = f"**missed by {abs(row.measured - row.limit):.3g} {row.unit}**"
        stretch = "" if row.stretch is None else f"{row.stretch:g}{', reached' * (row.measured <= row.stretch)}"
        lines.append(
            f"| {row.what} | {row.network} | {_figure(row.measured)} {row.unit} | {_figure(row.limit)} | "
            f"{'reached' if row.reached else missed} | {stretch} | {row.best_elsewhere} |"
        )
    return lines


def _figure(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.2f}"


def _advice(arm64: Mapping[str, Any]) -> list[str]:
    """Return in words which precision to use on a core without dot-product, from modelled cycles at 224 px."""
    lines = []
    for core, (cpu, model) in PLAIN_CORES.items():
        ratios: dict[float, float] = {}
        for network in arm64["networks"]:
            int8 = find_count(arm64, network["width"], "int8", cpu)
            fp32 = find_count(arm64, network["width"], "fp32", "cortex-a72")
            if network["size"] == SIZE and int8 is not None and fp32 is not None:
                cycles = [result["whole"]["modelled_cycles"][model] for result in (int8, fp32)]
                ratios[network["width"]] = cycles[0] / cycles[1]
        if ratios:
            figures = ", ".join(f"{ratio:.2f} at {width:g}x" for width, ratio in ratios.items())
            lines.append(f"- {core}: {_choice(ratios)}. int8 takes so much of the modelled cycles of fp32: {figures}.")
    lines.append(
        "- Why: a Cortex-A72 multiplies integers in one of its two vector units, two cycles each, and floats in both; "
        "a Cortex-A53 is bound by loads, of which int8 needs a quarter. The model knows these and no caches."
    )
    return lines


def _choice(ratios: Mapping[float, float]) -> str:
    better = [f"{width:g}x" for width, ratio in ratios.items() if ratio < 1]
    if len(better) == len(ratios):
        return "use int8"
    return f"use int8 at {', '.join(better)} and fp32 at the others" if better else "use fp32"


def _count_lines(arm64: Mapping[str, Any]) -> list[str]:
    cores = " | ".join(f"{label} cycles" for label in CORES.values())
    lines = [
        f"| network | build | counted on | instruction set | instructions | {cores} | model.so | working memory |",
        f"|---|---|---|---|---|{'---|' * len(CORES)}---|---|",
    ]
    for network in arm64["networks"]:
        for result in network["counts"]:
            cycles = " | ".join(f"{result['whole']['modelled_cycles'][core] / MILLION:.2f} M" for core in CORES)
            lines.append(
                f"| {network['width']:g}x, {network['size']} px | {result['precision']} | {result['cpu']} | "
                f"{result['variant']} | {result['whole']['total'] / MILLION:.2f} M | {cycles} | "
                f"{result['model_bytes'] / MILLION:.2f} MB | {result['workspace_bytes'] / MILLION:.2f} MB |"
            )
    return lines


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


def _rival_lines(rivals: Mapping[str, Any]) -> list[str]:
    """Return the figures of other runtimes: millions of instructions by core, and modelled A76 / A55 cycles."""
    widths = [key for key in ("0.5", "1.0") if any(key in row for row in rivals["rows"])]
    heads = [f"{float(width):g}x {column}" for width in widths for column in (*RIVAL_COLUMNS, "cycles A76 / A55")]
    lines = [
        f"{rivals['source'][0].upper()}{rivals['source'][1:]}. {rivals['method']}",
        "",
        f"| runtime | {' | '.join(heads)} |",
        f"|---|{'---|' * len(heads)}",
    ]
    for row in rivals["rows"]:
        cells = []
        for width in widths:
            figures = row.get(width, {})
            cells += [f"{figures[column]:g}" if column in figures else "-" for column in RIVAL_COLUMNS]
            cells.append(f"{figures['a76']:g} / {figures['a55']:g}" if "a76" in figures else "-")
        lines.append(f"| {row['runtime']} {row['precision']} | {' | '.join(cells)} |")
    return lines
