"""From a float network and images to a QDQ file: calibrate, write."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from calib.ptq.apply import quantize_graph
from calib.qdq.writer import Description, build_qdq, describe
from calib.settings.config import QuantConfig
from calib.settings.quantspec import QuantSpec
from repghost.data.base import count_repeated
from repghost.data.images.preprocess import Preprocess
from repghost.graph.operators import Graph

TOOLS = ("numpy", "onnx", "torch")


@dataclass(frozen=True)
class Source:
    """Where the weights, labels and calibration images came from; written into the file.

    Attributes:
        labels: class names in the order of the logits.
        checkpoint_sha256: of the checkpoint file.
        calibration: how the images were chosen; their number and digest are added.
        detection: of a detector: `BoxRule.to_dict()`.
    """

    labels: tuple[str, ...]
    checkpoint_sha256: str
    calibration: Mapping[str, Any]
    detection: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Quantized:
    """The result of `quantize_network`: the file, and the values it was made from."""

    onnx: onnx.ModelProto
    graph: Graph
    spec: QuantSpec
    digest: str


def quantize_network(
    name: str,
    graph: Graph,
    images: NDArray[np.uint8],
    preprocess: Preprocess,
    config: QuantConfig,
    source: Source,
    on_batch: Callable[[int], None] | None = None,
) -> Quantized:
    """Return the QDQ model of a float network, complete with its metadata.

    Args:
        name: of the network, e.g. "repghostnet_0_5x".
        graph: its operators.
        images: uint8 [N, height, width, channels] for calibration, from `Preprocess.apply`.
        preprocess: the one of the images; embedded in the file.
        config: the user's settings.
        source: embedded in the file.
        on_batch: called with the number of images of each batch once it is done.

    Raises:
        UsageError: for an empty set, values that are not finite, or a config that does not fit the network.
    """
    graph, spec = quantize_graph(graph, images, preprocess, config, on_batch)
    return write_model(graph, spec, config, describe_source(name, images, preprocess, source))


def describe_source(model: str, images: NDArray[np.uint8], preprocess: Preprocess, source: Source) -> Description:
    """Return what a file says of where it came from.

    Args:
        model: the network's name, e.g. "repghostnet_0_5x".
        images: uint8 [N, height, width, channels], those that calibrated; their number and digest are written.
        preprocess: the one of the images.
        source: of the weights, labels and images.
    """
    calibration = {**source.calibration, "pictures": len(images), "sha256": images_digest(images)}
    if repeated := count_repeated(images):
        calibration["repeated"] = repeated
    return Description(
        model=model,
        preprocess=preprocess.to_dict(),
        labels=source.labels,
        checkpoint_sha256=source.checkpoint_sha256,
        calibration=calibration,
        tools=tool_versions(),
        detection=source.detection,
    )


def write_model(
    graph: Graph,
    spec: QuantSpec,
    config: QuantConfig,
    description: Description,
    record: Mapping[str, Any] | None = None,
) -> Quantized:
    """Return the QDQ model of a graph and its scales, complete with its metadata.

    Args:
        graph: as `quantize_graph` returns it.
        spec: its scales.
        config: the settings that they were chosen with.
        description: from `describe_source`.
        record: see `calib.qdq.writer.describe`.
    """
    size = Preprocess.from_dict(description.preprocess).size
    file = build_qdq(graph, spec, size)
    return Quantized(file, graph, spec, describe(file, description, config, spec, record))


def images_digest(images: NDArray[np.uint8]) -> str:
    """Return the SHA-256 of images, without a copy of them."""
    return hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()


def tool_versions() -> dict[str, str]:
    """Return the version of everything that can change the numbers."""
    versions = {"python": platform.python_version()}
    for name in ("repghost-deploy", *TOOLS):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed as a package"
    return versions
