"""A checkpoint and its images, and the predictions of its float form."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compile.accuracy.divergence import divergence
from compile.accuracy.row import Row, keep_row
from compile.storage.measurements import Measurements
from compile.subject.load import load_subject
from compile.subject.request import SubjectRequest
from compile.subject.subject import FloatSubject, Images, RepGhostSubject
from repghost.data import ImageSet, open_dataset
from repghost.data.open_by_format import CALIBRATION_SPLITS
from repghost.errors import UsageError, option
from repghost.evaluation.accuracy import predict
from repghost.evaluation.classes import match_classes
from repghost.graph.operators import Graph
from repghost.network.model import RepGhostNet

SEED = 0
TRAINING = ("command", "epochs", "seed")  # entries of a checkpoint that say how it was made


@dataclass(frozen=True)
class Network:
    """One checkpoint of the evidence.

    Attributes:
        file: its name.
        subject: weights, calibration and test images.
        data: the set of images.
        class_map: the class of each image, for a split without class folders.
        val_share: of each class that is held out of a folder of classes without splits; None: a fifth.
    """

    file: str
    subject: FloatSubject
    data: Path
    class_map: Path | None = None
    val_share: float | None = None

    @property
    def trainable(self) -> RepGhostNet | Graph:
        """What training under quantization begins with: a RepGhostNet with its branches, or another network's graph."""
        return self.subject.model if isinstance(self.subject, RepGhostSubject) else self.subject.graph

    @property
    def branches(self) -> RepGhostNet:
        """The RepGhostNet in the form of its checkpoint.

        Raises:
            UsageError: for any other network.
        """
        if not isinstance(self.subject, RepGhostSubject):
            raise UsageError(f"{self.subject.name} is no RepGhostNet and has no branches.")
        return self.subject.model

    @property
    def training(self) -> dict[str, str]:
        """What the checkpoint says of how it was made, as far as it does."""
        said = self.subject.metadata if isinstance(self.subject, RepGhostSubject) else {}
        return {name: str(said[name]) for name in TRAINING if name in said}

    @property
    def test(self) -> Images:
        """The test images."""
        assert self.subject.test is not None
        return self.subject.test

    @cached_property
    def test_digest(self) -> str:
        """The SHA-256 of the test images; every measurement's key has it."""
        return self.test.digest

    @cached_property
    def calibration_digest(self) -> str:
        """The SHA-256 of the calibration images."""
        return self.subject.calibration.digest

    @cached_property
    def training_set(self) -> ImageSet:
        """The images to train on: of the split that the calibration images are from."""
        split = str(self.subject.calibration.origin["split"])
        dataset = open_dataset(self.data, split, self.class_map, self.val_share)
        return match_classes(dataset, len(self.subject.labels), self.subject.labels)

    def float_predictions(self, store: Measurements) -> NDArray[np.int64]:
        """Return the class PyTorch gives each test image, int64 [N], branches and batch norms folded."""
        key = {**self.key(), "test": self.test_digest}
        return keep_row(store, "float", key, lambda: Row(self.float_logits.argmax(1).astype(np.int64), {})).predictions

    @cached_property
    def float_logits(self) -> NDArray[np.float32]:
        """The scores of PyTorch for the test images, float32 [N, classes]."""
        return predict(self.subject.fused, self.test.images, self.subject.preprocess)

    def row(self, logits: NDArray[np.float32], record: dict[str, Any]) -> Row:
        """Return the row of a quantized network that gives these scores, with its divergence from the float network."""
        return Row(logits.argmax(1).astype(np.int64), {**record, "kl": divergence(self.float_logits, logits)})

    def key(self) -> dict[str, object]:
        """Return what names the weights and how images are prepared for them."""
        return {"weights": self.subject.digest, "preprocess": self.subject.preprocess.to_dict()}


def open_network(request: SubjectRequest) -> Network:
    """Read a checkpoint and its images: a set with the splits "train" (or "calibration") and "test" (or "val").

    Raises:
        UsageError: when the file is quantized already or fused, or images and network do not fit together.
    """
    checkpoint, data = request.model or request.weights, request.data
    assert checkpoint is not None and data is not None
    subject = load_subject(request)
    if not isinstance(subject, FloatSubject) or subject.test is None:
        raise UsageError(f"{checkpoint} cannot be measured: a float checkpoint and labelled test pictures are needed.")
    if isinstance(subject, RepGhostSubject) and subject.model.spec.form == "fused":
        raise UsageError(
            f"{checkpoint} is fused; the branches are needed to measure what becomes of them. Give the checkpoint that "
            "the training wrote."
        )
    if subject.calibration.origin["split"] not in CALIBRATION_SPLITS:
        raise UsageError(
            f"{data} has none of the splits {', '.join(CALIBRATION_SPLITS)}; calibration and training need one. Give "
            f"{option('data')} another set."
        )
    return Network(Path(checkpoint).name, subject, data, request.class_map, request.val_share)
