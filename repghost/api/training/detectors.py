"""What the functions of detectors return: a trained one, its average precision, its file."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repghost.detection.checkpoint import Detector
from repghost.detection.evaluate import Precision, Scores
from repghost.detection.state import DetectionEpoch
from repghost.errors import option
from repghost.terminal import Shown


@dataclass(frozen=True, eq=False, repr=False)
class TrainedDetector(Shown):
    """What `repghost.train_detector` made.

    Attributes:
        detector: the network, with its recipe and the names of its classes.
        path: of its file; log and state lie beside it.
        history: a record of each epoch, with its average precision where a split judges.
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
        return [f"average precision: {found}", f"written: {self.path}"]

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
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return dataclasses.asdict(self.scores)


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
