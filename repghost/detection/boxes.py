"""A light detector's boxes: the definition of `find_boxes`, with the errors that this package's users are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from repghost.detection.find_boxes import (
    MOST_CLASSES,
    Boxes,
    Level,
    Rule,
    decode,
    exponential,
    find_boxes,
    probabilities,
)
from repghost.errors import UsageError

__all__ = ["MOST_CLASSES", "BoxRule", "Boxes", "Level", "decode", "exponential", "find_boxes", "probabilities"]


@dataclass(frozen=True)
class BoxRule(Rule):
    """Everything that turns a detector's numbers into boxes, see `Rule`.

    Raises:
        UsageError: when a value is out of range.
    """

    def __post_init__(self) -> None:
        """Check every value."""
        try:
            super().__post_init__()
        except ValueError as error:
            raise UsageError(str(error)) from error

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BoxRule:
        """Return the rule that `to_dict` wrote.

        Raises:
            UsageError: for another version, a missing or unknown key, or a value out of range.
        """
        try:
            rule = Rule.from_dict(values)
        except ValueError as error:
            raise UsageError(str(error)) from error
        return cls(rule.classes, rule.levels, rule.score, rule.overlap, rule.candidates, rule.detections)
