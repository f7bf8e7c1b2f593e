"""Candidates for the file that is written: the calibrated network and what training made of it, evaluated as integers.

A network replaces the one before it only where it is significantly better: its training objective on held-out images
is lower by more than two standard errors of the paired difference, and its top-1, of a detector its AP50, is not lower.
Top-1 alone does not tell: some 30 of 2,000 predictions differ from the float network's, and which ones is chance.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from calib.qat.settings import QatSettings
from calib.settings.quantspec import QuantSpec
from calib.simulate.exact import ExactNetwork
from repghost.data.images.preprocess import Preprocess
from repghost.distributed.ranks import Ranks
from repghost.graph.operators import Graph
from repghost.training.losses import distance
from repghost.training.recipe_parts import SOFT

SIGNIFICANT = 2.0  # standard errors of a paired difference
VALIDATION_PIXELS = 1 << 18  # of one batch
Quantization = tuple[Graph, QuantSpec]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Images that only choose between candidates.

    Attributes:
        images: uint8 [N, height, width, channels].
        labels: int64 [N].
        float_logits: float32 [N, classes], of the float network.
        teacher_logits: float32 [N, classes], of the teacher; None where that is the float network.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    float_logits: NDArray[np.float32]
    teacher_logits: NDArray[np.float32] | None = None


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

    @property
    def metric(self) -> float:
        """Top-1, which must not fall."""
        return self.top1

    def to_dict(self) -> dict[str, float]:
        """Return what the file records about it."""
        return {name: getattr(self, name) for name in ("top1", "loss", "agreement", "divergence")}

    def __str__(self) -> str:
        return f"top-1 {self.top1:.2%}, loss {self.loss:.4f}, as float {self.agreement:.2%}"


@dataclass(frozen=True, eq=False)
class BoxScore:
    """How good the integer program of a detector is on the held-out images.

    Attributes:
        ap50: average precision of boxes at an overlap of 0.5.
        loss: mean of the detector's loss.
        objective: what training minimizes, for each image, float64 [N].
    """

    ap50: float
    loss: float
    objective: NDArray[np.float64]

    @property
    def metric(self) -> float:
        """AP50, which must not fall."""
        return self.ap50

    def to_dict(self) -> dict[str, float]:
        """Return what the file records about it."""
        return {name: getattr(self, name) for name in ("ap50", "loss")}

    def __str__(self) -> str:
        return f"AP50 {self.ap50:.2%}, loss {self.loss:.4f}"


AnyScore = Score | BoxScore


def is_better(score: AnyScore, other: AnyScore) -> bool:
    """Return whether the objective is significantly lower, and top-1 or AP50 not lower."""
    gain = other.objective - score.objective
    error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else 0.0
    return score.metric >= other.metric and bool(gain.mean() > SIGNIFICANT * error)


class Evaluator(Protocol):
    """Held-out images that only choose between candidates, and the score of a network on them."""

    @property
    def images(self) -> NDArray[np.uint8]:
        """What a network is given, uint8 [N, height, width, channels]."""
        ...

    def score(self, logits: torch.Tensor) -> AnyScore:
        """Return how good a network's float64 [N, numbers] are."""
        ...


@dataclass(frozen=True, eq=False)
class Candidate:
    """What is known of a quantized network that could be written.

    Attributes:
        name: "calibrated", or the epoch it comes from.
        score: on the held-out images.
    """

    name: str
    score: AnyScore

    def to_dict(self) -> dict[str, Any]:
        """Return what the file records about it."""
        return {"name": self.name, **self.score.to_dict()}


@dataclass(eq=False)
class Candidates:
    """The candidates of a run as they come; each in turn replaces the one chosen before it where it is better.

    Attributes:
        evaluator: the images that they are evaluated on, and how.
        preprocess: the one of these images.
        ranks: this process among the others, each of which evaluates a share of the images.
        found: all of them, in order.
        chosen: the one that is left.
        network: its graph and scales.
    """

    evaluator: Evaluator
    preprocess: Preprocess
    ranks: Ranks
    found: list[Candidate] = field(default_factory=list)
    chosen: Candidate | None = None
    network: Quantization | None = None

    def add(self, name: str, graph: Graph, spec: QuantSpec) -> Candidate:
        """Evaluate a quantized network in the integers of the compiled program, and return its score.

        Raises:
            UsageError: when an accumulator could leave its type.
        """
        network, images = ExactNetwork(graph, spec), self.evaluator.images
        begin, end = ((self.ranks.rank + one) * len(images) // self.ranks.count for one in (0, 1))
        own = images[begin:end]
        step = max(1, VALIDATION_PIXELS // self.preprocess.pixels)
        parts = [
            network(torch.from_numpy(self.preprocess.normalize(own[start : start + step])))
            for start in range(0, len(own), step)
        ]
        everything = [part for process in self.ranks.gather(parts) for part in process]
        candidate = Candidate(name, self.evaluator.score(torch.cat(everything).double()))
        self.found.append(candidate)
        if self.chosen is None or is_better(candidate.score, self.chosen.score):
            self.chosen, self.network = candidate, (graph, spec)
        return candidate


@dataclass(frozen=True, eq=False)
class ClassEvaluator:
    """The `Evaluator` of a classifier.

    Attributes:
        held_out: the images.
        settings: the objective of the training.
    """

    held_out: HeldOut
    settings: QatSettings

    @property
    def images(self) -> NDArray[np.uint8]:
        """The held-out ones."""
        return self.held_out.images

    def score(self, logits: torch.Tensor) -> Score:
        """Return the score of logits."""
        return score(logits, self.held_out, self.settings)


def score(logits: torch.Tensor, held_out: HeldOut, settings: QatSettings) -> Score:
    """Return the score of logits on the held-out images.

    Args:
        logits: float64 [N, classes].
        held_out: the images they belong to.
        settings: share, temperature and kind of the distillation in the objective.
    """
    wanted, labels = torch.from_numpy(held_out.float_logits).double(), torch.from_numpy(held_out.labels)
    given = held_out.teacher_logits
    aim = wanted if given is None else torch.from_numpy(given).double()
    losses = F.cross_entropy(logits, labels, reduction="none")
    share, temperature, kind = settings.distillation, settings.temperature, settings.distillation_kind
    factor = temperature**2 if kind == SOFT else 1.0
    distances = factor * distance(logits, aim, temperature, kind, each=True)
    predictions = logits.argmax(1)
    return Score(
        top1=float((predictions == labels).double().mean()),
        loss=float(losses.mean()),
        agreement=float((predictions == wanted.argmax(1)).double().mean()),
        divergence=float(distance(logits, wanted, 1.0, each=True).mean()),
        objective=(share * distances + (1.0 - share) * losses).numpy(),
    )
