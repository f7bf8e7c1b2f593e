"""The result of verifying a bundle: the instruction sets whose logits equal the recorded ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from compile.bundle.manifest import Bundle
from repghost.terminal import Shown


@dataclass(frozen=True)
class Replay:
    """A replay of the vectors by one instruction set, which gave the recorded logits within the tolerance."""

    variant: str
    machine: str
    emulated: bool
    pictures: int
    tolerance: float  # 0: equal to the bit
    largest_difference: float

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return dict(vars(self))


@dataclass(frozen=True)
class Skipped:
    """An instruction set that could not be run here."""

    variant: str
    reason: str


@dataclass(frozen=True, repr=False)
class Verification(Shown):
    """A verified bundle: a replay that differs raises instead."""

    bundle: Bundle
    replays: tuple[Replay, ...]
    skipped: tuple[Skipped, ...]

    def __repr__(self) -> str:
        lines = [f"{it.variant}: {it.pictures} pictures as recorded, on {it.machine}" for it in self.replays]
        lines += [f"{it.variant}: not run here: {it.reason}" for it in self.skipped]
        return "\n".join([f"verified: {self.bundle.path}, bundle {self.bundle.digest[:12]}", *lines])

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "bundle_digest": self.bundle.digest,
            "replays": [replay.to_dict() for replay in self.replays],
            "not_run": [dict(vars(skipped)) for skipped in self.skipped],
        }
