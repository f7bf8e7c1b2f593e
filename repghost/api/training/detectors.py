"""What the functions of detectors return: a trained one, its average precision, its file."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repghost.detection.checkpoint import Detector
from repghost.detection.evaluate import Precision, Scores
from repghost.detection.intervals import interval
from repghost.detection.state import DetectionEpoch
from repghost.errors import UsageError, option
from repghost.terminal import Shown, escape


@dataclass(frozen=True, eq=False, repr=False)
class TrainedDetector(Shown):
    """What `repghost.train_detector` made.

    Attributes:
        detector: the network, with its recipe and the names of its classes.
        path: of its file; log and state lie beside it.
        history: a record of each epoch, with its average precision where there is a split to evaluate on.
        notes: what to know of images, weights and settings.
    """

    detector: Detector
    path: Path
    history: tuple[DetectionEpoch, ...]
    notes: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """What a run says at its end."""
        boxes = self.history[-1].boxes
        found = f"not measured; give {option('val_split')}" if boxes is None else (
            f"boxes {percent(boxes.ap)}, at overlap 0.5 {percent(boxes.ap50)}"
        )  # fmt: skip
        broken = self.history[-1].broken_pictures
        left_out = [f"broken pictures left out: {broken}"] if broken else []
        return [f"average precision: {found}", *left_out, f"written: {self.path}"]

    def __repr__(self) -> str:
        return "\n".join(self.lines)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        history = [dataclasses.asdict(record) for record in self.history]
        recipe = self.detector.recipe.to_dict()
        return {"path": str(self.path), "recipe": recipe, "history": history, "notes": list(self.notes)}


@dataclass(frozen=True, repr=False)
class DetectorEvaluation(Shown):
    """How good a detector is on one split, as COCO defines it.

    Attributes:
        scores: images, objects, and average precision and recall of boxes and masks.
        notes: what to know of how the set was read.
    """

    scores: Scores
    notes: tuple[str, ...]

    @property
    def boxes(self) -> Precision:
        """Of the boxes."""
        return self.scores.boxes

    @property
    def masks(self) -> Precision | None:
        """Of the masks; None where the detector gives none."""
        return self.scores.masks

    def __repr__(self) -> str:
        lines = [f"{self.scores.pictures} pictures, {self.scores.objects} objects"]
        for kind, figures in (("boxes", self.boxes), ("masks", self.masks)):
            if figures is not None:
                values = dataclasses.asdict(figures).items()
                shown = "  ".join(f"{name} {'-' if value is None else format(value, '.4f')}" for name, value in values)
                lines.append(f"{kind}: {shown}")
        for name, (low, high) in self.intervals.items():
            lines.append(f"{name} of boxes, 95 % of the draws: {low:.4f} .. {high:.4f}")
        lines += [
            f"  {escape(name)}: ap50 {'-' if ap is None else format(ap, '.4f')}" for name, ap in self.scores.classes
        ]
        return "\n".join(lines)

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The middle 95 % of AP and AP50 of boxes over images drawn anew; empty without draws or objects."""
        drawn = None if self.boxes.ap is None else self.scores.resampled
        return {} if drawn is None else {"ap": interval(drawn.ap), "ap50": interval(drawn.ap50)}

    def change(self, before: DetectorEvaluation) -> tuple[float, float, float]:
        """Return by how much AP50 differs from another detector's on the same images, and the interval of that.

        Args:
            before: evaluated on the same split, with as many draws.

        Raises:
            UsageError: when one of them was evaluated without draws, or on other images.
        """
        mine, theirs = self.scores.resampled, before.scores.resampled
        if mine is None or theirs is None or len(mine.ap50) != len(theirs.ap50):
            raise UsageError("both evaluations need as many draws; give resamples= the same number above 0.")
        if self.boxes.ap50 is None or before.boxes.ap50 is None or self.scores.pictures != before.scores.pictures:
            raise UsageError("both evaluations have to be of the same split, with objects.")
        return self.boxes.ap50 - before.boxes.ap50, *interval(mine.ap50 - theirs.ap50)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        values = dataclasses.asdict(dataclasses.replace(self.scores, resampled=None))
        del values["resampled"]
        return {**values, "classes": dict(self.scores.classes), "intervals": self.intervals}


@dataclass(frozen=True, repr=False)
class ExportedDetector(Shown):
    """A detector as a file.

    Attributes:
        path: of the file.
        size_bytes: of the file.
        outputs: their names.
    """

    path: Path
    size_bytes: int
    outputs: tuple[str, ...]

    def __repr__(self) -> str:
        return f"written: {self.path} ({self.size_bytes / 1e6:.1f} MB); gives {', '.join(self.outputs)}"

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {"path": str(self.path), "size_bytes": self.size_bytes, "outputs": list(self.outputs)}


def percent(value: float | None) -> str:
    """Return a share in percent; None where there is nothing to measure it on."""
    return "none there" if value is None else f"{value:.2%}"
