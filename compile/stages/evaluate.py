"""Accuracy: float32 in PyTorch against the integer program, image by image on the same set."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compile.bundle.host_model import LoadedModel
from compile.bundle.vectors import Vectors
from compile.ir.float_program import FloatProgram
from compile.ir.float_reference import run_float
from compile.storage.code_key import FUSED_NETWORK, code_digest
from compile.storage.stage_cache import StageCache, versions
from compile.subject.subject import Images, Subject
from compile.targets.precisions import INT8
from repghost.errors import IntegrityError
from repghost.evaluation.accuracy import accuracy, paired_difference, predict

if TYPE_CHECKING:
    from calib.integer.program import Program
    from repghost.network.model import RepGhostNet

HOST_BUILD = "compiled host build"
REFERENCE = "numpy reference"


@dataclass(frozen=True)
class Evaluation:
    """What is known about accuracy, ready for manifest and report; `record["measured"]` says whether it was."""

    record: Mapping[str, Any]

    @property
    def drop_points(self) -> float | None:
        """Percentage points of top-1 lost from float32 to int8; None when not measured."""
        change = self.record.get("change")
        return None if change is None else -100.0 * float(change["difference"])


def not_measured(reason: str) -> Evaluation:
    """Return the evaluation of a run without labelled images."""
    command = "make compile TARGET=host WEIGHTS=FILE DATA=DIR"
    return Evaluation({"measured": False, "reason": reason, "command": command})


def float_predictions(model: RepGhostNet, subject: Subject, test: Images, cache: StageCache) -> NDArray[np.int64]:
    """Return the class PyTorch gives each test image, int64 [N]; kept in the cache, it is the slowest evaluate."""
    key = {
        "weights": subject.digest,
        "preprocess": subject.preprocess.to_dict(),
        "pictures": test.digest,
        "code": code_digest("repghost.evaluation.accuracy", *FUSED_NETWORK, alone=(__name__,)),
        "tools": versions("torch"),
    }
    return _kept(cache, "float_answers", key, lambda: predict(model, test.images, subject.preprocess))


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


def evaluate(
    subject: Subject,
    test: Images,
    before: NDArray[np.int64] | None,
    program: Program,
    host_models: Mapping[str, bytes],
    expected: Vectors,
    references: Mapping[str, NDArray[np.int64]] | None = None,
) -> Evaluation:
    """Compare the answers of float32 with those of the integer program.

    Args:
        subject: the network.
        test: the labelled images, which were used for nothing else.
        before: int64 [N], from `float_answers`; None where there is no float network.
        program: the integer program, run by the numpy reference where there is no host build of it.
        host_models: the bytes of each model.so that was linked for this machine, by precision.
        expected: images and logits of the numpy reference; a host build has to repeat them to the bit.
        references: int64 [N] by precision, from `reference_answers`, for float builds this machine cannot run.

    Raises:
        IntegrityError: when the host build and the numpy reference disagree.
    """
    models = {
        name: LoadedModel(data, subject.preprocess.size, len(subject.labels)) for name, data in host_models.items()
    }
    after, by, checked = _int8_predictions(models.get(INT8.name), program, test, expected)
    record: dict[str, Any] = {
        "measured": True,
        "program_digest": program.digest,
        "test": {"pictures": len(test.labels), "sha256": test.digest, **test.origin},
        "fp32": None,
        "int8": {**accuracy(after, test.labels).to_dict(), "by": by, "checked_on": checked},
        "change": None,
    }
    if before is not None:
        record["fp32"] = {**accuracy(before, test.labels).to_dict(), "by": "PyTorch, fused network"}
        record["change"] = paired_difference(before, after, test.labels).to_dict()
        record |= _float_builds(models, references or {}, test, before)
    return Evaluation(record)


def _int8_predictions(
    model: LoadedModel | None, program: Program, test: Images, expected: Vectors
) -> tuple[NDArray[np.int64], str, int]:
    """Return the integer program's answers, by what they were computed, and on how many images that was checked."""
    if model is not None:
        checked = _check_against_reference(model, expected)
        return model.logits(test.images).argmax(1), HOST_BUILD, checked
    from calib.integer.reference import run

    return run(program, test.images).argmax(1), REFERENCE, 0


def _float_builds(
    models: Mapping[str, LoadedModel],
    references: Mapping[str, NDArray[np.int64]],
    test: Images,
    before: NDArray[np.int64],
) -> dict[str, Any]:
    """Return, for each build in float, its accuracy and how often it answers as PyTorch does."""
    predictions = {name: (value, REFERENCE) for name, value in references.items()}
    for name in models.keys() - {INT8.name}:
        predictions[name] = models[name].logits(test.images).argmax(1), HOST_BUILD
    return {
        f"{name}_build": {
            **accuracy(answered, test.labels).to_dict(),
            "by": by,
            "agreeing": int(np.count_nonzero(answered == before)),
        }
        for name, (answered, by) in sorted(predictions.items())
    }


def _check_against_reference(model: LoadedModel, expected: Vectors) -> int:
    """Return on how many images the host build was compared with the numpy reference."""
    wrong = (model.logits(expected.images) != expected.logits).any(axis=1)
    if wrong.any():
        raise IntegrityError(
            f"the host build and the numpy reference differ on {int(wrong.sum())} of {len(wrong)} pictures; the "
            "compiled kernels are wrong. Please report it with the QDQ file."
        )
    return len(wrong)
