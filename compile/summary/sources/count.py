"""One counted inference of `repghost bench --count`: instructions, cycles, estimated milliseconds, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compile.cycles.boards import estimates
from compile.cycles.cores import CORES
from compile.storage import formats
from compile.summary.facts import LayerRow, LayerTable, Speed
from compile.summary.sources import File, Learned, pixels

FORMAT, VERSION = formats.COUNT


def read(file: File) -> Learned:
    """Return the counts.

    Raises:
        IntegrityError: when it is of another version.
    """
    file.require_version(VERSION, "count again")
    return of_result(file.values, file.name)


def of_result(result: Mapping[str, Any], source: str, weights: str = "") -> Learned:
    """Return what one counted inference says.

    Args:
        result: as `compile.bench.count.count_result` makes it.
        source: the file it is from.
        weights: their kind, where the file says it.
    """
    known: dict[str, Any] = {
        "model": result["model"],
        "size": pixels(result["size"]),
        "precision": result["precision"],
        "variant": result["variant"],
        "weights": weights or "unnamed",
        "source": source,
    }
    speeds = tuple(Speed(**known, **figure) for figure in counted(result["cpu"], result["whole"]))
    tables = (_layers(result, source),) if result.get("layers") else ()
    about = f"{result['model']} {result['precision']} at {result['size']} px on {result['cpu']}, {result['emulator']}"
    return Learned(about=about, speeds=speeds, layers=tables)


def counted(cpu: str, whole: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the fields of a `Speed` for every figure of a counted inference: instructions, cycles, and milliseconds.

    Args:
        cpu: the emulated core.
        whole: as `compile.bench.count.Counted.to_dict` gives it.
    """
    total = {"machine": f"emulated {cpu}", "value": float(whole["total"]), "unit": "instructions", "kind": "emulated"}
    cycles = [
        {"machine": f"{CORES[core].label} model", "value": float(value), "unit": "cycles", "kind": "modelled"}
        for core, value in whole["modelled_cycles"].items()
        if core in CORES
    ]
    boards = [
        {"machine": board.label, "value": it.ms, "low": it.low, "high": it.high, "unit": "ms", "kind": "estimated"}
        for board, it in estimates(whole)
    ]
    emulated = [{**figure, "where": "emulated"} for figure in (total, *cycles)]
    return [*emulated, *({**figure, "where": "board"} for figure in boards)]


def _layers(result: Mapping[str, Any], source: str) -> LayerTable:
    rows = tuple(LayerRow.of(layer, layer["kernel"], instructions=int(layer["total"])) for layer in result["layers"])
    build = f"{result['precision']} {result['variant']} on {result['cpu']}"
    return LayerTable(result["model"], pixels(result["size"]), build, rows, source, result.get("bundle", ""))
