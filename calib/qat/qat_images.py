"""What a network learns from under quantization, and what chooses between its candidates."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from calib.qat.candidates import ClassEvaluator, Evaluator, HeldOut
from calib.qat.data import TrainingFeed
from calib.qat.epochs import Execution
from calib.qat.loop import QatRun, qat_loss
from calib.qat.settings import QatSettings
from repghost.data.base import Prepared
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError
from repghost.evaluation.accuracy import predict
from repghost.training.classify import Classes
from repghost.training.core.task import Objective
from repghost.training.losses import as_teacher


class QatImages(Protocol):
    """The images of a run: what a network learns from, and what chooses between candidates."""

    @property
    def calibration(self) -> NDArray[np.uint8]:
        """The calibration images, uint8 [N, height, width, channels]."""
        ...

    @property
    def preprocess(self) -> Preprocess:
        """What was done to all of them."""
        ...

    @property
    def held_out_images(self) -> int:
        """How many held-out images choose between candidates."""
        ...

    @property
    def images_per_epoch(self) -> int:
        """How many images an epoch trains on."""
        ...

    @property
    def steps_per_epoch(self) -> int:
        """How many steps of the optimizer an epoch has."""
        ...

    def evaluator(self, network: nn.Module, settings: QatSettings, execution: Execution) -> Evaluator:
        """Return what scores candidates.

        Args:
            network: the float one.
            settings: of the training.
            execution: processes and teacher.
        """
        ...

    def objective(self, run: QatRun, network: nn.Module, settings: QatSettings, execution: Execution) -> Objective[Any]:
        """Return what a network learns; see `evaluator`."""
        ...

    def digest(self) -> str:
        """Return the SHA-256 of what is known of the images."""
        ...


@dataclass(frozen=True, eq=False)
class Images:
    """The images of a run with their classes, split by `calib.qat.data.split_images`.

    Attributes:
        calibration: uint8 [N, height, width, channels].
        held_out: the images that choose, with labels.
        training: batches.
    """

    calibration: NDArray[np.uint8]
    held_out: Prepared
    training: TrainingFeed

    @property
    def preprocess(self) -> Preprocess:
        """What was done to all of them."""
        return self.training.preprocess

    @property
    def held_out_images(self) -> int:
        """How many held-out images choose between candidates."""
        return len(self.held_out.labels)

    @property
    def images_per_epoch(self) -> int:
        """How many images an epoch trains on."""
        return self.training.images_per_epoch

    @property
    def steps_per_epoch(self) -> int:
        """How many steps of the optimizer an epoch has."""
        return self.training.steps_per_epoch

    def evaluator(self, network: nn.Module, settings: QatSettings, execution: Execution) -> ClassEvaluator:
        """Return what scores candidates, with what the float network and the teacher make of the held-out images."""
        held_out, teacher = self.held_out, execution.teacher
        logits = predict(network, held_out.images, self.preprocess)
        aim = None if teacher is None else predict(teacher, held_out.images, self.preprocess)
        if aim is not None and aim.shape != logits.shape:
            raise UsageError(
                f"the teacher tells {aim.shape[1]} classes apart, the network {logits.shape[1]}; give one of the same "
                "classes in the same order."
            )
        return ClassEvaluator(HeldOut(held_out.images, held_out.labels, logits, aim), settings)

    def objective(self, run: QatRun, network: nn.Module, settings: QatSettings, execution: Execution) -> Classes:
        """Return what a network learns: from labels, and from the teacher or the float network."""
        learned = settings.distillation > 0
        teacher = as_teacher(execution.teacher or network, run.ranks.device) if learned else None
        return Classes(run, self.training, qat_loss(settings, teacher))

    def digest(self) -> str:
        """Return the SHA-256 of the labels and of where the images are."""
        digest = hashlib.sha256()
        for values in (self.training.indices, self.training.dataset.labels, self.held_out.labels):
            digest.update(np.ascontiguousarray(values).data)
        digest.update(json.dumps(self.preprocess.to_dict()).encode())
        return digest.hexdigest()
