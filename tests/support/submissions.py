"""What somebody could have measured on a Raspberry Pi 4, and the report of the run that did."""

from __future__ import annotations

from typing import Any

from compile.storage.formats import BOARD_LATENCY, REPORT
from compile.summary.submission import Judged, Result, Submission

CORE = "Raspberry Pi 4 Model B Rev 1.4 [brcm,bcm2711] Cortex-A72 (4 cores)"
ADDRESS = "pi@raspberry-10000000abcdef.local:repghost"


def submission(median_ms: float = 8.0, target: str = "arm64") -> Submission:
    """A board's submission: 0.5x in int8 with its accuracy there."""
    result = Result("repghostnet_0_5x", 224, target, "int8", "neon", 1, "", 300, 7.5, median_ms, 9.0, False,
                    (1800, 1800), (50.0, 61.25), Judged(100, 97, 100))  # fmt: skip
    return Submission("raspberry-pi-4", "brcm,bcm2711", "Cortex-A72", "performance", "2026-11-30", "0.1.0", (result,))


def latency(**changes: Any) -> dict[str, Any]:
    """A latency as `compile.deploy.measure` writes it."""
    state = {"clock_khz": 1_800_000, "temperature_c": 50.0}
    return {
        "min_ms": 7.5, "median_ms": 8.0, "p90_ms": 9.0, "runs": 300, "warmup": 30, "threads": 1, "variant": "neon",
        "core": CORE, "clock": "governor performance", "before": state, "after": state, "throttled": False,
        "runner": {"path": "/home/pi/repghost"}, **changes,
    }  # fmt: skip


JUDGED_THERE = {"pictures": 100, "correct": 97, "equal": 100, "data": "/home/ann/cats", "top1": 0.97}


def run_report(board: str = ADDRESS, model: str = "repghostnet_0_5x", **changes: Any) -> dict[str, Any]:
    """The report of a run whose int8 build a board measured."""
    build = {"target": "arm64", "precision": "int8", "boards": [{"board": board, **latency(**changes)}],
             "judged_on_boards": [{"board": board, **JUDGED_THERE}]}  # fmt: skip
    return {"format": REPORT[0], "version": REPORT[1], "model": {"name": model}, "preprocess": {"size": 224},
            "builds": [build], "folder": "build/net", "programs": {}}  # fmt: skip


def bench_json(board: str = ADDRESS) -> dict[str, Any]:
    """What `repghost bench --on --json` writes: one build measured, one not."""
    entry = {"board": board, "bundle": "/home/ann/build/net/arm64/int8", "model": "repghostnet_0_5x", "size": 224,
             "target": "arm64", "precision": "int8"}  # fmt: skip
    results = [{**entry, "measured": True, "latencies": [latency()], "accuracy": JUDGED_THERE},
               {**entry, "measured": False, "reason": "no route to host"}]  # fmt: skip
    return {"format": BOARD_LATENCY[0], "version": BOARD_LATENCY[1], "results": results}
