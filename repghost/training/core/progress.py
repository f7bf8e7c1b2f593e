"""How far an unfinished epoch has come."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from repghost.errors import UsageError
from repghost.untrusted import parse_json

RIGHT = "right"  # the sum of right predictions


@dataclass(frozen=True)
class Progress:
    """Sums over the batches of an unfinished epoch, of one process."""

    batches: int = 0
    loss: float = 0.0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)  # of what a task counts, by name


def read_progress(text: str) -> Progress:
    """Return the progress in a state's JSON; earlier states have right predictions alone, under a key of their own.

    Raises:
        UsageError: when it is something else.
    """
    values = parse_json(text, "its progress")
    if not isinstance(values, dict):
        raise UsageError("its progress is no object.")
    if RIGHT in values:
        values["sums"] = {RIGHT: values.pop(RIGHT)}
    return msgspec.convert(values, Progress)
