"""From a checkpoint and pictures to a QDQ file: fuse, calibrate, write."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from calib.adaround import learn_rounding
from calib.bias_correction import MOST_PIXELS, correct_biases
from calib.calibrate import choose_spec, collect_statistics
from calib.config import LayerSettings, QuantConfig
from calib.equalize import equalize
from calib.graph import Graph
from calib.observers import TensorStatistics
from calib.policy import NO_FLOAT_LAYERS, find_policy
from calib.qdq import Description, build_qdq, describe
from calib.quantspec import QuantSpec
from calib.ranges import choose_observers
from calib.walk import graph_of
from repghost.errors import UsageError
from repghost.fuse import check_equivalence, fuse
from repghost.model import RepGhostNet
from repghost.preprocess import Preprocess

BATCH_PIXELS = 1 << 18  # keeps the activations of a batch within some tens of megabytes
ANSWER_PIXELS = 1 << 20  # of the pictures whose answers choose ranges: some seconds on one core for 0.5x
TOOLS = ("numpy", "onnx", "torch")


@dataclass(frozen=True)
class Source:
    """Where the weights, labels and calibration pictures came from; written into the file.

    Attributes:
        labels: class names in the order of the logits.
        checkpoint_sha256: of the checkpoint file.
        calibration: how the pictures were chosen; their number and digest are added.
    """

    labels: tuple[str, ...]
    checkpoint_sha256: str
    calibration: Mapping[str, Any]


@dataclass(frozen=True)
class Quantized:
    """The result of `quantize_model`: the file, and the values it was made from."""

    onnx: onnx.ModelProto
    graph: Graph
    spec: QuantSpec
    digest: str


def fused(model: RepGhostNet) -> RepGhostNet:
    """Return the network without a batch norm, after checking that it computes the same as `model`.

    Raises:
        IntegrityError: when it does not.
    """
    if model.spec.form == "fused":
        return model
    result = fuse(model)
    check_equivalence(model, result)
    return result


def quantize_model(
    model: RepGhostNet,
    pictures: NDArray[np.uint8],
    preprocess: Preprocess,
    config: QuantConfig,
    source: Source,
    on_batch: Callable[[int], None] | None = None,
) -> Quantized:
    """Return the QDQ model of a network, complete with its metadata.

    Args:
        model: any form, in evaluation mode; fused here when it is not.
        pictures: uint8 [N, size, size, 3] for calibration, from `Preprocess.apply`.
        preprocess: the one of the pictures; embedded in the file.
        config: the user's decisions.
        source: embedded in the file.
        on_batch: called with the number of pictures of each batch once it is done.

    Raises:
        UsageError: for an empty set, values that are not finite, or a config that does not fit the network.
        IntegrityError: when fusion changed the answers.
    """
    if model.spec.in_chans != pictures.shape[-1]:
        raise UsageError(
            f"the network takes {model.spec.in_chans} colours, the pictures have {pictures.shape[-1]}; only networks "
            "for RGB pictures (in_chans=3) can be quantized. Train one with three input channels."
        )
    graph, spec = quantize_graph(graph_of(fused(model)), pictures, preprocess, config, on_batch)
    return write_model(model, graph, spec, pictures, preprocess, config, source)


def write_model(
    model: RepGhostNet,
    graph: Graph,
    spec: QuantSpec,
    pictures: NDArray[np.uint8],
    preprocess: Preprocess,
    config: QuantConfig,
    source: Source,
    search: Mapping[str, Any] | None = None,
) -> Quantized:
    """Return the QDQ model of what `quantize_graph` decided (arguments as `quantize_model`).

    Args:
        search: what was tried before, for the record.
    """
    file = build_qdq(graph, spec, preprocess.size)
    calibration = {**source.calibration, "pictures": len(pictures), "sha256": pictures_digest(pictures)}
    description = Description(
        model=model.spec.name,
        preprocess=preprocess.to_dict(),
        labels=source.labels,
        checkpoint_sha256=source.checkpoint_sha256,
        calibration=calibration,
        tools=tool_versions(),
    )
    return Quantized(file, graph, spec, describe(file, description, config, spec, search))


def quantize_graph(
    graph: Graph,
    pictures: NDArray[np.uint8],
    preprocess: Preprocess,
    config: QuantConfig,
    on_batch: Callable[[int], None] | None = None,
) -> tuple[Graph, QuantSpec]:
    """Return the graph as it will be quantized, and its scales (arguments and errors as `quantize_model`)."""
    config.check_patterns(graph.names())
    check_float_layers(graph, config)
    if config.equalize:
        graph = equalize(graph, batches(pictures, preprocess))
    statistics = collect_statistics(graph, batches(pictures, preprocess), on_batch)
    spec = choose_ranges(graph, statistics, pictures, preprocess, config)
    return correct(graph, spec, pictures, preprocess, config), spec


def choose_ranges(
    graph: Graph,
    statistics: dict[str, TensorStatistics],
    pictures: NDArray[np.uint8],
    preprocess: Preprocess,
    config: QuantConfig,
) -> QuantSpec:
    """Return the scales by the config's observers, or by those that the answers prefer to them."""
    if not config.ranges_by_answers:
        return choose_spec(graph, statistics, config)
    few = pictures[: max(1, ANSWER_PIXELS // preprocess.size**2)]
    chosen = choose_observers(graph, statistics, list(batches(few, preprocess)), config)
    added = chosen.layers[len(config.layers) :]
    observers = {name: describe_observer(chosen.settings(name)) for name, _ in added}
    return replace(choose_spec(graph, statistics, chosen), observers=observers)


def describe_observer(settings: LayerSettings) -> str:
    """Return an observer in words, e.g. "percentile 99.9"."""
    return settings.observer + (f" {settings.percentile:g}" if settings.observer == "percentile" else "")


def check_float_layers(graph: Graph, config: QuantConfig) -> None:
    """Refuse layers that stay float where everything has to be an integer.

    Raises:
        UsageError: naming the first of them.
    """
    kept = [name for name in graph.names() if config.stays_float(name)]
    if kept and find_policy(config.policy).integer_only:
        raise UsageError(f"{', '.join(kept[:3])}: {NO_FLOAT_LAYERS}")


def correct(
    graph: Graph, spec: QuantSpec, pictures: NDArray[np.uint8], preprocess: Preprocess, config: QuantConfig
) -> Graph:
    """Return the graph with the biases and weights that the config wants changed for these scales."""
    if config.bias_correction or config.learned_rounding:
        normalized = preprocess.normalize(pictures[: max(2, MOST_PIXELS // preprocess.size**2)])
        graph = correct_biases(graph, spec, normalized) if config.bias_correction else graph
        graph = learn_rounding(graph, spec, normalized) if config.learned_rounding else graph
    return graph


def batches(pictures: NDArray[np.uint8], preprocess: Preprocess) -> Iterator[NDArray[np.float32]]:
    """Yield pictures [N, size, size, 3] as normalized float32 [n, 3, size, size], a bounded amount at a time."""
    step = max(1, BATCH_PIXELS // preprocess.size**2)
    for start in range(0, len(pictures), step):
        yield preprocess.normalize(pictures[start : start + step])


def pictures_digest(pictures: NDArray[np.uint8]) -> str:
    """Return the SHA-256 of pictures, without a copy of them."""
    return hashlib.sha256(np.ascontiguousarray(pictures).data).hexdigest()


def tool_versions() -> dict[str, str]:
    """Return the version of everything that can change the numbers."""
    versions = {"python": platform.python_version()}
    for name in ("repghost-deploy", *TOOLS):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed as a package"
    return versions
