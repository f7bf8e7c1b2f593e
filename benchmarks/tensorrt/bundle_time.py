"""How long a bundle takes once the network is quantized."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.shared.goals import JETSON_BUNDLE
from compile.machine.facts import describe_machine
from compile.subject.request import Request
from compile.targets.precisions import INT8
from compile.tensorrt.pipeline import run

QUANTIZED = "calibrate"  # begins the line of the last stage before the bundle is made


def time_bundle(width: str, size: int) -> dict[str, Any]:
    """Return the seconds from the quantized network to the verified bundle and its report, for random weights.

    By the clock, and of processor time: what it takes by the clock on a free core.

    Args:
        width: multiplier, e.g. "2".
        size: pixels.
    """
    lines: list[tuple[str, float, float]] = []
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="repghost-jetson-") as folder:
        request = Request("jetson", (INT8,), weights="random", width=width, size=size, output=Path(folder))
        run(request, lambda line: lines.append((line, time.monotonic(), time.process_time())))
    quantized = next(line for line in lines if line[0].startswith(QUANTIZED))
    machine = describe_machine()
    return {
        "width": width,
        "size": size,
        "seconds": round(lines[-1][1] - quantized[1], 1),
        "processor_seconds": round(lines[-1][2] - quantized[2], 1),
        "limit_seconds": JETSON_BUNDLE.limit,
        "load": [round(before, 2), round(os.getloadavg()[0], 2)],
        "machine": {key: machine[key] for key in ("core", "cores", "system")},
    }
