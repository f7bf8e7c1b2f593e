"""A network in int8: what `repghost.quantize`, `convert` and `train_quantized` return."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calib.importer.open_network import FloatNetwork
from calib.ptq.search_settings import Search
from calib.qdq.writer import serialize, training_record
from calib.quantize import Quantized
from calib.settings.config import SEARCH, QuantConfig
from calib.settings.describe import describe_observers
from calib.settings.policy import float_parts
from calib.simulate.exact import ExactNetwork
from calib.simulate.float32 import SimulatedNetwork
from compile.subject.subject import Images
from repghost.api import evaluation
from repghost.api.accepted.calibration import (
    calibration_images,
)
from repghost.api.accepted.images import ImagesLike
from repghost.api.accepted.pixels import Pixels, check_pixels
from repghost.api.networks.opened import PreprocessLike
from repghost.api.predictors import EvaluableLike
from repghost.api.sensitivity import LayerSensitivities, measure
from repghost.api.shown.html import page, table
from repghost.api.shown.progress import Progress
from repghost.api.shown.results import Comparison
from repghost.data.images.preprocess import Preprocess
from repghost.errors import ONNX_SUFFIXES, UsageError, not_onnx
from repghost.evaluation.accuracy import BATCH
from repghost.evaluation.classes import numbered_labels
from repghost.evaluation.predictor import Predictor
from repghost.files import write_bytes_atomically, write_text_atomically
from repghost.locks import locked
from repghost.sizes import size_text

CONFIG_SUFFIX = ".config.json"


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

        Of a detector they are the numbers of all its results.

        Raises:
            UsageError: for images that are not prepared.
        """
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.shape[1:] != self.preprocess.shape:
            height, width, channels = self.preprocess.shape
            raise UsageError(
                f"logits are of prepared images, uint8 [N, {height}, {width}, {channels}], not {images.dtype} "
                f"{list(images.shape)}; of any others repghost.predict(q, images) tells the classes."
            )
        parts = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
        found = [self._network(torch.from_numpy(self.preprocess.normalize(part))).numpy() for part in parts]
        return np.concatenate(found) if found else np.empty((0, self.network.classes), np.float32)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or another process needs: what computes logits is built again there."""
        return {name: value for name, value in vars(self).items() if name != "_network"}

    @cached_property
    def _network(self) -> Callable[[torch.Tensor], torch.Tensor]:
        graph, spec = self.quantized.graph, self.quantized.spec
        return SimulatedNetwork(graph, spec) if float_parts(graph, spec) else ExactNetwork(graph, spec)

    def as_predictor(self) -> Predictor:
        """Return the network as a function from images to logits, for `repghost.evaluate`.

        Raises:
            UsageError: of a detector, which gives boxes.
        """
        if self.network.graph.results:
            raise UsageError(f"{self.name} is a detector; measure it with repghost.evaluate_detector.")
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

    evaluate = evaluation.evaluate  # the function itself: its first argument is this network

    def compare(
        self,
        before: EvaluableLike,
        data: ImagesLike,
        *,
        images: int | None = None,
        seed: int = 0,
        preprocess: PreprocessLike = None,
        pixels: Pixels | None = None,
        class_order: str | None = None,
        progress: Progress = None,
    ) -> Comparison:
        """Return how it differs from another network on the same images, paired; errors as `repghost.compare`.

        Args:
            before: the network that is compared with, e.g. the float one.
            data: labelled images; it and what follows as in `repghost.compare`.
            images: how many are read.
            seed: chooses them.
            preprocess: of a float network that does not say it.
            pixels: the range of float images.
            class_order: of a network that does not name its classes.
            progress: see `repghost.evaluate`.
        """
        return evaluation.compare(
            before, self, data, images=images, seed=seed, preprocess=preprocess, pixels=pixels,
            class_order=class_order, progress=progress,
        )  # fmt: skip

    @property
    def training(self) -> Mapping[str, Any] | None:
        """What the file says of its training under quantization; None of a network that was only calibrated."""
        return training_record(self.quantized.onnx) or None

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

    def save(self, path: str | os.PathLike[str], *, settings: bool = True) -> Path:
        """Write the QDQ file, and its settings beside it as JSON, each whole or not at all; returns the file's path.

        Args:
            path: of the file, e.g. "net.qdq.onnx"; the settings lie beside it in net.qdq.config.json.
            settings: whether they are written.

        Raises:
            UsageError: when the name ends as that of another format.
        """
        file = Path(path)
        if file.suffix not in ONNX_SUFFIXES:
            raise not_onnx(file)
        if settings:
            write_quantized(file, self.quantized, self.config, self.search)
        else:
            write_bytes_atomically(file, serialize(self.quantized.onnx))
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


def write_quantized(path: Path, quantized: Quantized, config: QuantConfig, search: Search | None) -> None:
    """Write the settings, then the QDQ file, each whole or not at all."""
    settings = config.to_dict() | ({} if search is None else {SEARCH: search.to_dict()})
    with locked(path):  # the two belong together
        write_text_atomically(config_beside(path), json.dumps(settings, indent=2) + "\n")
        write_bytes_atomically(path, serialize(quantized.onnx))


def config_beside(output: Path) -> Path:
    """Return where the settings of a file are written: net.qdq.onnx has net.qdq.config.json beside it."""
    return output.with_name(output.name.removesuffix(".onnx") + CONFIG_SUFFIX)
