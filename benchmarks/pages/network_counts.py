"""The section of docs/performance.md about other networks on an emulated core, made from its JSON alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.shared.goals import CYCLE_CORES, MILLION, SIZE
from compile.cycles.cores import CORES
from repghost.tables import make_table, markdown_lines


def render_network_counts(part: Mapping[str, Any]) -> str:
    """Return the section in Markdown: millions of instructions of ours and of each form of each runtime."""
    networks: Sequence[Mapping[str, Any]] = part["networks"]
    names = list(dict.fromkeys(it["name"] for network in networks for it in network["others"]))
    cores = " / ".join(CORES[core].label for core in CYCLE_CORES)
    heads = ("network", "our int8", *names, "ours of the fewest", f"ours of the fewest modelled cycles, {cores}")
    rows = [_row(network, names) for network in networks]
    text = (
        f"Executed instructions of one inference of {SIZE} px on an emulated {part['cpu']}, in millions: our int8, and "
        "the arm64 wheels of other runtimes in an emulated Python. Random weights, the same network for all. "
        f"{part['emulator']}; a dash was not counted."
    )
    lines = ["## Other networks on 64-bit ARM", "", text, "", *markdown_lines(make_table(heads, rows))]
    versions = {it["name"].split()[0]: it["version"] for network in networks for it in network["others"]}
    if versions:
        lines += ["", f"Versions: {', '.join(f'{name} {version}' for name, version in versions.items())}."]
    reasons = {it["name"]: it["reason"] for network in networks for it in network["absent"]}
    return "\n".join([*lines, *([""] if reasons else []), *(f"- {name}: {why}" for name, why in reasons.items())])


def network_counts_say(part: Mapping[str, Any]) -> str:
    """Return in one line how ours compares with the fewest instructions elsewhere."""
    shares = [
        network["ours"]["total"] / min(it["total"] for it in network["others"])
        for network in part["networks"] if network["others"]
    ]  # fmt: skip
    if not shares:
        return f"{len(part['networks'])} networks, none beside another runtime."
    return (
        f"Our int8 executes {min(shares):.2f} to {max(shares):.2f} of the fewest instructions elsewhere, over "
        f"{len(shares)} networks."
    )


def _row(network: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    ours, others = network["ours"], {it["name"]: it for it in network["others"]}
    counts = [f"{others[name]['total'] / MILLION:.1f}" if name in others else "-" for name in names]
    least = min((it["total"] for it in others.values()), default=None)
    shares = []
    for core in CYCLE_CORES:
        cycles = [it["modelled_cycles"][core] for it in others.values() if core in it["modelled_cycles"]]
        shares.append(f"{ours['modelled_cycles'][core] / min(cycles):.2f}" if cycles else "-")
    share = "-" if least is None else f"{ours['total'] / least:.2f}"
    return (network["name"], f"{ours['total'] / MILLION:.1f}", *counts, share, " / ".join(shares))
