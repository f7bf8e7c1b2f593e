"""The records of detection training, and the form of its state."""

from __future__ import annotations

from dataclasses import dataclass

from repghost.detection.evaluate import Precision
from repghost.detection.recipe import DetectionRecipe
from repghost.training.recipe_parts import Weights
from repghost.training.state.state import StateForm

VERSION = 2


@dataclass(frozen=True)
class DetectionEpoch:
    """One line of the log."""

    epoch: int  # from 1
    loss: float  # mean over the batches and processes, the sum of the parts
    parts: dict[str, float]  # e.g. classification, bbox_regression
    learning_rate: float  # of the last step
    seconds: float
    pictures_per_second: float
    boxes: Precision | None = None  # of the weights that are kept; None: not evaluated
    masks: Precision | None = None
    weights: Weights = "raw"  # those that are kept: the better ones of this epoch
    raw_ap: float | None = None  # AP of boxes with the weights that are not averaged, where both are evaluated
    averaged_ap: float | None = None  # and with the averaged ones
    broken_pictures: int = 0  # so far


FORM = StateForm(VERSION, "a state of detection training", DetectionRecipe.from_dict, DetectionEpoch)
