"""Reading and checking what measure.sh wrote on a board; the file comes from outside."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compile.storage.strict_json import read_strict
from repghost.errors import IntegrityError

FORMAT, VERSION = "repghost-jetson-measurement", 1
FILE = "jetson-measurement.json"  # beside the bundle
LIMIT = 1 << 16  # bytes
TEXTS = ("model", "weights", "bundle_digest", "board", "power_mode", "jetpack", "tensorrt", "cuda")
TIMES = ("min_ms", "median_ms", "p90_ms", "p99_ms")
STATES = ("throughput_per_s", "gpu_mhz_min", "gpu_mhz_max", "temperature_c", "power_mw")
SIDES = re.compile(r"[1-9]\d{0,4}x[1-9]\d{0,4}")  # a size where height and width differ
SLOWER_CLOCK = 0.9  # of the fastest clock during the run: below it the board throttled


def check_measurement(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a measurement of which every value is of its kind.

    Args:
        values: from JSON.
        name: of the file, for messages.

    Raises:
        IntegrityError: naming what is wrong.
    """
    if values.get("format") != FORMAT or values.get("version") != VERSION:
        raise IntegrityError(f"{name} is no {FORMAT} of version {VERSION}; measure again with ./measure.sh.")
    for key in TEXTS:
        if not isinstance(values.get(key), str) or len(values[key]) > 200:
            raise IntegrityError(f"{name}: {key} is {values.get(key)!r:.80}; it has to be a text.")
    size = values.get("size")
    for key in ("batch",) if isinstance(size, str) and SIDES.fullmatch(size) else ("size", "batch"):
        if type(values.get(key)) is not int or not 0 < values[key] < 1 << 14:
            raise IntegrityError(f"{name}: {key} is {values.get(key)!r:.80}; it has to be a whole number above 0.")
    results = values.get("results")
    if not isinstance(results, list) or not results or not all(isinstance(result, Mapping) for result in results):
        raise IntegrityError(f"{name} has no results; measure again with ./measure.sh.")
    for result in results:
        if result.get("precision") not in ("int8", "fp16"):
            raise IntegrityError(f"{name}: precision {result.get('precision')!r:.80}; allowed: int8, fp16.")
        for key in (*TIMES, *STATES):
            _check_number(result.get(key), key, name, needed=key in ("min_ms", "median_ms"))
    return values


def _check_number(value: Any, key: str, name: str, needed: bool) -> None:
    if value is None and not needed:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not 0 < value < 1e7:
        raise IntegrityError(f"{name}: {key} is {value!r:.80}; it has to be a number above 0.")


def read_measurement(folder: Path, bundle_digest: str) -> Mapping[str, Any] | None:
    """Return the measurement that lies beside a bundle, None where there is none or it is of another bundle.

    Raises:
        IntegrityError: when it is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    values = check_measurement(read_strict(path, LIMIT), str(path))
    return values if values["bundle_digest"] == bundle_digest else None


def throttled(result: Mapping[str, Any]) -> bool | None:
    """Return whether the GPU's clock fell while measuring; None where the board did not say its clock."""
    slowest, fastest = result["gpu_mhz_min"], result["gpu_mhz_max"]
    return None if slowest is None or fastest is None else bool(slowest < SLOWER_CLOCK * fastest)
