"""Quantization-aware training from a checkpoint and images to a QDQ file, never worse than the calibrated start.

The start is what `repghost quantize` makes of the same checkpoint and config. It stays a candidate: what is written is
the best of it and of the network after each epoch, by held-out images and in the integers of the compiled program;
where training is not better by more than chance makes it, that is the start.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from calib.ptq.apply import quantize_graph
from calib.qat.branch_weights import BranchWeights
from calib.qat.candidates import Candidate, HeldOut, choose, evaluate
from calib.qat.data import TrainingFeed
from calib.qat.loop import QatStep, prepare_teacher, train_quantized
from calib.qat.network import QatNetwork
from calib.qat.settings import QatSettings
from calib.qat.weights import FusedWeights, WeightSource
from calib.qdq.writer import QUANTIZATION, Description, build_qdq, describe
from calib.quantize import Quantized, Source, images_digest, tool_versions
from calib.settings.config import QuantConfig
from calib.settings.quantspec import QuantSpec
from calib.weight_scales.int16 import fits_int16
from repghost.data.base import Prepared
from repghost.data.preprocess import Preprocess
from repghost.errors import UsageError
from repghost.evaluation.accuracy import predict
from repghost.graph.operators import Convolution, Graph
from repghost.graph.trace import graph_of
from repghost.network.fuse import fused
from repghost.network.model import RepGhostNet

ALGORITHM = "qat"
CALIBRATED = "calibrated"


@dataclass(frozen=True)
class Hooks:
    """How the caller follows a run; the defaults do nothing."""

    calibrated: Callable[[int], None] = lambda images: None
    begin: Callable[[int], None] = lambda steps: None
    step: Callable[[QatStep], None] = lambda step: None
    candidate: Callable[[Candidate], None] = lambda candidate: None
    refused: Callable[[str, str], None] = lambda name, reason: None


@dataclass(frozen=True, eq=False)
class Images:
    """What a run reads, already split (see `calib.qat.data.split_pictures`).

    Attributes:
        calibration: uint8 [N, size, size, 3].
        held_out: the images that choose, with labels.
        training: batches.
    """

    calibration: NDArray[np.uint8]
    held_out: Prepared
    training: TrainingFeed


@dataclass(frozen=True)
class QatResult:
    """What a run leaves.

    Attributes:
        quantized: the file, and the values it was made from.
        chosen: which candidate that is.
        held_out_images: how many chose it.
        candidates: all of them, the calibrated one first.
    """

    quantized: Quantized
    chosen: Candidate
    held_out_images: int
    candidates: tuple[Candidate, ...] = field(default=())


def train_aware(
    model: RepGhostNet,
    images: Images,
    preprocess: Preprocess,
    config: QuantConfig,
    settings: QatSettings,
    source: Source,
    hooks: Hooks | None = None,
) -> QatResult:
    """Train a network under quantization and return the best of it and its calibrated form.

    Args:
        model: any form for mode "fused", one with branches for "reparam"; in evaluation mode, left as it is.
        images: for calibration, for training, and for the choice.
        preprocess: the one of the images; embedded in the file.
        config: observers, policy and accumulators of the start.
        settings: how it is trained.
        source: embedded in the file.
        hooks: follows the run.

    Raises:
        UsageError: for images or a config that do not fit the network, or weights that are not finite.
        RepGhostError: when training diverges.
        IntegrityError: when fusion changed the answers.
    """
    hooks = hooks or Hooks()
    if model.spec.in_chans != 3:
        raise UsageError(f"the network takes {model.spec.in_chans} colours; only networks for RGB can be trained here.")
    float_model = fused(model)
    graph = graph_of(float_model)
    start, spec = quantize_graph(graph, images.calibration, preprocess, config, hooks.calibrated)
    network = build_network(model, graph, start, spec, images, preprocess, config, settings)
    held_out = HeldOut(
        images.held_out.images,
        images.held_out.labels,
        predict(float_model, images.held_out.images, preprocess),
    )
    candidates = [evaluate(CALIBRATED, start, spec, held_out, preprocess, settings)]
    hooks.candidate(candidates[0])

    def keep(epoch: int) -> None:
        name = f"epoch {epoch + 1}"
        try:
            converted = network.convert()
            check_accumulators(*converted)
            candidate = evaluate(name, *converted, held_out, preprocess, settings)
        except UsageError as error:  # it cannot be computed in the planned integers, so it is no candidate
            hooks.refused(name, str(error))
            return
        candidates.append(candidate)
        hooks.candidate(candidate)

    hooks.begin(settings.epochs * images.training.steps_per_epoch)
    train_quantized(network, prepare_teacher(float_model, settings), images.training, settings, hooks.step, keep)
    chosen = choose(candidates)
    quantized = _file(model, chosen, candidates, images, preprocess, config, settings, source)
    return QatResult(quantized, chosen, len(images.held_out.labels), tuple(candidates))


def build_network(
    model: RepGhostNet,
    graph: Graph,
    start: Graph,
    spec: QuantSpec,
    images: Images,
    preprocess: Preprocess,
    config: QuantConfig,
    settings: QatSettings,
) -> QatNetwork:
    """Return the network to train: with the calibrated weights, or with the branches they were fused from.

    Branches have no place for what equalization and bias correction changed, so theirs begin without; training finds
    biases by itself.
    """
    weights: WeightSource
    if settings.mode == "fused":
        return QatNetwork(start, spec, FusedWeights(start))
    weights = BranchWeights(copy.deepcopy(model), settings.statistics_momentum)
    if config.equalize or config.bias_correction:
        plain = replace(config, equalize=False, bias_correction=False)
        graph, spec = quantize_graph(graph, images.calibration, preprocess, plain)
    else:
        graph = start
    return QatNetwork(graph, spec, weights)


def check_accumulators(graph: Graph, spec: QuantSpec) -> None:
    """Refuse a network of which a layer that was planned for int16 does not fit it any more.

    Raises:
        UsageError: naming the first such layer.
    """
    for op in graph.operators:
        planned = spec.accumulators.get(op.name)
        if isinstance(op, Convolution) and planned == "int16" and not fits_int16(op, graph, spec):
            raise UsageError(
                f"layer {op.name!r}: after training it does not fit int16 accumulators, most likely because of its "
                "bias; lower --learning-rate, or give it int32 ones in the config."
            )


def _file(
    model: RepGhostNet,
    chosen: Candidate,
    candidates: list[Candidate],
    images: Images,
    preprocess: Preprocess,
    config: QuantConfig,
    settings: QatSettings,
    source: Source,
) -> Quantized:
    """Return the QDQ file of a candidate, complete with its metadata."""
    file = build_qdq(chosen.graph, chosen.spec, preprocess.size)
    calibration: dict[str, Any] = {
        **source.calibration,
        "pictures": len(images.calibration),
        "sha256": images_digest(images.calibration),
    }
    description = Description(
        model.spec.name, preprocess.to_dict(), source.labels, source.checkpoint_sha256, calibration, tool_versions()
    )
    digest = describe(file, description, config, chosen.spec)
    training = {
        "algorithm": ALGORITHM,
        **settings.to_dict(),
        "training_pictures": images.training.images_per_epoch,
        "held_out_pictures": len(images.held_out.labels),
        "candidates": [candidate.to_dict() for candidate in candidates],
        "chosen": chosen.name,
    }
    entries = {entry.key: entry.value for entry in file.metadata_props}
    quantization = json.loads(entries[QUANTIZATION]) | {"training": training}
    entries[QUANTIZATION] = json.dumps(quantization, sort_keys=True, ensure_ascii=False)
    helper.set_model_props(file, entries)
    return Quantized(file, chosen.graph, chosen.spec, digest)
