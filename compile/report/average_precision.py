"""Average precision of a detector's bundle, as `repghost detect-validate` measured it, in the report of its run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KEY = "average_precision"  # of a build in report.json, and of jetson.json: a list


def with_entry(earlier: list[dict[str, Any]], entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the entries with a new one, in the place of an earlier one on the same split.

    Args:
        earlier: what was measured before.
        entry: from `repghost.api.training.built_detectors.keep_precision`.
    """
    return [it for it in earlier if (it["data"], it["split"]) != (entry["data"], entry["split"])] + [dict(entry)]


def precision_lines(holder: Mapping[str, Any], name: str) -> list[str]:
    """Return what was measured of a bundle as sentences.

    Args:
        holder: a build of report.json, or jetson.json.
        name: of the bundle, for readers.
    """
    return [
        f"{name}: AP {_share(it['ap'])}, AP50 {_share(it['ap50'])}{_interval(it)} on {it['pictures']} pictures with "
        f"{it['objects']} objects of {it['data']}, split {it['split']}"
        for it in holder.get(KEY, ())
    ]


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.1%}"


def _interval(entry: Mapping[str, Any]) -> str:
    if "ap50" not in entry["intervals"]:
        return ""
    low, high = entry["intervals"]["ap50"]
    return f" (95 % of the draws: {low:.1%} to {high:.1%})"
