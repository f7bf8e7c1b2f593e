"""The tables of the page: those of the summary with fewer columns, or with machines and networks side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from compile.cycles.cores import CORES
from compile.summary.board_advice import SIZE
from compile.summary.choices import board_table
from compile.summary.facts import OURS, Network, Speed, Summary, Unit, by_size
from compile.summary.published import full_name, place, short_name
from compile.summary.tables import (
    ABSENT,
    MEGA,
    accuracy_table,
    detector_table,
    latency_tables,
    points,
    size_table,
    width_table,
)
from repghost.tables import Cell, Table, make_table

TIME_COLUMNS = (
    "network",
    "precision",
    "runtime",
    "instruction set",
    "threads",
    "median",
    "90 %",
    "same class as float",
)
COUNTS: dict[Unit, tuple[str, str]] = {
    "cycles": ("Modelled cycles", "Million cycles of one inference on one thread: every executed block priced by "
               "LLVM's model of the core, without caches. No board ran them."),
    "instructions": ("Executed instructions", "Million instructions of one inference on one thread, counted under "
                     "emulation of the core: the same on every machine, and no time."),
}  # fmt: skip


def page_tables(summary: Summary) -> tuple[Table, ...]:
    """Return the tables in their order; every number in full, and every note, is in the CSV."""
    times = [table for table in latency_tables(summary) if table.name.partition("-")[0] != "emulated"]
    boards = board_table(summary)
    tables = [width_table(summary), _plain(boards, [it.title for it in boards.columns]), method_table(summary)]
    tables.append(detector_table(summary))
    tables += [_plain(table, TIME_COLUMNS) for table in times]
    tables += [count_table(summary, unit) for unit in COUNTS]
    tables.append(size_table(summary))
    return tuple(_named(table) for table in tables if table.rows)


def _named(table: Table) -> Table:
    """Return a table with its networks called as people call them."""
    if table.columns[0].title != "network":
        return table
    rows = tuple((replace(row[0], text=full_name(row[0].text)), *row[1:]) for row in table.rows)
    return replace(table, rows=rows)


def _plain(table: Table, titles: Sequence[str]) -> Table:
    """Return a long table with these columns only, and without notes."""
    kept = [index for index, column in enumerate(table.columns) if column.title in titles]
    rows = tuple(tuple(replace(row[index], note="") for index in kept) for row in table.rows)
    return replace(table, columns=tuple(table.columns[index] for index in kept), rows=rows)


def count_table(summary: Summary, unit: Unit) -> Table:
    """Return the counts of a unit, a row for each network, precision and runtime, a column for each core."""
    speeds = [speed for speed in summary.speeds if speed.unit == unit]
    machines = sorted({speed.machine for speed in speeds}, key=core_order)
    found: dict[tuple[str, object, str, str], dict[str, Speed]] = {}
    for speed in sorted(
        speeds, key=lambda it: (*place(it.model), it.size != SIZE, by_size(it.size), it.runtime != OURS, it.runtime)
    ):
        row = found.setdefault((speed.model, speed.size, speed.precision, speed.runtime), {})
        if speed.machine not in row or speed.value < row[speed.machine].value:  # of several instruction sets the best
            row[speed.machine] = speed
    rows = [
        (Cell(model), Cell(str(size)), Cell(precision), Cell(runtime), *(_million(row.get(it)) for it in machines))
        for (model, size, precision, runtime), row in found.items()
    ]
    shown = [machine.removeprefix("emulated ").removesuffix(" model") for machine in machines]
    heads = ("network", "input | px", "precision", "runtime", *(f"#{name} | M" for name in shown))
    title, about = COUNTS[unit]
    return make_table(heads, rows, unit, title, about)


def core_order(machine: str) -> tuple[int, str]:
    """Return what modelled cores are sorted by: their place in the table of cores; emulated ones by name."""
    labels = [f"{core.label} model" for core in CORES.values()]
    return (labels.index(machine) if machine in labels else len(labels)), machine


def _million(speed: Speed | None) -> Cell:
    return Cell("-") if speed is None else Cell(f"{speed.value / MEGA:.1f}", speed.value)


def method_table(summary: Summary) -> Table:
    """Return what every way to int8 changes, a row for each way, a column for each network."""
    networks = [network for network in summary.networks if network.methods]
    kinds = {(method.name, method.kind): None for network in networks for method in network.methods}
    rows = [
        (Cell(name), Cell("trained" if kind == "qat" else "calibrated"), *(_changed(it, name, kind) for it in networks))
        for name, kind in kinds
    ]
    heads = ("way", "kind", *(f"#{short_name(network.model)} | points" for network in networks))
    return replace(make_table(heads, rows, "accuracy", "Every way to int8"), about=accuracy_table(summary).about)


def _changed(network: Network, name: str, kind: str) -> Cell:
    method = next((it for it in network.methods if (it.name, it.kind) == (name, kind)), None)
    if method is None:
        return Cell("-")
    if method.change is None:
        return Cell(ABSENT)
    change = method.change
    return Cell(f"{points(change.difference)} ({points(change.low)} to {points(change.high)})", change.difference)
