"""docs/performance.json: this host against other runtimes, and counts of executed arm64 instructions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from compile.storage import formats
from compile.summary.facts import OURS, Agreement, Speed
from compile.summary.sources import File, Learned, measured_ms, pixels
from compile.summary.sources.count import of_result

FORMAT, VERSION = formats.PERFORMANCE
BENCH_FORMAT, BENCH_VERSION = formats.BENCH
RANDOM = "random"  # the weights of what is counted


def read(file: File) -> Learned:
    """Return every build that was timed, and every one whose instructions were counted.

    Raises:
        IntegrityError: when it is of another version.
    """
    file.require_version(VERSION, "make it again")
    host, arm64 = (file.values.get(part, {"networks": []}) for part in ("host", "arm64"))
    timed = [speed for network in host["networks"] for speed in _of_network(file, network)]
    counts = [result for network in arm64["networks"] for result in network["counts"]]
    counted = [speed for result in counts for speed in of_result(result, file.name, RANDOM).speeds]
    return Learned(
        about="builds and other runtimes in paired rounds on one machine" + "; counted arm64 builds" * bool(counted),
        speeds=(*timed, *counted),
    )


def read_bench(file: File) -> Learned:
    """Return every build of one network that `repghost bench --json` timed.

    Raises:
        IntegrityError: when it is of another version.
    """
    file.require_version(BENCH_VERSION, "measure again")
    name = file.values["network"]["name"]
    return Learned(
        about=f"builds of {name} and other runtimes in paired rounds on one machine",
        speeds=tuple(_of_network(file, file.values)),
    )


def _of_network(file: File, network: Mapping[str, Any]) -> Iterator[Speed]:
    machine, subject = network["machine"], network["network"]
    for run in network["runs"]:
        for result in run["results"]:
            yield Speed(
                **measured_ms(result),
                model=subject["name"],
                size=pixels(subject["size"]),
                runtime=OURS if result["ours"] else result["runtime"],
                precision=result["precision"],
                machine=f"{machine['core']} ({machine['cores']} cores)",
                where="host",
                variant=result["variant"] or "",
                threads=int(run["threads"]),
                agreement=Agreement.of(result.get("agreement")),
                weights=subject["weights"]["kind"],
                made_by=f"{result['made_by']}{', ' + result['version'] if result['version'] else ''}",
                source=file.name,
            )
