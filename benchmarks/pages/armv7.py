"""The armv7 section of docs/performance.md, from the JSON alone: the goals, our builds, other runtimes' wheels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.pages.arm64 import goal_lines
from benchmarks.shared.goals import MEGABYTE, MILLION, SIZE, armv7_goals
from compile.targets.precisions import FP32
from repghost.goals import evaluate, find
from repghost.tables import make_table, markdown_lines


def render_counts(armv7: Mapping[str, Any]) -> str:
    """Return the section in Markdown.

    Args:
        armv7: the part of docs/performance.json that `benchmarks.armv7.run_counts` wrote.
    """
    others = armv7["others"]
    replays = [replay for replays in armv7["verification"].values() for replay in replays]
    exact = sum(replay["tolerance"] == 0 for replay in replays)
    reasons: dict[str, list[str]] = {}
    for it in others["absent"]:
        reasons.setdefault(it["reason"], []).append(it["name"])
    return "\n".join(
        [
            "## 32-bit ARM, counted under emulation",
            "",
            f"Executed instructions of one inference of the {armv7['width']:g}x at {SIZE} px, batch 1, one thread, "
            f"counted by {armv7['emulator']} on {armv7['date']}; random weights with real batch statistics. Before "
            f"they were counted, {exact} int8 build repeated the numpy reference to the bit under emulation, and "
            f"{len(replays) - exact} float build its reference within its tolerance. Other runtimes: each one's own "
            "wheel of the package index, in Debian's armhf Python. Cycles are not modelled, and nothing was timed on a "
            "board.",
            "",
            *goal_lines([evaluate(goal, armv7) for goal in armv7_goals(armv7)]),
            "",
            *_rows(armv7),
            "",
            *_float_line(armv7),
            *(f"- {', '.join(names)}: not counted: {reason}" for reason, names in reasons.items()),
        ]
    ).rstrip()


def _float_line(armv7: Mapping[str, Any]) -> list[str]:
    """Return how our fp32 stands beside the fewest instructions of another fp32, whoever is ahead."""
    cpu, others = armv7["others"]["cpu"], armv7["others"]["results"]
    ours = find(armv7, ("counts", {"precision": FP32.name, "cpu": cpu}, "whole", "total"))
    theirs = [int(it["whole"]["total"]) for it in others if it["precision"] == FP32.name]
    if ours is None or not theirs:
        return []
    return [f"Our fp32 executes {ours / min(theirs):.2f} times as many as the fewest fp32 elsewhere.", ""]


def _rows(armv7: Mapping[str, Any]) -> list[str]:
    heads = ("build", "counted on", "instructions", "model.so", "working memory", "same class as float")
    ours = [
        (
            f"our {count['precision']}",
            count["cpu"],
            f"{count['whole']['total'] / MILLION:.2f} M",
            f"{count['model_bytes'] / MEGABYTE:.2f} MB",
            f"{count['workspace_bytes'] / MEGABYTE:.2f} MB",
            "-",
        )
        for count in armv7["counts"]
    ]
    others = [
        (
            f"{it['runtime']} {it['form']}, {it['version']}",
            armv7["others"]["cpu"],
            f"{it['whole']['total'] / MILLION:.2f} M",
            "-",
            "-",
            f"{it['agreement']['with_float']} of {it['agreement']['pictures']}",
        )
        for it in armv7["others"]["results"]
    ]
    return markdown_lines(make_table(heads, [*ours, *others]))
