"""States of detection training, as they are written and read."""

from __future__ import annotations

from pathlib import Path

import torch

from repghost.detection.evaluate import Precision
from repghost.detection.recipe import DetectionRecipe
from repghost.detection.state import DetectionEpoch, DetectionState, read_state, write_state


def test_the_history_of_a_long_run_is_read_back(tmp_path: Path) -> None:
    found = Precision(*[0.123456789012345] * 7)
    parts = {"classification": 0.123456789012345, "bbox_regression": 0.123456789012345}
    history = tuple(DetectionEpoch(epoch, 1.5, parts, 0.01, 2.0, 3.0, found, found) for epoch in range(1, 3001))
    model = {"weight": torch.ones(2)}
    state = DetectionState(DetectionRecipe(), ("cat", "dog"), history, 0, 1, {}, 0.0, model, {"state": {}})
    write_state(tmp_path / "state.pt", state)
    again = read_state(tmp_path / "state.pt")
    assert (again.recipe, again.categories, again.history) == (state.recipe, state.categories, history)
