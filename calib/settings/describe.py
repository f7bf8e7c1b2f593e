"""Describes quantization settings in words: which observers found the ranges of a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from calib.settings.config import LayerSettings, config_from_dict
from repghost.errors import UsageError

CALIBRATED = "calibrated"  # the candidate that quantization-aware training begins with
UNKNOWN = "observer not recorded in the file"


def describe_observer(settings: LayerSettings) -> str:
    """Return an observer in words, e.g. "percentile 99.9"."""
    return settings.observer + (f" {settings.percentile:g}" if settings.observer == "percentile" else "")


def describe_observers(quantization: Mapping[str, Any]) -> str:
    """Return a sentence's part that says what found the ranges of a network: observers, predictions, or training.

    Args:
        quantization: "config" as `QuantConfig.to_dict` gives it; "observers" by tensor, where predictions chose another
            one than the config names; "trained", the epoch of quantization-aware training that was chosen.
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
