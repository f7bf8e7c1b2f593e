"""What `repghost.train` returns: the network, its checkpoint, and what was measured on the way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repghost.api.quantized import QuantizedNetwork
from repghost.evaluation.accuracy import Accuracy
from repghost.network.model import RepGhostNet
from repghost.terminal import Shown
from repghost.training.recipe import Recipe
from repghost.training.state.state import EpochRecord


@dataclass(frozen=True, eq=False, repr=False)
class Trained(Shown):
    """What `repghost.train` made.

    Attributes:
        model: the network that is kept, in evaluation mode, on the CPU, with its preprocessing and labels.
        path: of its checkpoint; log, plot and state lie beside it.
        recipe: as it suited the images and this machine.
        history: a record of each epoch.
        kept: the record of the epoch whose weights the network has.
        test: top-1 on the test split, with its interval; None where it was not measured.
        untested: why not.
        broken: messages for images that could not be decoded.
        quantized: the network after training under quantization, where that was asked for.
        notes: what to know of images, weights and settings, one sentence each.
    """

    model: RepGhostNet
    path: Path
    recipe: Recipe
    history: tuple[EpochRecord, ...]
    kept: EpochRecord
    test: Accuracy | None
    untested: str
    broken: tuple[str, ...]
    quantized: QuantizedNetwork | None
    notes: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """What a run says at its end."""
        test, kept = self.test, self.kept
        measured = f"not measured, {self.untested}" if test is None else (
            f"{test.top1:.2%} of {test.pictures} (95 %: {test.low:.2%} to {test.high:.2%})"
        )  # fmt: skip
        return [
            f"test top-1: {measured}",
            f"kept: epoch {kept.epoch}, {kept.weights} weights, held-out top-1 {kept.held_out_top1:.2%} of "
            f"{kept.held_out_pictures}",
            f"written: {self.path}",
        ]

    def __repr__(self) -> str:
        return "\n".join([*self.lines, *([] if self.quantized is None else [repr(self.quantized)])])

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "path": str(self.path),
            "recipe": self.recipe.to_dict(),
            "history": [dict(vars(record)) for record in self.history],
            "kept": dict(vars(self.kept)),
            "test": None if self.test is None else self.test.to_dict(),
            "broken": list(self.broken),
            "quantized": None if self.quantized is None else self.quantized.to_dict(),
            "notes": list(self.notes),
        }
