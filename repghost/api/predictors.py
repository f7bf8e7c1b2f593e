"""Whatever computes logits, as one value: modules, files, names, quantized networks, bundles."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from calib.importer.names import ONNX
from calib.importer.onnx_file import is_quantized
from calib.importer.open_network import FloatNetwork
from compile.stages.predictors import reference_of
from repghost.api.models import load
from repghost.api.networks.opened import (
    PreprocessLike,
    given_labels,
    known_labels,
    name_of,
    open_float,
    preprocess_of,
    read_as_preprocess,
    refuse_without_values,
    unwrapped,
    warn_of_training,
)
from repghost.api.shown.notes import warn_of
from repghost.errors import UsageError, option
from repghost.evaluation.accuracy import predict
from repghost.evaluation.predictor import Predictor
from repghost.graph.module import GraphModule

# What can be evaluated: a network as `open_float` takes it, a `QuantizedNetwork`, a QDQ file, the folder of a bundle
# or of a run, or what `repghost.compile` and `repghost.load` return.
EvaluableLike: TypeAlias = Any


def predictor_of(
    network: EvaluableLike,
    preprocess: PreprocessLike = None,
    labels: Sequence[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    width: str | None = None,
) -> Predictor:
    """Return a network as a function from images to logits.

    Args:
        network: see `EvaluableLike`.
        preprocess: how its images are prepared, where the network does not say.
        labels: the names of its classes, likewise.
        weights: of a name: a weight file, or "pretrained".
        width: of a RepGhostNet in a file; another one is refused.

    Raises:
        UsageError: when it is no network, or nothing says how its images are prepared.
        IntegrityError: when a bundle was changed.
    """
    given = None if preprocess is None else read_as_preprocess(preprocess)
    if isinstance(network, nn.Module):
        network = unwrapped(network)
        return _of_module(network, preprocess_of(network, given), labels)
    if hasattr(network, "as_predictor"):  # a quantized network, a bundle, a loaded model
        _refuse_without_effect(preprocess=given, labels=labels, weights=weights, width=width)
        found: Predictor = network.as_predictor()
        return found
    if isinstance(network, str | os.PathLike):
        path = Path(network)
        if path.is_dir():
            _refuse_without_effect(preprocess=given, labels=labels, weights=weights, width=width)
            return load(path).as_predictor()
        if str(network).endswith(ONNX) and is_quantized(path):
            _refuse_without_effect(weights=weights, width=width)
            made = reference_of(path, given)
            return made if labels is None else replace(made, labels=given_labels(labels, made.classes, made.labels))
    return _of_float(open_float(network, given, labels, weights, None, width))


def _refuse_without_effect(**told: Any) -> None:
    """Refuse what a quantized network says itself."""
    for name in (name for name, value in told.items() if value is not None):
        raise UsageError(
            f"a quantized network says itself what it is, how its pictures are prepared and what its classes are "
            f"called; leave {option(name)} out."
        )


def _of_module(module: nn.Module, preprocess: Any, labels: Sequence[str] | None) -> Predictor:
    """Return a module on its own device."""
    refuse_without_values(module)
    warn_of_training(module)
    devices = {tensor.device for tensor in module.parameters()}
    if len(devices) > 1:
        names = ", ".join(sorted(map(str, devices)))
        raise UsageError(f"the network is spread over the devices {names}; bring it to one: net.to('cpu').")
    logits = partial(_logits, module, preprocess=preprocess)
    example = logits(np.zeros((1, *preprocess.shape), np.uint8))
    if example.ndim != 2:
        raise UsageError(f"a network gives logits [N, classes], not {list(example.shape)}; give one that classifies.")
    if _are_probabilities(example):
        logits = partial(_logarithms, logits)
        warn_of(["the network gives probabilities, whose logarithms stand for its logits"])
    classes = example.shape[1]
    by = f"PyTorch on {next(iter(devices), torch.device('cpu')).type}"
    return Predictor(
        name=name_of(module),
        source=type(module).__name__,
        digest="",
        by=by,
        preprocess=preprocess,
        classes=classes,
        labels=known_labels(module, classes, labels),
        logits=logits,
    )


def _are_probabilities(answers: NDArray[np.float32]) -> bool:
    """Return whether what a network gives of one image [1, classes] is the result of a softmax."""
    return answers.shape[1] > 1 and bool((answers >= 0).all()) and abs(float(answers.sum()) - 1) < 1e-5


def _logarithms(
    probabilities: Callable[[NDArray[np.uint8]], NDArray[np.float32]], images: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Return logits [N, classes] whose softmax is what a network gives."""
    found: NDArray[np.float32] = np.log(np.maximum(probabilities(images), np.finfo(np.float32).tiny))
    return found


def _logits(module: nn.Module, images: NDArray[np.uint8], preprocess: Any) -> NDArray[np.float32]:
    """Return the logits of a module that anybody wrote.

    Raises:
        UsageError: for whatever it raises.
    """
    try:
        return predict(module, images, preprocess)
    except (RuntimeError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        line = (str(error).strip().splitlines() or [""])[0]
        raise UsageError(
            f"{type(module).__name__} could not be run on float32 images [N, {preprocess.channels}, "
            f"{preprocess.height}, {preprocess.width}] ({type(error).__name__}: {line[:300]}). It has to give one "
            "tensor of logits [N, classes]."
        ) from error


def _of_float(network: FloatNetwork) -> Predictor:
    """Return an opened network, computed by PyTorch."""
    module = network.model if network.model is not None else GraphModule(network.graph).eval()
    return Predictor(
        name=network.name,
        source=str(network.origin["source"]),
        digest=network.digest,
        by="PyTorch on cpu",
        preprocess=network.preprocess,
        classes=network.classes,
        labels=network.labels,
        logits=partial(predict, module, preprocess=network.preprocess),
    )
