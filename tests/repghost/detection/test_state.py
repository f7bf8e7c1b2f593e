"""States of detection training, as they are written and read."""

from __future__ import annotations

from pathlib import Path

import torch

from repghost.detection.evaluate import Precision
from repghost.detection.recipe import DetectionRecipe
from repghost.detection.state import FORM, DetectionEpoch
from repghost.training.core.progress import Progress
from repghost.training.state.state import RunState


def test_the_history_of_a_long_run_is_read_back(tmp_path: Path) -> None:
    found = Precision(*[0.123456789012345] * 7)
    parts = {"classification": 0.123456789012345, "bbox_regression": 0.123456789012345}
    history = tuple(DetectionEpoch(epoch, 1.5, parts, 0.01, 2.0, 3.0, found, found) for epoch in range(1, 3001))
    state = RunState(
        recipe=DetectionRecipe(), classes=("cat", "dog"), history=history, progress=Progress(),
        model={"weight": torch.ones(2)}, average={}, optimizer={"state": {}}, scaler={}, random=(),
    )  # fmt: skip
    FORM.write(tmp_path / "state.pt", state)
    again = FORM.read(tmp_path / "state.pt")
    assert (again.recipe, again.classes, again.history) == (state.recipe, state.classes, history)
