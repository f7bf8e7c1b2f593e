"""What was measured of a bundle later, mostly by boards, in the report of the run that built it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compile.report.average_precision import KEY

BOARDS = "boards"  # the key of a build in report.json that lists the latency boards measured
BOARD_ACCURACY = "judged_on_boards"  # the key that lists the accuracy boards measured
KEPT = (BOARDS, BOARD_ACCURACY, KEY)


def add_to_build(build: dict[str, Any], entry: Mapping[str, Any]) -> bool:
    """Put an entry of a measurement into the build of a report that it belongs to; returns whether it does.

    A build that was not measured before, because it is for another machine, gets its latency from the board. An older
    measurement by the same board and number of threads is replaced, and an older accuracy by the same board.
    """
    if build.get("bundle_digest") != entry["bundle_digest"]:
        return False
    new = [{"board": entry["board"], **latency} for latency in entry["latencies"]]
    replaced = {(it["board"], it["threads"]) for it in new}
    build[BOARDS] = [it for it in build.get(BOARDS, []) if (it["board"], it["threads"]) not in replaced] + new
    if entry.get("accuracy"):
        accuracy = {"board": entry["board"], **entry["accuracy"]}
        others = [it for it in build.get(BOARD_ACCURACY, []) if it["board"] != entry["board"]]
        build[BOARD_ACCURACY] = [*others, accuracy]
    if not build["latency"].get("measured") or "board" in build["latency"]:
        build["latency"] = {"measured": True, **new[0]}
    return True


def carry_over(builds: list[dict[str, Any]], earlier: list[dict[str, Any]]) -> None:
    """Keep what was measured later of bundles that a new run built with the same bytes."""
    known = {build.get("bundle_digest"): build for build in earlier if any(build.get(key) for key in KEPT)}
    for build in builds:
        before = known.get(build["bundle_digest"])
        if before is not None:
            build |= {key: before[key] for key in KEPT if key in before}
            if BOARDS in before and not build["latency"].get("measured"):
                build["latency"] = before["latency"]
