"""Counted instructions as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compile.cycles.boards import estimates
from compile.cycles.cores import CORES
from compile.cycles.model import RESULTS
from repghost.tables import make_table, text_lines

FIGURES = ("#MACs", "#instructions", "#share", "#MACs each")


def cycle_heads(cores: Sequence[str]) -> list[str]:
    """Return the heads of columns of modelled cycles."""
    return [f"#{CORES[core].label} cycles" for core in cores]


def render_count(result: dict[str, Any]) -> str:
    """Return the result of `compile.bench.count.count_bundle` as text."""
    whole = result["whole"]
    lines = [
        f"{result['model']} {result['precision']}, {result['size']} px, on {result['cpu']}: instruction set "
        f"{result['variant']}, one inference, one thread",
        f"{whole['total']:,} executed instructions (emulated, exact: {result['emulator']})",
        *_cycle_lines(whole),
        *_estimate_lines(whole),
        f"model.so {result['model_bytes'] / 1e6:.2f} MB, workspace {result['workspace_bytes'] / 1e6:.2f} MB",
        "",
        *class_lines(whole),
    ]
    if result["layers"]:
        lines += ["", *_layer_lines(result["layers"]), "", *_operator_lines(result["layers"])]
    return "\n".join(lines)


def _cycle_lines(whole: dict[str, Any]) -> list[str]:
    """Return the modelled cycles of every core and what they are spent on."""
    lines = []
    for core, cycles in whole["modelled_cycles"].items():
        spent = whole["cycles_spent_on"][core]
        waited = spent.get(RESULTS, 0.0) / cycles if cycles else 0.0
        lines.append(f"  {CORES[core].label}: {cycles / 1e6:.2f} M, {waited:.0%} of them waiting for earlier results")
    return ["modelled cycles, by LLVM's scheduling models and without caches:", *lines] if lines else []


def _estimate_lines(whole: dict[str, Any]) -> list[str]:
    """Return the milliseconds that boards are estimated to take."""
    found = [f"{board.label} {estimate} ms" for board, estimate in estimates(whole)]
    return (
        ["estimated on one thread, measured by nobody (docs/boards-model.md):", *(f"  {it}" for it in found)]
        if found
        else []
    )


def class_lines(counted: dict[str, Any]) -> list[str]:
    """Return one line for each class of instructions that was executed, the most frequent first."""
    rows = sorted(counted["instructions"].items(), key=lambda item: -item[1])
    cells = [(name, f"{count:,}", f"{count / counted['total']:.1%}") for name, count in rows if count]
    return text_lines(make_table(("instructions", "#executed", "#share"), cells))


def _layer_lines(layers: Sequence[dict[str, Any]]) -> list[str]:
    total, cores = sum(layer["total"] for layer in layers), list(layers[0]["modelled_cycles"])
    cells = [
        (
            str(layer["name"]),
            str(layer["operator"]),
            "x".join(str(side) for side in layer["output"]),
            *_figures([layer], total, cores),
            str(layer["kernel"]),
        )
        for layer in layers
    ]
    return text_lines(make_table(("layer", "operator", "output", *FIGURES, *cycle_heads(cores), "kernel"), cells))


def _operator_lines(layers: Sequence[dict[str, Any]]) -> list[str]:
    """Return one line per kind of operator, the one with the most instructions first."""
    total, cores = sum(layer["total"] for layer in layers), list(layers[0]["modelled_cycles"])
    kinds = dict.fromkeys(str(layer["operator"]) for layer in layers)
    groups = {kind: [layer for layer in layers if layer["operator"] == kind] for kind in kinds}
    ordered = sorted(groups.items(), key=lambda item: -sum(layer["total"] for layer in item[1]))
    cells = [(kind, str(len(group)), *_figures(group, total, cores)) for kind, group in ordered]
    return text_lines(make_table(("operator", "#layers", *FIGURES, *cycle_heads(cores)), cells))


def _figures(group: Sequence[dict[str, Any]], total: int, cores: Sequence[str]) -> tuple[str, ...]:
    """Return MACs, instructions, share, MACs for each instruction, and modelled cycles."""
    macs, instructions = sum(layer["macs"] for layer in group), sum(layer["total"] for layer in group)
    cycles = [sum(layer["modelled_cycles"][core] for layer in group) for core in cores]
    rate = f"{macs / instructions:.2f}" if macs and instructions else ""
    share = f"{instructions / total:.1%}" if total else ""
    return f"{macs:,}", f"{instructions:,}", share, rate, *(f"{value:,.0f}" for value in cycles)


def render_peer_counts(result: dict[str, Any]) -> str:
    """Return the result of `compile.bench.count_peers.count_peers` as text, the fewest instructions first."""
    cores = list(result["results"][0]["whole"]["modelled_cycles"]) if result["results"] else []
    several = any("lowest_cosine_with_ours" in entry["agreement"] for entry in result["results"])
    last = "#lowest cosine with ours" if several else "#same class as float"
    heads = ("runtime", "version", "made by", "#instructions", *cycle_heads(cores), last)
    cells = []
    for entry in sorted(result["results"], key=lambda entry: entry["whole"]["total"]):
        whole, predictions = entry["whole"], entry["agreement"]
        same = f"{predictions['with_float']} of {predictions['pictures']}" if "with_float" in predictions else "-"
        if "lowest_cosine_with_ours" in predictions:
            same = f"{predictions['lowest_cosine_with_ours']:.4f}"
        cycles = [f"{whole['modelled_cycles'][core]:,.0f}" for core in cores]
        name = f"{entry['runtime']} {entry['form']}"
        cells.append((name, entry["version"], entry["made_by"], f"{whole['total']:,}", *cycles, same))
    lines = [
        f"{result['model']}, {result['size']} px, on {result['cpu']}: one inference, one thread",
        f"executed instructions are emulated and exact ({result['emulator']})"
        + "; cycles are modelled, without caches" * bool(cores),
        "",
        *text_lines(make_table(heads, cells)),
    ]
    return "\n".join([*lines, *[f"{it['name']}: not counted: {it['reason']}" for it in result["absent"]]])
