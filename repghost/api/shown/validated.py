"""What `repghost.validate` and `repghost.validate_widths` return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from repghost.api.shown.mistakes import confusion_lines
from repghost.api.shown.results import Evaluation
from repghost.terminal import Shown
from repghost.validation.published_widths import WidthRow
from repghost.validation.tables import class_table, network_table, width_table
from repghost.validation.validate import Validation


@dataclass(frozen=True, repr=False)
class Validated(Shown):
    """Networks on the same images, each compared with the first.

    Attributes:
        data: of the set.
        split: that was read.
        measured: what was counted: top-1 and top-5 with intervals, loss, right answers of each class, paired changes.
        evaluation: where mistakes were asked for: those of the network's last form, and its confusion matrix.
    """

    data: str
    split: str
    measured: Validation
    evaluation: Evaluation | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of how the set was read."""
        return self.measured.notes

    @property
    def broken(self) -> tuple[str, ...]:
        """Messages for images that could not be decoded."""
        return self.measured.broken

    def lines(self, per_class: bool = False) -> list[str]:
        """Return a table of the networks, and one of the classes where it is asked for."""
        lines = network_table(self.measured)
        lines += ["", *class_table(self.measured)] if per_class else []
        lines += ["", *confusion_lines(self.evaluation), ""] if self.evaluation is not None else []
        return [*lines, f"{sum(self.measured.images)} pictures, broken: {len(self.broken)}"]

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        seen = {} if self.evaluation is None else {"evaluation": self.evaluation.to_dict()}
        return {"data": self.data, "split": self.split} | self.measured.to_dict() | seen


@dataclass(frozen=True, repr=False)
class ValidatedWidths(Shown):
    """Every published width, beside what was measured of it.

    Attributes:
        data: of the set.
        rows: one for each width; one without a checkpoint was not measured.
    """

    data: str
    rows: tuple[WidthRow, ...]

    @property
    def _measured(self) -> list[Validation]:
        return [row.measured for row in self.rows if row.measured is not None]

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of how the set was read, each note once."""
        return tuple(dict.fromkeys(note for found in self._measured for note in found.notes))

    @property
    def broken(self) -> tuple[str, ...]:
        """Messages for images that could not be decoded, each once."""
        return tuple(dict.fromkeys(message for found in self._measured for message in found.broken))

    def __repr__(self) -> str:
        return "\n".join(width_table(self.rows))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {"data": self.data, "widths": [row.to_dict() for row in self.rows]}
