"""docs/baselines.json: other networks through the same compiler, of random weights; measured here and counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from compile.storage import formats
from compile.summary.facts import OURS, Speed, Where
from compile.summary.sources import File, Learned
from compile.summary.sources.count import Figure, machines_of

FORMAT, VERSION = formats.BASELINES


def read(file: File) -> Learned:
    """Return times and counts of every network.

    Raises:
        IntegrityError: when it is of another version.
    """
    file.require_version(VERSION, "make it again")
    networks = file.values["networks"]
    builds = [(network, build) for network in networks for build in network["builds"]]
    return Learned(
        about=f"{len(networks)} other networks through the same compiler, {file.values['emulator']}",
        speeds=tuple(speed for network, build in builds for speed in _speeds(file, network, build)),
    )


def _speeds(file: File, network: Mapping[str, Any], build: Mapping[str, Any]) -> Iterator[Speed]:
    latency, machine = build["host"], file.values["machine"]
    if latency.get("measured"):
        name = f"{machine['core']} ({machine['cores']} cores)"
        limits = (float(latency["min_ms"]), float(latency["p90_ms"]))
        variant, threads = str(latency["variant"]), int(latency["threads"])
        yield _speed(
            file,
            network,
            build,
            (name, float(latency["median_ms"]), "ms", "measured"),
            "host",
            variant,
            threads,
            limits,
        )
    for count in build["arm64"]:
        whole = {"total": count["instructions"], "modelled_cycles": count["modelled_cycles"]}
        for figure in machines_of(count["cpu"], whole):
            yield _speed(file, network, build, figure, "emulated", str(count["variant"]))


def _speed(
    file: File,
    network: Mapping[str, Any],
    build: Mapping[str, Any],
    figure: Figure,
    where: Where,
    variant: str,
    threads: int = 1,
    limits: tuple[float, float] | None = None,
) -> Speed:
    machine, value, unit, kind = figure
    low, high = limits or (None, None)
    return Speed(
        model=network["name"],
        size=int(file.values["size"]),
        runtime=OURS,
        precision=build["precision"],
        machine=machine,
        where=where,
        variant=variant,
        threads=threads,
        kind=kind,
        value=value,
        unit=unit,
        low=low,
        high=high,
        agreement=None,
        weights="random",
        made_by="this project",
        source=file.name,
    )
