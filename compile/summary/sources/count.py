"""One counted inference of `repghost bench --count`: executed instructions, modelled cycles, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from compile.storage import formats
from compile.summary.facts import OURS, Kind, LayerRow, LayerTable, Speed, Unit
from compile.summary.sources import File, Learned

FORMAT, VERSION = formats.COUNT
# The cores of compile/counter/cores.h, and whose code they run: a Cortex-A72 has no dot-product; a Cortex-A55 has it,
# and stands for a Cortex-A53 where it runs the code without it.
MODELLED = {"a76": ("cortex-a76",), "a72": ("cortex-a72",), "a55": ("cortex-a76", "cortex-a72")}

Figure: TypeAlias = tuple[str, float, Unit, Kind]  # machine, value, unit, how it came to be


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
    speeds = [
        _speed(result, machine, value, unit, kind, source, weights)
        for machine, value, unit, kind in machines_of(result["cpu"], result["whole"])
    ]
    tables = (_layers(result, source),) if result.get("layers") else ()
    about = f"{result['model']} {result['precision']} at {result['size']} px on {result['cpu']}, {result['emulator']}"
    return Learned(about=about, speeds=tuple(speeds), layers=tables)


def machines_of(cpu: str, whole: Mapping[str, Any]) -> list[Figure]:
    """Return every figure of a counted inference: the machine it is of, the figure, its unit and how it came to be.

    Args:
        cpu: the emulated core.
        whole: as `compile.bench.count.Counted.to_dict` gives it.
    """
    found: list[Figure] = [(f"emulated {cpu}", float(whole["total"]), "instructions", "emulated")]
    for core, cycles in whole["modelled_cycles"].items():
        if cpu in MODELLED.get(core, ()):
            found.append((f"Cortex-{core.upper()} model, code for {cpu}", float(cycles), "cycles", "modelled"))
    return found


def _speed(
    result: Mapping[str, Any], machine: str, value: float, unit: Unit, kind: Kind, source: str, weights: str
) -> Speed:
    return Speed(
        model=result["model"],
        size=int(result["size"]),
        runtime=OURS,
        precision=result["precision"],
        machine=machine,
        where="emulated",
        variant=result["variant"],
        threads=1,
        kind=kind,
        value=float(value),
        unit=unit,
        low=None,
        high=None,
        agreement=None,
        weights=weights or "unnamed",
        made_by="this project",
        source=source,
    )


def _layers(result: Mapping[str, Any], source: str) -> LayerTable:
    rows = tuple(LayerRow.of(layer, layer["kernel"], instructions=int(layer["total"])) for layer in result["layers"])
    build = f"{result['precision']} {result['variant']} on {result['cpu']}"
    return LayerTable(result["model"], int(result["size"]), build, rows, source, result.get("bundle", ""))
