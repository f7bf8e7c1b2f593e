"""What boards or a browser measured: JSON of `repghost bench --on --json`, or saved by the page of `repghost demo`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from compile.storage import formats
from compile.summary.facts import Missing, Speed
from compile.summary.sources import File, Learned, measured_ms, pixels
from compile.targets.precisions import PRECISIONS
from repghost.errors import IntegrityError
from repghost.terminal import escape

FORMAT, VERSION = formats.BOARD_LATENCY
LONGEST_MS = 1e7
AGAIN = "open the page of 'repghost demo' again, and keep its tab in front"


def read(file: File) -> Learned:
    """Return the latencies; what was not measured, or in a hidden tab, is missing.

    Raises:
        IntegrityError: when a value is none of its kind.
    """
    file.require_version(VERSION, "measure again")
    speeds, missing, machines = [], [], []
    for entry in file.values["results"]:
        name = f"{_text(entry['model'])}, {_text(entry['precision'])}"
        if not entry["measured"]:
            where = _text(entry["board"])
            missing.append(
                Missing(f"latency of {name} on {where}: {_text(entry['reason'])}", "repghost bench BUNDLE --on")
            )
            continue
        for latency in entry["latencies"]:
            machines.append(_text(latency["core"]))
            if latency["runner"].get("hidden"):
                missing.append(Missing(f"latency of {name} on {machines[-1]}: the tab was hidden meanwhile", AGAIN))
            else:
                speeds.append(_speed(file, entry, latency))
    about = f"measured on {', '.join(dict.fromkeys(machines)) or 'no machine'}"
    return Learned(about=about, speeds=tuple(speeds), missing=tuple(missing))


def _speed(file: File, entry: Mapping[str, Any], latency: Mapping[str, Any]) -> Speed:
    times = [latency[name] for name in ("min_ms", "median_ms", "p90_ms")]
    in_order = all(type(it) in (int, float) and math.isfinite(it) for it in times) and times == sorted(times)
    if not in_order or not 0 < times[0] <= times[-1] < LONGEST_MS:
        raise IntegrityError(f"{file.name}: min_ms, median_ms and p90_ms are no times in order: {str(times)[:80]}.")
    if entry["precision"] not in PRECISIONS or type(latency["threads"]) is not int:
        given = f"{_text(entry['precision'])}, {_text(latency['threads'])}"
        raise IntegrityError(f"{file.name}: precision and threads are {given}; one of them is none of ours.")
    return Speed(
        **measured_ms(latency),
        model=_text(entry["model"]),
        size=pixels(entry["size"]),
        precision=entry["precision"],
        machine=_text(latency["core"]),
        where="board",
        variant=_text(latency["variant"]),
        threads=latency["threads"],
        weights=_text(latency["runner"].get("weights", "unnamed")),
        source=file.name,
    )


def _text(value: object) -> str:
    """Return what a file calls something, safe to show."""
    return escape(value, 120)
