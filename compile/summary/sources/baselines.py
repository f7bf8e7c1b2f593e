"""docs/baselines.json: other networks through the same compiler, of random weights; measured here and counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from compile.storage import formats
from compile.summary.facts import Speed
from compile.summary.sources import File, Learned, measured_ms, pixels
from compile.summary.sources.count import counted

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
    known: dict[str, Any] = {
        "model": network["name"],
        "size": pixels(file.values["size"]),
        "precision": build["precision"],
        "weights": "random",
        "source": file.name,
    }
    if latency.get("measured"):
        name, threads = f"{machine['core']} ({machine['cores']} cores)", int(latency["threads"])
        variant = str(latency["variant"])
        yield Speed(**known, **measured_ms(latency), machine=name, where="host", variant=variant, threads=threads)
    for count in build["arm64"]:
        whole = {**count, "total": count["instructions"]}
        for figure in counted(count["cpu"], whole):
            yield Speed(**known, **figure, variant=str(count["variant"]))
