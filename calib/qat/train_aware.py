"""Quantization-aware training from a checkpoint and images to a QDQ file, never worse than the calibrated start.

The start is what `repghost quantize` makes of the same checkpoint and config. It stays a candidate: what is written is
the best of it and of the network after each epoch, by held-out images and in the integers of the compiled program;
where training is not better by more than chance makes it, that is the start.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from calib.ptq.apply import quantize_graph
from calib.qat.branch_weights import BranchWeights
from calib.qat.candidates import Candidate, HeldOut, choose, evaluate
from calib.qat.convertible import check_accumulators
from calib.qat.data import TrainingFeed
from calib.qat.loop import QatStep, prepare_teacher, train_quantized
from calib.qat.network import QatNetwork
from calib.qat.settings import QatSettings
from calib.qat.weights import FusedWeights
from calib.quantize import Quantized, Source, describe_source, write_model
from calib.settings.config import QuantConfig
from calib.settings.describe import CALIBRATED
from calib.settings.quantspec import QuantSpec
from repghost.data.base import Prepared
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError
from repghost.evaluation.accuracy import predict
from repghost.graph.module import GraphModule
from repghost.graph.operators import Graph
from repghost.graph.trace import graph_of
from repghost.network.fuse import fused
from repghost.network.model import RepGhostNet

ALGORITHM = "qat"


@dataclass(frozen=True)
class QatPlan:
    """The settings of both parts of a run.

    Attributes:
        config: how the network that training starts from is calibrated.
        settings: how it is trained.
    """

    config: QuantConfig = field(default_factory=QuantConfig)
    settings: QatSettings = field(default_factory=QatSettings)


@dataclass(frozen=True)
class Hooks:
    """How the caller follows a run; the defaults do nothing.

    Attributes:
        calibrated: called with the number of images of each calibration batch.
        begin: called with the number of training steps.
        step: called after each training step.
        candidate: called with each candidate once it is evaluated.
        refused: called with the name of a network that cannot be a candidate, and the reason.
    """

    calibrated: Callable[[int], None] = lambda images: None
    begin: Callable[[int], None] = lambda steps: None
    step: Callable[[QatStep], None] = lambda step: None
    candidate: Callable[[Candidate], None] = lambda candidate: None
    refused: Callable[[str, str], None] = lambda name, reason: None


@dataclass(frozen=True, eq=False)
class Images:
    """The images of a run, split by `calib.qat.data.split_images`.

    Attributes:
        calibration: uint8 [N, height, width, channels].
        held_out: the images that choose, with labels.
        training: batches.
    """

    calibration: NDArray[np.uint8]
    held_out: Prepared
    training: TrainingFeed

    @property
    def preprocess(self) -> Preprocess:
        """What was done to all of them."""
        return self.training.preprocess


@dataclass(frozen=True)
class QatResult:
    """The result of a run.

    Attributes:
        quantized: the file, and the values it was made from.
        chosen: which candidate that is.
        held_out_images: how many chose it.
        candidates: all of them, the calibrated one first.
    """

    quantized: Quantized
    chosen: Candidate
    held_out_images: int
    candidates: tuple[Candidate, ...] = ()


@dataclass(frozen=True, eq=False)
class _FloatNetwork:
    """What is trained, in float: its graph, that graph as a module, and the network that it was fused from, if any."""

    name: str
    graph: Graph
    module: nn.Module
    branches: RepGhostNet | None


def _float_network(model: RepGhostNet | Graph, name: str) -> _FloatNetwork:
    if isinstance(model, Graph):
        return _FloatNetwork(name, model, GraphModule(model).eval(), None)
    module = fused(model)
    return _FloatNetwork(model.spec.name, graph_of(module), module, model)


def train_aware(
    model: RepGhostNet | Graph,
    images: Images,
    plan: QatPlan,
    source: Source,
    hooks: Hooks | None = None,
    name: str = "network",
) -> QatResult:
    """Train a network under quantization and return the best of it and its calibrated form.

    Args:
        model: any form for mode "fused", a RepGhostNet with branches for "reparam"; in evaluation mode, left as it is.
        images: for calibration, for training, and for the choice.
        plan: of the calibrated start and of the training.
        source: embedded in the file.
        hooks: follows the run.
        name: of a network that is given as a graph.

    Raises:
        UsageError: for images, a mode or a config that do not fit the network, or weights that are not finite.
        RepGhostError: when training diverges.
        IntegrityError: when the fused network predicts something else than the given one.
    """
    hooks, settings = hooks or Hooks(), plan.settings
    network = _float_network(model, name)
    start = quantize_graph(network.graph, images.calibration, images.preprocess, plan.config, hooks.calibrated)
    quantized = build_network(network.branches, network.graph, start, images, plan)
    candidates = _Candidates(network.module, images, settings, hooks)
    candidates.add(CALIBRATED, *start)
    hooks.begin(settings.epochs * images.training.steps_per_epoch)
    teacher = prepare_teacher(network.module, settings)
    train_quantized(
        quantized, teacher, images.training, settings, hooks.step, lambda epoch: candidates.add_epoch(epoch, quantized)
    )
    chosen, found = choose(candidates.found), tuple(candidates.found)
    description = describe_source(network.name, images.calibration, images.preprocess, source)
    record = {"training": _training_record(chosen, found, images, settings)}
    written = write_model(chosen.graph, chosen.spec, plan.config, description, record)
    return QatResult(written, chosen, len(images.held_out.labels), found)


class _Candidates:
    """The candidates of a run as they come, each evaluated on the held-out images.

    Args:
        float_model: fused; its predictions are compared with.
        images: the held-out ones are read.
        settings: the objective of the training.
        hooks: `candidate` and `refused` are called.
    """

    def __init__(self, float_model: nn.Module, images: Images, settings: QatSettings, hooks: Hooks) -> None:
        held_out, self._preprocess = images.held_out, images.preprocess
        logits = predict(float_model, held_out.images, images.preprocess)
        self._held_out = HeldOut(held_out.images, held_out.labels, logits)
        self._settings, self._hooks = settings, hooks
        self.found: list[Candidate] = []

    def add(self, name: str, graph: Graph, spec: QuantSpec) -> None:
        """Evaluate a quantized network."""
        self.found.append(evaluate(name, graph, spec, self._held_out, self._preprocess, self._settings))
        self._hooks.candidate(self.found[-1])

    def add_epoch(self, epoch: int, network: QatNetwork) -> None:
        """Evaluate the network after an epoch; where it does not fit the planned integers it is no candidate."""
        name = f"epoch {epoch + 1}"
        try:
            converted = network.convert()
            check_accumulators(*converted)
            self.add(name, *converted)
        except UsageError as error:
            self._hooks.refused(name, str(error))


def build_network(
    model: RepGhostNet | None, graph: Graph, start: tuple[Graph, QuantSpec], images: Images, plan: QatPlan
) -> QatNetwork:
    """Return the network to train: with the calibrated weights, or with the branches they were fused from.

    Equalization and bias correction change fused weights, which branches cannot express; so branches begin without
    them, and training finds the biases.

    Args:
        model: with the branches; None where there are none.
        graph: of the fused float network.
        start: the calibrated graph and its scales.
        images: those for calibration are read.
        plan: see `train_aware`.

    Raises:
        UsageError: for a mode that needs branches, and a network without.
    """
    config, settings = plan.config, plan.settings
    if settings.mode == "fused":
        return QatNetwork(*start, FusedWeights(start[0]))
    if model is None:
        raise UsageError(
            f"mode {settings.mode!r} trains the branches of a RepGhostNet, and this network has none that are known; "
            "use --mode fused."
        )
    weights = BranchWeights(copy.deepcopy(model), settings.statistics_momentum)
    if config.equalize or config.bias_correction:
        plain = replace(config, equalize=False, bias_correction=False)
        start = quantize_graph(graph, images.calibration, images.preprocess, plain)
    return QatNetwork(*start, weights)


def _training_record(
    chosen: Candidate, candidates: Sequence[Candidate], images: Images, settings: QatSettings
) -> dict[str, Any]:
    """Return what the file says of the training: settings, number of images, candidates and which was chosen."""
    return {
        "algorithm": ALGORITHM,
        **settings.to_dict(),
        "training_pictures": images.training.images_per_epoch,
        "held_out_pictures": len(images.held_out.labels),
        "candidates": [candidate.to_dict() for candidate in candidates],
        "chosen": chosen.name,
    }
