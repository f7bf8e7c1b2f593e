"""Candidates for the file that is written: the calibrated network and what training made of it, judged as integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from calib.fakequant import ExactNetwork
from calib.graph import Graph
from calib.quantspec import QuantSpec
from repghost.preprocess import Preprocess

JUDGED_PIXELS = 1 << 18  # of one batch


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Pictures that only choose.

    Attributes:
        pictures: uint8 [N, size, size, 3].
        labels: int64 [N].
        float_answers: int64 [N], of the float network.
    """

    pictures: NDArray[np.uint8]
    labels: NDArray[np.int64]
    float_answers: NDArray[np.int64]


@dataclass(frozen=True)
class Score:
    """How good the integer program of a candidate is on the held-out pictures.

    Attributes:
        top1: share of right answers.
        loss: mean cross-entropy with the labels.
        agreement: share of the float network's answers.
    """

    top1: float
    loss: float
    agreement: float

    def better_than(self, other: Score) -> bool:
        """Return whether more answers are right, or as many with a smaller loss."""
        return (self.top1, -self.loss) > (other.top1, -other.loss)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A quantized network and its score.

    Attributes:
        name: "calibrated", or the epoch it comes from.
        graph: its operators.
        spec: its scales.
        score: on the held-out pictures.
    """

    name: str
    graph: Graph
    spec: QuantSpec
    score: Score

    def to_dict(self) -> dict[str, Any]:
        """Return what the file records about it."""
        score = self.score
        return {"name": self.name, "top1": score.top1, "loss": score.loss, "agreement": score.agreement}


def judge(name: str, graph: Graph, spec: QuantSpec, held_out: HeldOut, preprocess: Preprocess) -> Candidate:
    """Return a candidate with its score, computed in the integers of the compiled program.

    Raises:
        UsageError: when an accumulator could leave its type.
    """
    network = ExactNetwork(graph, spec)
    step = max(1, JUDGED_PIXELS // preprocess.size**2)
    parts = [
        network(torch.from_numpy(preprocess.normalize(held_out.pictures[start : start + step])))
        for start in range(0, len(held_out.labels), step)
    ]
    logits = torch.cat(parts)
    answers = logits.argmax(1).numpy()
    loss = float(F.cross_entropy(logits.double(), torch.from_numpy(held_out.labels)))
    right, same = answers == held_out.labels, answers == held_out.float_answers
    return Candidate(name, graph, spec, Score(float(right.mean()), loss, float(same.mean())))
