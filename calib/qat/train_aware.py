"""Quantization-aware training from a checkpoint and images to a QDQ file, never worse than the calibrated start.

The start is what `repghost quantize` makes of the same checkpoint and config. It stays a candidate: what is written is
the best of it and of the network after each epoch, by held-out images and in the integers of the compiled program;
where training is not better by more than chance makes it, that is the start.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from calib.ptq.apply import quantize_graph
from calib.qat.branch_weights import BranchWeights
from calib.qat.candidates import Candidate, Candidates, Quantization
from calib.qat.epochs import Execution, Hooks, QatTask, check_state, train_epochs
from calib.qat.loop import QatRun, make_optimizer
from calib.qat.network import QatNetwork
from calib.qat.qat_images import QatImages
from calib.qat.settings import QatSettings
from calib.qat.state import RunKey, start_digest, weights_digest
from calib.qat.weights import FusedWeights
from calib.quantize import Quantized, Source, describe_source, write_model
from calib.settings.config import QuantConfig
from calib.settings.describe import CALIBRATED
from repghost.data.images.preprocess import Preprocess
from repghost.distributed.ranks import Ranks
from repghost.errors import UsageError, option
from repghost.graph.module import GraphModule
from repghost.graph.operators import Graph
from repghost.graph.trace import graph_of
from repghost.network.fuse import fused
from repghost.network.model import RepGhostNet
from repghost.training.core.run import Updating

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
    images: QatImages,
    plan: QatPlan,
    source: Source,
    hooks: Hooks | None = None,
    name: str = "network",
    execution: Execution | None = None,
    start: Quantization | None = None,
) -> QatResult:
    """Train a network under quantization and return the best of it and its calibrated form.

    Args:
        model: any form for mode "fused", a RepGhostNet with branches for "reparam"; in evaluation mode, left as it is.
        images: for calibration, for training, and for the choice.
        plan: of the calibrated start and of the training.
        source: embedded in the file.
        hooks: follows the run.
        name: of a network that is given as a graph.
        execution: processes, device, state and teacher.
        start: the calibrated graph and its scales, where they are there already.

    Raises:
        UsageError: for images, a mode or a config that do not fit the network, or weights that are not finite.
        RepGhostError: when training diverges.
        TrainingStoppedError: when `hooks.should_stop` said so; the state is written.
        IntegrityError: when the fused network predicts something else than the given one.
    """
    hooks, settings, execution = hooks or Hooks(), plan.settings, execution or Execution()
    check_state(execution)  # before minutes of calibration
    ranks, network = execution.ranks, _float_network(model, name)
    if start is None:
        start = quantize_graph(network.graph, images.calibration, images.preprocess, plan.config, hooks.calibrated)
    calibration = (images.calibration, images.preprocess)
    quantized = build_network(network.branches, network.graph, start, *calibration, plan).to(ranks.device)
    candidates = Candidates(images.evaluator(network.module, settings, execution), images.preprocess, ranks)
    hooks.candidate(candidates.add(CALIBRATED, *start))
    steps = images.steps_per_epoch
    if not steps:
        raise UsageError(
            f"{images.images_per_epoch} training pictures do not fill one step of {settings.batch} x "
            f"{ranks.count} processes; lower {option('batch')}."
        )
    run = QatRun(
        model=quantized.train(), optimizer=make_optimizer(quantized, settings), epochs=settings.epochs,
        steps_per_epoch=steps, updating=Updating(settings.amp), ranks=ranks, settings=settings,
    )  # fmt: skip
    objective = images.objective(run, network.module, settings, execution)
    key = _run_key(start, images, settings, execution)
    train_epochs(QatTask(objective, candidates, hooks, execution, key))
    assert candidates.chosen is not None and candidates.network is not None
    description = describe_source(network.name, images.calibration, images.preprocess, source)
    record = {"training": _training_record(candidates, images, settings, ranks)}
    written = write_model(*candidates.network, plan.config, description, record)
    return QatResult(written, candidates.chosen, images.held_out_images, tuple(candidates.found))


def _run_key(start: Quantization, images: QatImages, settings: QatSettings, execution: Execution) -> RunKey:
    """Return what a state has to agree with."""
    teacher = execution.teacher
    return RunKey(
        settings=json.dumps(settings.to_dict()),
        start=start_digest(start),
        images=images.digest(),
        teacher="" if teacher is None else weights_digest(teacher.state_dict()),
        processes=execution.ranks.count,
    )


def build_network(
    model: RepGhostNet | None,
    graph: Graph,
    start: Quantization,
    images: NDArray[np.uint8],
    preprocess: Preprocess,
    plan: QatPlan,
) -> QatNetwork:
    """Return the network to train: with the calibrated weights, or with the branches they were fused from.

    Equalization and bias correction change fused weights, which branches cannot express; so branches begin without
    them, and training finds the biases.

    Args:
        model: with the branches; None where there are none.
        graph: of the fused float network.
        start: the calibrated graph and its scales.
        images: uint8 [N, height, width, channels], those that calibrate.
        preprocess: the one of the images.
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
            f"use {option('mode', 'fused')}."
        )
    weights = BranchWeights(copy.deepcopy(model), settings.statistics_momentum)
    plain = replace(config, equalize=False, bias_correction=False)
    if config != plain and start[0] is not graph:
        start = quantize_graph(graph, images, preprocess, plain)
    return QatNetwork(*start, weights)


def _training_record(candidates: Candidates, images: QatImages, settings: QatSettings, ranks: Ranks) -> dict[str, Any]:
    """Return what the file says of the training: settings, number of images, candidates and which was chosen."""
    assert candidates.chosen is not None
    return {
        "algorithm": ALGORITHM,
        **settings.to_dict(),
        **({} if ranks.count == 1 else {"processes": ranks.count}),
        "training_pictures": images.images_per_epoch,
        "held_out_pictures": images.held_out_images,
        "candidates": [candidate.to_dict() for candidate in candidates.found],
        "chosen": candidates.chosen.name,
    }
