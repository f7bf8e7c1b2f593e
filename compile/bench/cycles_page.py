"""Modelled cycles of every layer on one core as text: how many, the least they could be, and what they are spent on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from compile.cycles.cores import CORES
from compile.cycles.model import RESULTS
from repghost.tables import make_table, text_lines

SHOWN = 2  # things that a layer's cycles are spent on
HEADS = ("layer", "operator", "#instructions", "#cycles", "#share", "#bound", "#of bound", "spent on", "kernel")


def render_cycles(result: Mapping[str, Any], core: str) -> str:
    """Return the layers of a count as text.

    Args:
        result: from `compile.bench.count.count_bundle`, layer by layer.
        core: a name of `compile.cycles.cores.CORES` that it was modelled for.
    """
    label, whole = CORES[core].label, result["whole"]["modelled_cycles"][core]
    total = sum(layer["modelled_cycles"][core] for layer in result["layers"])
    rows = [
        (
            str(layer["name"]),
            str(layer["operator"]),
            f"{layer['total']:,}",
            *_figures(layer, core, total),
            str(layer["kernel"]),
        )
        for layer in result["layers"]
    ]
    spent: Counter[str] = Counter()
    for layer in result["layers"]:
        spent.update(layer["cycles_spent_on"][core])
    return "\n".join([
        f"{result['model']} {result['precision']}, {result['size']} px, on a {label}: instruction set "
        f"{result['variant']}, {whole / 1e6:.2f} M modelled cycles, one thread, without caches",
        f"spent on: {_spent(spent, len(spent))}",
        "A bound is what a layer would take if no instruction waited for another's result; 'results' is that waiting, "
        "loads among them; the other words are LLVM's names of the units that are busiest.",
        "",
        *text_lines(make_table(HEADS, rows)),
    ])  # fmt: skip


def _figures(layer: Mapping[str, Any], core: str, total: float) -> tuple[str, ...]:
    cycles, spent = layer["modelled_cycles"][core], layer["cycles_spent_on"][core]
    bound = cycles - spent.get(RESULTS, 0.0)
    share, over = (f"{cycles / total:.1%}" if total else ""), (f"{cycles / bound:.2f}" if bound else "")
    return f"{cycles:,.0f}", share, f"{bound:,.0f}", over, _spent(spent, SHOWN)


def _spent(spent: Mapping[str, float], shown: int) -> str:
    total = sum(spent.values())
    largest = sorted(spent.items(), key=lambda item: -item[1])[:shown]
    return ", ".join(f"{what} {cycles / total:.0%}" for what, cycles in largest if total and cycles / total >= 0.005)
