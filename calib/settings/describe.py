"""What settings of quantization are in words: which observers found the ranges that a file has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from calib.settings.config import LayerSettings, config_from_dict
from repghost.errors import UsageError

CALIBRATED = "calibrated"  # the candidate of a training under quantization that it began with
UNKNOWN = "observer not recorded in the file"


def describe_observer(settings: LayerSettings) -> str:
    """Return an observer in words, e.g. "percentile 99.9"."""
    return settings.observer + (f" {settings.percentile:g}" if settings.observer == "percentile" else "")


def describe_observers(quantization: Mapping[str, Any]) -> str:
    """Return which observers found the ranges of a network, or what else did.

    Args:
        quantization: "config" as `QuantConfig.to_dict` gives it; "observers" by tensor, where the answers chose another
            one than the config names; "trained", which epoch of a training under quantization was chosen.
    """
    try:
        config = config_from_dict(quantization["config"])
    except UsageError:  # of another program
        return UNKNOWN
    if "observer" not in quantization["config"]:
        return UNKNOWN
    found = [f"observer {describe_observer(config.defaults)}"]
    for pattern, changes in config.layers:
        if changes and {"observer", "percentile"} & set(dict(changes)):
            found.append(f"{describe_observer(replace(config.settings(pattern), **dict(changes)))} for {pattern}")
    counts = Counter(quantization.get("observers", {}).values())
    if counts:
        kinds = ", ".join(f"{kind} for {count}" for kind, count in counts.most_common())
        found.append(
            f"another one for {counts.total()} tensor{'s' * (counts.total() > 1)} where the answers prefer it ({kinds})"
        )
    trained = quantization.get("trained")
    return (f"scales of {trained} under quantization, which began with " if trained else "") + ", ".join(found)
