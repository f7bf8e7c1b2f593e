"""Accuracy: float32 in PyTorch against the integer program, image by image on the same set."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calib.integer.reference import run
from compile.bundle.host_model import LoadedModel
from compile.bundle.vectors import Vectors
from compile.ir.float_program import FloatProgram
from compile.ir.float_reference import run_float
from compile.stages.programs import Programs
from compile.storage.code_key import FUSED_NETWORK, code_digest
from compile.storage.stage_cache import StageCache, versions
from compile.subject.subject import FloatSubject, Images, Subject
from compile.targets.precisions import FP32, INT8
from compile.targets.table import HOST
from repghost.errors import IntegrityError, as_command
from repghost.evaluation.accuracy import accuracy, paired_difference, predict

if TYPE_CHECKING:
    from calib.integer.program import Program

HOST_BUILD = "compiled host build"
REFERENCE = "numpy reference"


@dataclass(frozen=True)
class Evaluation:
    """The accuracy of a run as manifest and report record it; `record["measured"]` says whether it was."""

    record: Mapping[str, Any]

    @property
    def drop_points(self) -> float | None:
        """Percentage points of top-1 lost from float32 to int8; None when not measured."""
        change = self.record.get("change")
        return None if change is None else -100.0 * float(change["difference"])


@dataclass(frozen=True, eq=False)
class HostBuilds:
    """What was linked for this machine, and what the integer build of it is checked with.

    Attributes:
        models: the bytes of model.so by the name of its precision; empty where nothing was built for this machine.
        expected: images and logits of the numpy reference; an int8 build has to repeat them to the bit.
    """

    models: Mapping[str, bytes]
    expected: Vectors

    def loaded(self, subject: Subject) -> dict[str, LoadedModel]:
        """Return the models by the name of their precision, ready to run."""
        shape, classes = subject.preprocess.shape, len(subject.labels)
        return {name: LoadedModel(data, shape, classes) for name, data in self.models.items()}


def evaluate(subject: Subject, programs: Programs, builds: HostBuilds, cache: StageCache) -> Evaluation:
    """Return how often float32, the integer program and each build are right on the test images.

    The integer program and the float builds run as host builds where there are any, otherwise by their numpy
    reference; float32 is evaluated by PyTorch, where the subject has a float form.

    Raises:
        IntegrityError: when the host build and the numpy reference disagree.
    """
    test = subject.test
    if test is None:
        return Evaluation(not_measured(subject, HOST))
    models = builds.loaded(subject)
    after, by, checked = _int8_predictions(models.get(INT8.name), programs.integer, test, builds.expected)
    record: dict[str, Any] = {
        "measured": True,
        "program_digest": programs.integer.digest,
        "test": {"pictures": len(test.labels), "sha256": test.digest, **test.origin},
        "fp32": None,
        "int8": {**accuracy(after, test.labels).to_dict(), "by": by, "checked_on": checked},
        "change": None,
    }
    if isinstance(subject, FloatSubject):
        before = float_predictions(subject, test, cache)
        record["fp32"] = {**accuracy(before, test.labels).to_dict(), "by": "PyTorch, fused network"}
        record["change"] = paired_difference(before, after, test.labels).to_dict()
        found = _float_predictions(models, programs, test, cache)
        record |= {f"{name}_build": _float_build(*found[name], test, before) for name in sorted(found)}
    return Evaluation(record)


def not_measured(subject: Subject, target: str) -> dict[str, Any]:
    """Return the accuracy record of a run without labelled images, with the command that would measure it.

    Args:
        subject: the network.
        target: what it is compiled for.
    """
    command = as_command("compile", {"target": target, "weights": "FILE", "data": "DIR"})
    if subject.detection is not None:
        command = as_command("detect-validate", {"data": "DIR", "split": "SPLIT"}) + " BUNDLE"
    return {"measured": False, "reason": subject.unmeasured, "command": command}


def _int8_predictions(
    model: LoadedModel | None, program: Program, test: Images, expected: Vectors
) -> tuple[NDArray[np.int64], str, int]:
    """Return the integer program's predictions, what computed them, and on how many images that was checked."""
    if model is not None:
        checked = _check_against_reference(model, expected)
        return model.logits(test.images).argmax(1), HOST_BUILD, checked
    return run(program, test.images).argmax(1), REFERENCE, 0


def _float_predictions(
    models: Mapping[str, LoadedModel], programs: Programs, test: Images, cache: StageCache
) -> dict[str, tuple[NDArray[np.int64], str]]:
    """Return, for each float build, its predictions and what computed them; float32 needs a build of this machine."""
    found = {
        name: (reference_predictions(program, test, cache), REFERENCE)
        for name, program in programs.floats.items()
        if name not in models and program.element != FP32.element  # float32 is evaluated by PyTorch
    }
    for name in models.keys() - {INT8.name}:
        found[name] = models[name].logits(test.images).argmax(1), HOST_BUILD
    return found


def _float_build(predictions: NDArray[np.int64], by: str, test: Images, before: NDArray[np.int64]) -> dict[str, Any]:
    """Return the accuracy of a float build, and how often it predicts what PyTorch does in float32."""
    agreeing = int(np.count_nonzero(predictions == before))
    return {**accuracy(predictions, test.labels).to_dict(), "by": by, "agreeing": agreeing}


def _check_against_reference(model: LoadedModel, expected: Vectors) -> int:
    """Return on how many images the host build was compared with the numpy reference."""
    wrong = (model.logits(expected.images) != expected.logits).any(axis=1)
    if wrong.any():
        raise IntegrityError(
            f"the host build and the numpy reference differ on {int(wrong.sum())} of {len(wrong)} pictures; the "
            "compiled kernels are wrong. Please report it with the QDQ file."
        )
    return len(wrong)


def float_predictions(subject: FloatSubject, test: Images, cache: StageCache) -> NDArray[np.int64]:
    """Return the class PyTorch gives each test image, int64 [N]; kept in the cache, since nothing here is slower."""
    key = {
        "weights": subject.digest,
        "preprocess": subject.preprocess.to_dict(),
        "pictures": test.digest,
        "code": code_digest(
            "repghost.evaluation.accuracy", "repghost.data.images.preprocess", *FUSED_NETWORK, alone=(__name__,)
        ),
        "tools": versions("torch"),
    }
    return _kept(cache, "float_answers", key, lambda: predict(subject.fused, test.images, subject.preprocess))


def reference_predictions(program: FloatProgram, test: Images, cache: StageCache) -> NDArray[np.int64]:
    """Return the class the numpy reference of a float program gives each test image, int64 [N]; kept in the cache."""
    key = {
        "program": program.digest,
        "pictures": test.digest,
        "code": code_digest("compile.ir.float_reference", alone=(__name__,)),
        "tools": versions("numpy"),
    }
    return _kept(cache, "reference_answers", key, lambda: run_float(program, test.images))


def _kept(
    cache: StageCache, stage: str, key: dict[str, Any], logits: Callable[[], NDArray[np.float32]]
) -> NDArray[np.int64]:
    """Return the classes with the highest logits, int64 [N], computed where no earlier run did."""

    def make() -> dict[str, bytes]:
        buffer = io.BytesIO()
        np.save(buffer, logits().argmax(1), allow_pickle=False)
        return {"answers.npy": buffer.getvalue()}

    files, _ = cache.get(stage, key, make)
    return np.load(io.BytesIO(files["answers.npy"]), allow_pickle=False)
