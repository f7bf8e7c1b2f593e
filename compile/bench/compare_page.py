"""The result of a comparison as text, made from its JSON alone."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from repghost.sizes import sides_text
from repghost.tables import make_table, text_lines

HEADS = ("build", "#min ms", "#median", "#p90", "#ours / this", "#95 % of the median")
OF_CLASSES, OF_RESULTS = ("same class as ours", "as float"), ("#lowest cosine with ours",)


def render_bench(result: Mapping[str, Any]) -> str:
    """Return one table per number of threads, what each build is, and what could not be compared."""
    network, machine, settings = result["network"], result["machine"], result["settings"]
    lines = [
        f"{network['name']}, {sides_text(network['size'])} px, batch 1, {settings['pictures']} pictures",
        f"{machine['core']}, {machine['cores']} cores, {' '.join(machine['flags'])}; {machine['system']}; "
        f"clock {machine['clock']}",
        f"{settings['rounds']} rounds; in each every build runs {settings['warmup']} inferences untimed and "
        f"{settings['inferences']} timed, one build after the other",
    ]
    for run in result["runs"]:
        lines += ["", *_run_lines(run)]
    lines += ["", "builds"]
    lines += [f"  {it['name']}: {_what(it)}" for it in result["runs"][0]["results"]]
    if settings["saturates"]:
        lines.append(
            "  This machine's 8-bit products saturate; the quantizers of others were told to keep their weights small."
        )
    if result["absent"]:
        lines += ["", "not compared"]
        lines += [f"  {it['name']}: {it['reason']}{_command(it)}" for it in result["absent"]]
    return "\n".join(lines)


def _command(absent: Mapping[str, str]) -> str:
    return f"; {absent['command']}" if absent["command"] else ""


def _what(result: Mapping[str, Any]) -> str:
    version = f", version {result['version']}" if result["version"] else ""
    variant = f", instruction set {result['variant']}" if result["variant"] else ""
    return f"{result['precision']}, {result['made_by']}{version}{variant}"


def _run_lines(run: Mapping[str, Any]) -> list[str]:
    threads = run["threads"]
    load = f"load {run['load_before'][0]:.2f} before, {run['load_after'][0]:.2f} after"
    rows = [_row(result) for result in run["results"]]
    heads = (*HEADS, *(OF_CLASSES if "with_ours" in run["results"][0]["agreement"] else OF_RESULTS))
    lines = [f"{threads} thread{'s' * (threads > 1)}, {load}", *text_lines(make_table(heads, rows))]
    return [*lines, *(["", summary] if (summary := fastest_line(run)) else [])]


def _row(result: Mapping[str, Any]) -> tuple[str, ...]:
    ratio, agreement = result["ratio"], result["agreement"]
    times = tuple(f"{result[key]:.3f}" for key in ("min_ms", "median_ms", "p90_ms"))
    paired = ("", "") if ratio is None else (f"{ratio['median']:.2f}", f"{ratio['low']:.2f} to {ratio['high']:.2f}")
    images = agreement["pictures"]
    if "with_ours" not in agreement:
        return (result["name"], *times, *paired, f"{agreement['lowest_cosine_with_ours']:.4f}")
    as_float = f"{agreement['with_float']}/{images}" if "with_float" in agreement else "-"
    return (result["name"], *times, *paired, f"{agreement['with_ours']}/{images}", as_float)


def fastest_other(run: Mapping[str, Any], precision: str | None = None, variant: str = "") -> Mapping[str, Any] | None:
    """Return the fastest of the runtimes that are not ours by the median of its rounds, None where there is none.

    Args:
        run: one entry of `runs`.
        precision: only builds of this precision.
        variant: the instruction set of our build; others that were limited to it are preferred.
    """
    others = [it for it in run["results"] if not it["ours"] and precision in (None, it["precision"])]
    limited = {it["variant"] for it in others}
    kept = [it for it in others if it["variant"] == (variant if variant in limited else "")]
    return min(kept, key=of_rounds, default=None)


def of_rounds(result: Mapping[str, Any]) -> float:
    """Return the median over the rounds of the fastest inference of each, in milliseconds."""
    return float(median(result["rounds_ms"]))


def fastest_line(run: Mapping[str, Any]) -> str:
    """Return one sentence about the fastest other runtime; "" where there is none."""
    ours = run["results"][0]
    best = fastest_other(run, variant=ours["variant"])
    if best is None:
        return ""
    return (
        f"{ours['name']} takes {best['ratio']['median']:.2f} times as long as the fastest other build, {best['name']} "
        f"(median over {len(best['rounds_ms'])} rounds of the fastest inference of each)."
    )
