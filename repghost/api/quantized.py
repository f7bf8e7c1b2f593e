"""From a float network and images to int8: `repghost.quantize`, and what it returns."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calib.importer.open_network import FloatNetwork
from calib.ptq.search_settings import Search, SearchImages, Trial, search_settings
from calib.qdq.writer import serialize
from calib.quantize import Quantized, Source, describe_source, quantize_network, write_model
from calib.settings.config import SEARCH, QuantConfig
from calib.settings.describe import describe_observers
from calib.settings.policy import float_parts
from calib.simulate.exact import ExactNetwork
from calib.simulate.float32 import SimulatedNetwork
from compile.subject.subject import Images
from repghost.api.accepted.calibration import (
    AUTO,
    Calibration,
    ConfigLike,
    calibration_images,
    held_out_images,
    read_settings,
)
from repghost.api.accepted.images import ImagesLike
from repghost.api.accepted.pixels import Pixels, check_pixels
from repghost.api.evaluation import compare, evaluate
from repghost.api.networks import NetworkLike, PreprocessLike, open_float
from repghost.api.predictors import EvaluableLike
from repghost.api.sensitivity import LayerSensitivities, measure
from repghost.api.shown.html import page, table
from repghost.api.shown.notes import warn_of
from repghost.api.shown.progress import Progress, follow
from repghost.api.shown.results import Comparison, Evaluation
from repghost.data.base import notes_on_calibration
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError
from repghost.evaluation.accuracy import BATCH
from repghost.evaluation.classes import numbered_labels
from repghost.evaluation.predictor import Predictor
from repghost.files import write_bytes_atomically, write_text_atomically
from repghost.locks import locked
from repghost.sizes import Size, size_text

CONFIG_SUFFIX = ".config.json"
MAX_DROP = 0.3  # points of top-1 that a search allows


@dataclass(frozen=True, eq=False, repr=False)
class QuantizedNetwork:
    """A network in int8: what `repghost.quantize`, `convert` and `train_quantized` return, and `compile` takes.

    Attributes:
        network: the float network it was made of, with its classes and preprocessing.
        quantized: the graph as it was quantized, its scales, and the QDQ file.
        config: the settings.
        calibration: the images that chose the scales, prepared.
        search: what a search tried; None where the settings were given.
        trained: whether the weights were trained under quantization.
        notes: what to know of network and images, one sentence each.
    """

    network: FloatNetwork
    quantized: Quantized
    config: QuantConfig
    calibration: Images
    search: Search | None = None
    trained: bool = False
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the network is called."""
        return self.network.name

    @property
    def preprocess(self) -> Preprocess:
        """How its images are prepared."""
        return self.network.preprocess

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the logits."""
        return self.network.labels or numbered_labels(self.network.classes)

    @property
    def digest(self) -> str:
        """The digest of the integer program; equal ones compute the same integers everywhere."""
        return self.quantized.digest

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits of prepared images, float32 [N, classes]; those of every build of it, to the bit.

        Args:
            images: uint8 [N, height, width, channels], as `preprocess.apply` gives them.
        """
        parts = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
        found = [self._network(torch.from_numpy(self.preprocess.normalize(part))).numpy() for part in parts]
        return np.concatenate(found) if found else np.empty((0, self.network.classes), np.float32)

    @cached_property
    def _network(self) -> Callable[[torch.Tensor], torch.Tensor]:
        graph, spec = self.quantized.graph, self.quantized.spec
        return SimulatedNetwork(graph, spec) if float_parts(graph, spec) else ExactNetwork(graph, spec)

    def as_predictor(self) -> Predictor:
        """Return the network as a function from images to logits, for `repghost.evaluate`."""
        exact = isinstance(self._network, ExactNetwork)
        return Predictor(
            name=f"{self.name} int8",
            source=self.name,
            digest=self.digest,
            by="exact integers in PyTorch" if exact else "simulation in float32",
            preprocess=self.preprocess,
            classes=self.network.classes,
            labels=self.labels,
            logits=self.logits,
            program=self.digest if exact else None,
        )

    def evaluate(self, data: ImagesLike, **options: Any) -> Evaluation:
        """Return how good it is on labelled images; arguments and errors as `repghost.evaluate`."""
        return evaluate(self, data, **options)

    def compare(self, before: EvaluableLike, data: ImagesLike, **options: Any) -> Comparison:
        """Return how it differs from another network on the same images; arguments as `repghost.compare`.

        Args:
            before: the network that is compared with, e.g. the float one.
            data: labelled images.
            options: further arguments of `repghost.compare`.
        """
        return compare(before, self, data, **options)

    def sensitivity(
        self,
        data: ImagesLike = None,
        *,
        images: int | None = None,
        seed: int = 0,
        pixels: Pixels | None = None,
        prices: Mapping[str, float] | None = None,
        progress: Progress = None,
    ) -> LayerSensitivities:
        """Return how much the predictions change when one tensor or one layer alone is quantized.

        Args:
            data: images, with or without labels; None: those that calibrated.
            images: how many are read of them, see `repghost.quantize`; fewer measure where they are large.
            seed: chooses them.
            pixels: the range of float images.
            prices: microseconds that each layer takes longer in float, from two profiles.
            progress: see `repghost.evaluate`.

        Raises:
            UsageError: when the images do not fit the network.
        """
        few = self.calibration.images
        if data is not None:
            said = check_pixels(pixels)
            few = calibration_images(self.network, data, images, seed, said, None, progress).images.images
        about = {"model": self.name, "checkpoint_sha256": self.network.digest, "config": self.config.to_dict()}
        return measure(self.quantized, few, self.preprocess, about, prices, progress)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the QDQ file, and its settings beside it as JSON, each whole or not at all; returns the file's path.

        Args:
            path: of the file, e.g. "net.qdq.onnx"; the settings lie beside it in net.qdq.config.json.

        Raises:
            UsageError: when the name does not end in .onnx.
        """
        file = Path(path)
        if file.suffix != ".onnx":
            raise UsageError(f"a quantized network is written as ONNX, so {str(file)!r} has to end in .onnx.")
        write_quantized(file, self.quantized, self.config, self.search)
        return file

    @property
    def about(self) -> str:
        """How it was quantized, in one line."""
        observers = describe_observers({"config": self.config.to_dict(), "observers": self.quantized.spec.observers})
        return f"policy {self.config.policy}, {observers}, {len(self.calibration.labels)} pictures"

    def __repr__(self) -> str:
        kind = "trained under quantization" if self.trained else "calibrated"
        size = size_text(self.preprocess.size)
        return (
            f"{self.name} in int8, {size} px, {self.network.classes} classes, {kind}: {self.about}; "
            f"program {self.digest[:12]}"
        )

    def _repr_html_(self) -> str:
        rows = [(key, str(value)) for key, value in self.preprocess.to_dict().items()]
        return page(
            "\n".join([repr(self), *self.notes, *self.quantized.spec.notes]), table(("preprocess", "value"), rows)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "name": self.name,
            "program_digest": self.digest,
            "weights_sha256": self.network.digest,
            "preprocess": self.preprocess.to_dict(),
            "labels": list(self.labels),
            "config": self.config.to_dict(),
            "calibration": dict(self.calibration.origin) | {"pictures": len(self.calibration.labels)},
            "search": None if self.search is None else self.search.to_dict(),
            "trained": self.trained,
            "notes": [*self.notes, *self.quantized.spec.notes],
        }


def quantize(
    network: NetworkLike,
    data: ImagesLike,
    config: ConfigLike = None,
    *,
    images: int | None = None,
    seed: int = 0,
    policy: str | None = None,
    algorithm: str | None = None,
    max_drop: float | None = None,
    held_out: int | None = None,
    preprocess: PreprocessLike = None,
    labels: Sequence[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    size: Size | None = None,
    width: str | None = None,
    pixels: Pixels | None = None,
    class_order: str | None = None,
    on_trial: Callable[[Trial], None] | None = None,
    progress: Progress = None,
) -> QuantizedNetwork:
    """Return a network in int8 with scales that images choose; the float network stays as it is.

    Args:
        network: a torch module, a checkpoint, a float ONNX file, or "timm:NAME" with weights.
        data: images, with labels or without: a split of `repghost.open_dataset`, a folder, paths, PIL images, arrays,
            tensors, or a DataLoader.
        config: a `repghost.QuantConfig`, its dictionary or JSON file; None: the policy's defaults.
        images: how many calibrate, equally many of each class of a set, the first ones of anything else; None: 512,
            or all there are.
        seed: chooses them.
        policy: "cpu" or "tensorrt", instead of the config's.
        algorithm: an observer for every layer without an entry of its own, "answers" (one for each tensor), or "auto"
            (a search; needs labels).
        max_drop: of a search: percentage points of top-1 that may be lost; None: 0.3.
        held_out: of a search: images that judge; None: 2000, or all that are left.
        preprocess: how images are prepared, where the network does not say, see `repghost.evaluate`.
        labels: names of the classes, likewise.
        weights: of a name: a weight file, or "pretrained".
        size: pixels of the images, instead of the network's own.
        width: of a RepGhostNet in a file; another one is refused. Chooses the published weights of "timm".
        pixels: the range of float images, see `repghost.evaluate`.
        class_order: of a network that does not name its classes.
        on_trial: is told each trial of a search.
        progress: see `repghost.evaluate`.

    Raises:
        UsageError: for an operator that integers cannot compute, images that do not fit, or unknown settings.
        AccuracyGateError: when no setting of a search loses as little as was allowed.
    """
    check_pixels(pixels)
    settings = read_settings(config, policy, algorithm)
    if algorithm != AUTO and (max_drop is not None or held_out is not None):
        raise UsageError("max_drop and held_out belong to algorithm='auto', which is not given.")
    opened = open_float(network, preprocess, labels, weights, size, width)
    found = calibration_images(opened, data, images, seed, pixels, class_order, progress)
    opened = _labelled(opened, found)
    warn_of(notes_on_calibration(found.images.images), found.broken)
    notes = (*opened.notes, *found.notes)
    source = Source(found.labels, opened.digest, {**found.images.origin, "broken": len(found.broken)})
    if algorithm == AUTO:
        allowed = MAX_DROP if max_drop is None else max_drop
        held = held_out_images(found, opened, held_out, seed)
        return _searched(opened, found, held, settings, source, allowed, on_trial, notes)
    with follow(progress, "calibrate", len(found.images.labels)) as done:
        result = quantize_network(
            opened.name, opened.graph, found.images.images, opened.preprocess, settings, source, done
        )
    return QuantizedNetwork(opened, result, settings, found.images, notes=notes)


def write_quantized(path: Path, quantized: Quantized, config: QuantConfig, search: Search | None) -> None:
    """Write the settings, then the QDQ file, each whole or not at all."""
    settings = config.to_dict() | ({} if search is None else {SEARCH: search.to_dict()})
    with locked(path):  # the two belong together
        write_text_atomically(config_beside(path), json.dumps(settings, indent=2) + "\n")
        write_bytes_atomically(path, serialize(quantized.onnx))


def config_beside(output: Path) -> Path:
    """Return where the settings of a file are written: net.qdq.onnx has net.qdq.config.json beside it."""
    return output.with_name(output.name.removesuffix(".onnx") + CONFIG_SUFFIX)


def _labelled(network: FloatNetwork, found: Calibration) -> FloatNetwork:
    """Return a network with the names that its images gave its classes."""
    return network if network.labels == found.labels else replace(network, labels=found.labels)


def _searched(
    network: FloatNetwork,
    found: Calibration,
    held: Images,
    settings: QuantConfig,
    source: Source,
    max_drop: float,
    on_trial: Callable[[Trial], None] | None,
    notes: tuple[str, ...],
) -> QuantizedNetwork:
    """Return the network with the cheapest settings that lose no more than was allowed."""
    if not math.isfinite(max_drop):
        raise UsageError(f"--max-drop is a finite number of points, not {max_drop}.")
    images = SearchImages(found.images.images, held.images, held.labels, network.preprocess)
    search = search_settings(network.graph, images, settings, max_drop, on_trial)
    config = search.chosen.config
    description = describe_source(network.name, images.calibration, network.preprocess, source)
    result = write_model(search.graph, search.spec, config, description, {SEARCH: search.to_dict()})
    return QuantizedNetwork(network, result, config, found.images, search, notes=notes)
