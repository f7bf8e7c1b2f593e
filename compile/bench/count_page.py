"""Counted instructions as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from repghost.tables import make_table, text_lines

CORES = {"a76": "A76", "a72": "A72", "a55": "A55/A53"}  # of compile/bench/counter/cores.h
CYCLES = tuple(f"#{label} cycles" for label in CORES.values())
FIGURES = ("#MACs", "#instructions", "#share", "#MACs each", *CYCLES)


def render_count(result: dict[str, Any]) -> str:
    """Return the result of `compile.bench.count.count_bundle` as text."""
    whole = result["whole"]
    lines = [
        f"{result['model']} {result['precision']}, {result['size']} px, on {result['cpu']}: instruction set "
        f"{result['variant']}, one inference, one thread",
        f"{whole['total']:,} executed instructions (emulated, exact: {result['emulator']})",
        "modelled cycles, a lower bound without caches: "
        + ", ".join(f"{label} {whole['modelled_cycles'][core] / 1e6:.2f} M" for core, label in CORES.items()),
        f"model.so {result['model_bytes'] / 1e6:.2f} MB, workspace {result['workspace_bytes'] / 1e6:.2f} MB",
        "",
        *class_lines(whole),
    ]
    if result["layers"]:
        lines += ["", *_layer_lines(result["layers"]), "", *_operator_lines(result["layers"])]
    return "\n".join(lines)


def class_lines(counted: dict[str, Any]) -> list[str]:
    """Return one line for each class of instructions that was executed, the most frequent first."""
    rows = sorted(counted["instructions"].items(), key=lambda item: -item[1])
    cells = [(name, f"{count:,}", f"{count / counted['total']:.1%}") for name, count in rows if count]
    return text_lines(make_table(("instructions", "#executed", "#share"), cells))


def _layer_lines(layers: Sequence[dict[str, Any]]) -> list[str]:
    total = sum(layer["total"] for layer in layers)
    cells = [
        (
            str(layer["name"]),
            str(layer["operator"]),
            "x".join(str(side) for side in layer["output"]),
            *_figures([layer], total),
            str(layer["kernel"]),
        )
        for layer in layers
    ]
    return text_lines(make_table(("layer", "operator", "output", *FIGURES, "kernel"), cells))


def _operator_lines(layers: Sequence[dict[str, Any]]) -> list[str]:
    """Return one line per kind of operator, the one with the most instructions first."""
    total = sum(layer["total"] for layer in layers)
    kinds = dict.fromkeys(str(layer["operator"]) for layer in layers)
    groups = {kind: [layer for layer in layers if layer["operator"] == kind] for kind in kinds}
    ordered = sorted(groups.items(), key=lambda item: -sum(layer["total"] for layer in item[1]))
    cells = [(kind, str(len(group)), *_figures(group, total)) for kind, group in ordered]
    return text_lines(make_table(("operator", "#layers", *FIGURES), cells))


def _figures(group: Sequence[dict[str, Any]], total: int) -> tuple[str, ...]:
    """Return MACs, instructions, share, MACs for each instruction, and modelled cycles."""
    macs, instructions = sum(layer["macs"] for layer in group), sum(layer["total"] for layer in group)
    cycles = [sum(layer["modelled_cycles"][core] for layer in group) for core in CORES]
    rate = f"{macs / instructions:.2f}" if macs and instructions else ""
    share = f"{instructions / total:.1%}" if total else ""
    return f"{macs:,}", f"{instructions:,}", share, rate, *(f"{value:,.0f}" for value in cycles)


def render_peer_counts(result: dict[str, Any]) -> str:
    """Return the result of `compile.bench.count_peers.count_peers` as text, the fewest instructions first."""
    heads = ("runtime", "version", "made by", "#instructions", *CYCLES, "#same class as float")
    cells = []
    for entry in sorted(result["results"], key=lambda entry: entry["whole"]["total"]):
        whole, predictions = entry["whole"], entry["agreement"]
        same = f"{predictions['with_float']} of {predictions['pictures']}" if "with_float" in predictions else "-"
        cycles = [f"{whole['modelled_cycles'][core]:,.0f}" for core in CORES]
        name = f"{entry['runtime']} {entry['form']}"
        cells.append((name, entry["version"], entry["made_by"], f"{whole['total']:,}", *cycles, same))
    lines = [
        f"{result['model']}, {result['size']} px, on {result['cpu']}: one inference, one thread",
        f"executed instructions are emulated and exact ({result['emulator']}); cycles are modelled, a lower bound",
        "",
        *text_lines(make_table(heads, cells)),
    ]
    return "\n".join([*lines, *[f"{it['name']}: not counted: {it['reason']}" for it in result["absent"]]])
