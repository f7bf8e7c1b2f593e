"""Candidates for the file that is written: the calibrated network and what training made of it, evaluated as integers.

A network replaces the one before it only where it is significantly better: its training objective on held-out images
is lower by more than two standard errors of the paired difference, and its top-1 is not lower. Top-1 alone does not
tell: some 30 of 2,000 predictions differ from the float network's, and which ones they are is chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from calib.qat.settings import QatSettings
from calib.settings.quantspec import QuantSpec
from calib.simulate.exact import ExactNetwork
from repghost.data.images.preprocess import Preprocess
from repghost.graph.operators import Graph

SIGNIFICANT = 2.0  # standard errors of a paired difference
VALIDATION_PIXELS = 1 << 18  # of one batch


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Images that only choose between candidates.

    Attributes:
        images: uint8 [N, height, width, channels].
        labels: int64 [N].
        float_logits: float32 [N, classes], of the float network.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    float_logits: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Score:
    """How good the integer program of a candidate is on the held-out images.

    Attributes:
        top1: share of correct predictions.
        loss: mean cross-entropy with the labels.
        agreement: share of predictions that equal the float network's.
        divergence: mean Kullback-Leibler divergence of the class probabilities from the float network's, in nats.
        objective: what training minimizes, for each image, float64 [N].
    """

    top1: float
    loss: float
    agreement: float
    divergence: float
    objective: NDArray[np.float64]

    def better_than(self, other: Score) -> bool:
        """Return whether the objective is significantly lower and top-1 not lower."""
        gain = other.objective - self.objective
        error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else 0.0
        return self.top1 >= other.top1 and bool(gain.mean() > SIGNIFICANT * error)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A quantized network and its score.

    Attributes:
        name: "calibrated", or the epoch it comes from.
        graph: its operators.
        spec: its scales.
        score: on the held-out images.
    """

    name: str
    graph: Graph
    spec: QuantSpec
    score: Score

    def to_dict(self) -> dict[str, Any]:
        """Return what the file records about it."""
        score = self.score
        return {
            "name": self.name,
            "top1": score.top1,
            "loss": score.loss,
            "agreement": score.agreement,
            "divergence": score.divergence,
        }


def choose(candidates: Sequence[Candidate]) -> Candidate:
    """Return what is left when each candidate in turn replaces the one chosen before it where it is better."""
    chosen = candidates[0]
    for candidate in candidates[1:]:
        chosen = candidate if candidate.score.better_than(chosen.score) else chosen
    return chosen


def evaluate(
    name: str, graph: Graph, spec: QuantSpec, held_out: HeldOut, preprocess: Preprocess, settings: QatSettings
) -> Candidate:
    """Return a candidate with its score, computed in the integers of the compiled program.

    Args:
        name: of the candidate.
        graph: its operators.
        spec: its scales.
        held_out: the images that it is evaluated on.
        preprocess: the one of these images.
        settings: the objective of the training.

    Raises:
        UsageError: when an accumulator could leave its type.
    """
    network = ExactNetwork(graph, spec)
    step = max(1, VALIDATION_PIXELS // preprocess.pixels)
    parts = [
        network(torch.from_numpy(preprocess.normalize(held_out.images[start : start + step])))
        for start in range(0, len(held_out.labels), step)
    ]
    return Candidate(name, graph, spec, score(torch.cat(parts).double(), held_out, settings))


def score(logits: torch.Tensor, held_out: HeldOut, settings: QatSettings) -> Score:
    """Return the score of logits on the held-out images.

    Args:
        logits: float64 [N, classes].
        held_out: the images they belong to.
        settings: share and temperature of the distillation in the objective.
    """
    wanted, labels = torch.from_numpy(held_out.float_logits).double(), torch.from_numpy(held_out.labels)
    losses = F.cross_entropy(logits, labels, reduction="none")
    share, temperature = settings.distillation, settings.temperature
    distances = temperature**2 * _divergences(logits / temperature, wanted / temperature)
    predictions = logits.argmax(1)
    return Score(
        top1=float((predictions == labels).double().mean()),
        loss=float(losses.mean()),
        agreement=float((predictions == wanted.argmax(1)).double().mean()),
        divergence=float(_divergences(logits, wanted).mean()),
        objective=(share * distances + (1.0 - share) * losses).numpy(),
    )


def _divergences(given: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return the divergence of each image's class probabilities, float64 [N]."""
    distances = F.kl_div(F.log_softmax(given, 1), F.log_softmax(wanted, 1), reduction="none", log_target=True)
    return distances.sum(1)
