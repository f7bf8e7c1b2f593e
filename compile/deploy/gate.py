"""The accuracy gate of a deployment: a bundle needs a passing record of its own accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compile.bundle.manifest import Bundle
from compile.targets.precisions import INT8
from repghost.errors import AccuracyGateError, option

DROP_LIMIT_POINTS = 2.0  # percentage points of top-1 that a build may lose against the float network


def check_gate(bundle: Bundle, limit_points: float = DROP_LIMIT_POINTS) -> str:
    """Return what the accuracy record of a bundle says, when it lets the bundle pass.

    Args:
        bundle: from `check_bundle`.
        limit_points: percentage points of top-1 that may be lost against the float network.

    Raises:
        AccuracyGateError: when accuracy was not measured, belongs to another program, is no better than guessing, or
            is lower than allowed.
    """
    reason = refusal(bundle.manifest, limit_points)
    if reason:
        raise AccuracyGateError(
            f"{bundle.path} may not be deployed: {reason}. Compile it with labelled pictures "
            f"({option('data', 'DIR')}), or say {option('accept_unmeasured', True)}."
        )
    evaluated = _evaluated(bundle.manifest, bundle.manifest["accuracy"])
    return f"top-1 {evaluated['top1']:.2%}" if evaluated else "measured"


def refusal(manifest: Mapping[str, Any], limit_points: float) -> str:
    """Return why a manifest's record does not pass; empty when it does."""
    accuracy = manifest["accuracy"]
    if accuracy.get("measured") is not True:
        return "its accuracy was not measured"
    evaluated = _evaluated(manifest, accuracy)
    if evaluated is None:
        return f"its record says nothing about the {manifest['precision']} build"
    if manifest["precision"] == INT8.name and accuracy.get("program_digest") != manifest["program_digest"]:
        return "its accuracy record belongs to another program"
    if not evaluated["low"] > 1 / manifest["classes"]:
        return f"it is no better than guessing: top-1 {evaluated['top1']:.2%} of {manifest['classes']} classes"
    before = _record(accuracy.get("fp32"))
    lost = 100 * (before["top1"] - evaluated["top1"]) if before else 0.0
    if not lost <= limit_points:
        return f"it loses {lost:.2f} points of top-1, and at most {limit_points:g} are allowed ({option('max_drop')})"
    return ""


def _evaluated(manifest: Mapping[str, Any], accuracy: Mapping[str, Any]) -> dict[str, float] | None:
    key = INT8.name if manifest["precision"] == INT8.name else f"{manifest['precision']}_build"
    return _record(accuracy.get(key))


def _record(value: Any) -> dict[str, float] | None:
    """Return the shares of a record, None when it has none."""
    if not isinstance(value, dict):
        return None
    shares = {key: float(value[key]) for key in ("top1", "low") if type(value.get(key)) in (int, float)}
    return shares if len(shares) == 2 and all(0 <= share <= 1 for share in shares.values()) else None
