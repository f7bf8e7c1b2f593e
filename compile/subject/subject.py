"""The subject of a run: a network, the images it is calibrated with, and the ones it is evaluated on."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from repghost.data.images.preprocess import Preprocess
from repghost.sizes import size_text

if TYPE_CHECKING:
    from torch import nn

    from repghost.graph.operators import Graph
    from repghost.network.model import RepGhostNet

RANDOM, TIMM = "random", "timm"  # what a user writes for weights that were never trained, and for those of timm
CARRIED_KIND = "carried"  # what a report calls the weights that nobody gave
RANDOM_SIZE = 224  # pixels


@dataclass(frozen=True, eq=False)
class Images:
    """Cropped images and what is known about them."""

    images: NDArray[np.uint8]  # [N, height, width, channels]
    labels: NDArray[np.int64]  # [N]; -1 where nothing is known
    origin: Mapping[str, Any]  # for the report: set, split, how many were broken

    @property
    def digest(self) -> str:
        """The SHA-256 of images and labels."""
        return hashlib.sha256(self.images.tobytes() + self.labels.tobytes()).hexdigest()


@dataclass(frozen=True, eq=False, kw_only=True)
class _NetworkAndImages:
    """What every kind of subject has."""

    name: str
    digest: str  # SHA-256 of the weights' file; of the weights themselves where there is no file
    weights: Mapping[str, Any]  # for the report: kind, source
    preprocess: Preprocess
    labels: tuple[str, ...]  # class names in the order of the logits
    calibration: Images
    test: Images | None  # None: accuracy cannot be measured
    unmeasured: str = ""  # why there is no test set
    notes: tuple[str, ...] = ()  # on how weights and images were read
    detection: Mapping[str, Any] | None = None  # of a detector: `BoxRule.to_dict()`

    @property
    def is_random(self) -> bool:
        """Whether the weights were never trained, so that predictions mean nothing."""
        return bool(self.weights["kind"] == RANDOM)

    @property
    def folder(self) -> str:
        """The name of the run's folder, e.g. repghostnet_0_5x-64px, or net-96x160px of 96 rows."""
        return f"{self.name}-{size_text(self.preprocess.size)}px{'-random' if self.is_random else ''}"

    @property
    def facts(self) -> dict[str, Any]:
        """What manifest and report say about the network itself."""
        return {"name": self.name, "weights": dict(self.weights)}


class FloatSubject(_NetworkAndImages):
    """A network in float that is going to be quantized."""

    @property
    @abstractmethod
    def graph(self) -> Graph:
        """The network's operators, batch norms folded."""

    @property
    @abstractmethod
    def fused(self) -> nn.Module:
        """The network that the graph was made of or that was made from it; it predicts in float32."""

    @property
    @abstractmethod
    def channels(self) -> int:
        """Of the images."""


@dataclass(frozen=True, eq=False, kw_only=True)
class RepGhostSubject(FloatSubject):
    """A RepGhostNet, from a checkpoint or with random weights."""

    model: RepGhostNet  # any form, in evaluation mode
    metadata: Mapping[str, Any] = field(default_factory=dict)  # what the checkpoint says of how it was made

    @cached_property
    def graph(self) -> Graph:
        """The operators of the fused network, named as its modules are."""
        from repghost.graph.trace import graph_of

        return graph_of(self.fused)

    @property
    def channels(self) -> int:
        """Of the images."""
        return self.model.spec.in_chans

    @cached_property
    def fused(self) -> RepGhostNet:
        """The network without branches and batch norms; its outputs are compared with the model's when it is made."""
        from repghost.network.fuse import fused

        return fused(self.model)

    @property
    def facts(self) -> dict[str, Any]:
        """What manifest and report say about the network itself: width, form and classes besides."""
        return {**self.model.spec.to_dict(), **super().facts}


@dataclass(frozen=True, eq=False, kw_only=True)
class ImportedSubject(FloatSubject):
    """Any other network: from an ONNX file, or of timm or torchvision.

    Attributes:
        imported: its operators.
        qdq: the QDQ file of the network, where it was quantized before.
    """

    imported: Graph
    qdq: bytes | None = None

    @property
    def graph(self) -> Graph:
        """The network's operators."""
        return self.imported

    @property
    def channels(self) -> int:
        """Of the images."""
        return self.imported.channels

    @cached_property
    def fused(self) -> nn.Module:
        """The graph as a module."""
        from repghost.graph.module import GraphModule

        return GraphModule(self.imported).eval()


@dataclass(frozen=True, eq=False, kw_only=True)
class QuantizedSubject(_NetworkAndImages):
    """A quantized ONNX file (QDQ), ours or anybody's; it has no float form, and need not be a RepGhostNet."""

    qdq: bytes
    quantization: Mapping[str, Any]  # what the file says of itself: "config" and "calibration"
    results: tuple[str, ...] = ()  # the names of several results


Subject: TypeAlias = FloatSubject | QuantizedSubject
