"""How long a bundle takes once the network is quantized."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from compile.machine import describe_machine
from compile.precisions import INT8
from compile.request import Request
from compile.tensorrt.pipeline import run

QUANTIZED = "calibrate"  # begins the line of the last stage before the bundle is made
LIMIT_S = 30.0


def time_bundle(width: str, size: int) -> dict[str, Any]:
    """Return the seconds from the quantized network to the verified bundle and its report, for random weights.

    Args:
        width: multiplier, e.g. "2".
        size: pixels.
    """
    lines: list[tuple[str, float]] = []
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="repghost-jetson-") as folder:
        request = Request("jetson", (INT8,), weights="random", width=width, size=size, output=Path(folder))
        run(request, lambda line: lines.append((line, time.monotonic())))
    quantized = next(when for line, when in lines if line.startswith(QUANTIZED))
    machine = describe_machine()
    return {
        "width": width,
        "size": size,
        "seconds": round(lines[-1][1] - quantized, 1),
        "limit_seconds": LIMIT_S,
        "load": [round(before, 2), round(os.getloadavg()[0], 2)],
        "machine": {key: machine[key] for key in ("core", "cores", "system")},
    }
