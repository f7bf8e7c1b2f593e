"""What a run is about: a network, the images it is calibrated with, and the ones it is evaluated on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compile.storage.stage_cache import ROOT
from repghost.data.preprocess import Preprocess
from repghost.network.spec import ModelSpec

if TYPE_CHECKING:
    from repghost.network.model import RepGhostNet


CARRIED_DATA = ROOT / "assets/fashion-mnist"


CARRIED_WEIGHTS = ROOT / "assets/fashion-mnist/repghostnet_0_5x.safetensors"


CARRIED_WIDTH = 0.5


RANDOM = "random"  # what a user writes for weights that were never trained


TIMM = "timm"


RANDOM_SIZE = 224


@dataclass(frozen=True, eq=False)
class Images:
    """Cropped images and what is known about them."""

    images: NDArray[np.uint8]  # [N, size, size, 3]
    labels: NDArray[np.int64]  # [N]; -1 where nothing is known
    origin: Mapping[str, Any]  # for the report: set, split, how many were broken

    @property
    def digest(self) -> str:
        """The SHA-256 of images and labels."""
        return hashlib.sha256(self.images.tobytes() + self.labels.tobytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class Subject:
    """A network and its images: a checkpoint that is going to be quantized, or a file that already is."""

    name: str
    spec: ModelSpec | None  # None for a quantized file, which need not be a RepGhostNet
    model: RepGhostNet | None  # any form, in evaluation mode
    digest: str  # SHA-256 of the weights' file; of the weights themselves where there is no file
    weights: Mapping[str, Any]  # for the report: kind, source
    preprocess: Preprocess
    labels: tuple[str, ...]
    calibration: Images
    test: Images | None  # None: accuracy cannot be measured
    unmeasured: str = ""  # why there is no test set
    qdq: bytes | None = None  # the quantized file
    quantization: Mapping[str, Any] = field(default_factory=dict)  # what the quantized file says of itself
    metadata: Mapping[str, Any] = field(default_factory=dict)  # what the checkpoint says of how it was made

    @property
    def folder(self) -> str:
        """The name of the run's folder, e.g. repghostnet_0_5x-64px."""
        suffix = "-random" if self.weights["kind"] == RANDOM else ""
        return f"{self.name}-{self.preprocess.size}px{suffix}"

    @property
    def facts(self) -> dict[str, Any]:
        """What manifest and report say about the network itself."""
        return {**(self.spec.to_dict() if self.spec else {}), "name": self.name, "weights": dict(self.weights)}
