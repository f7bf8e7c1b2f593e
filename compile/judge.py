"""Accuracy: float32 in PyTorch against the integer program, picture by picture on the same set."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compile.cache import StageCache, code_digest, versions
from compile.float_program import FloatProgram
from compile.float_reference import run_float
from compile.load import LoadedModel
from compile.precisions import INT8
from compile.subject import Pictures, Subject
from compile.vectors import Vectors
from repghost.errors import IntegrityError
from repghost.evaluate import accuracy, paired_difference, predict

if TYPE_CHECKING:
    from calib.program import Program
    from repghost.model import RepGhostNet

HOST_BUILD = "compiled host build"
REFERENCE = "numpy reference"


@dataclass(frozen=True)
class Judgement:
    """What is known about accuracy, ready for manifest and report; `record["measured"]` says whether it was."""

    record: Mapping[str, Any]

    @property
    def drop_points(self) -> float | None:
        """Percentage points of top-1 lost from float32 to int8; None when not measured."""
        change = self.record.get("change")
        return None if change is None else -100.0 * float(change["difference"])


def not_measured(reason: str) -> Judgement:
    """Return the judgement of a run without labelled pictures."""
    command = "make compile TARGET=host WEIGHTS=FILE DATA=DIR"
    return Judgement({"measured": False, "reason": reason, "command": command})


def float_answers(model: RepGhostNet, subject: Subject, test: Pictures, cache: StageCache) -> NDArray[np.int64]:
    """Return the class PyTorch gives each test picture, int64 [N]; kept in the cache, it is the slowest judge."""
    key = {
        "weights": subject.digest,
        "preprocess": subject.preprocess.to_dict(),
        "pictures": test.digest,
        "code": code_digest("repghost"),
        "tools": versions("torch"),
    }

    def make() -> dict[str, bytes]:
        return {"answers.npy": _to_npy(predict(model, test.pictures, subject.preprocess).argmax(1))}

    files, _ = cache.get("float_answers", key, make)
    return np.load(io.BytesIO(files["answers.npy"]), allow_pickle=False)


def _to_npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def judge(
    subject: Subject,
    test: Pictures,
    before: NDArray[np.int64] | None,
    program: Program,
    host_models: Mapping[str, bytes],
    expected: Vectors,
    references: Mapping[str, NDArray[np.int64]] | None = None,
) -> Judgement:
    """Compare the answers of float32 with those of the integer program.

    Args:
        subject: the network.
        test: the labelled pictures, which were used for nothing else.
        before: int64 [N], from `float_answers`; None where there is no float network.
        program: the integer program, run by the numpy reference where there is no host build of it.
        host_models: the bytes of each model.so that was linked for this machine, by precision.
        expected: pictures and logits of the numpy reference; a host build has to repeat them to the bit.
        references: int64 [N] by precision, from `reference_answers`, for float builds this machine cannot run.

    Raises:
        IntegrityError: when the host build and the numpy reference disagree.
    """
    models = {
        name: LoadedModel(data, subject.preprocess.size, len(subject.labels)) for name, data in host_models.items()
    }
    if INT8.name in models:
        checked, judge_name = _check_against_reference(models[INT8.name], expected), HOST_BUILD
        after = models[INT8.name].logits(test.pictures).argmax(1)
    else:
        from calib.reference import run

        checked, judge_name = 0, REFERENCE
        after = run(program, test.pictures).argmax(1)
    record: dict[str, Any] = {
        "measured": True,
        "program_digest": program.digest,
        "test": {"pictures": len(test.labels), "sha256": test.digest, **test.origin},
        "fp32": None,
        "int8": {**accuracy(after, test.labels).to_dict(), "by": judge_name, "checked_on": checked},
        "change": None,
    }
    if before is not None:
        record["fp32"] = {**accuracy(before, test.labels).to_dict(), "by": "PyTorch, fused network"}
        record["change"] = paired_difference(before, after, test.labels).to_dict()
    if before is not None:
        answers = {name: (value, REFERENCE) for name, value in (references or {}).items()}
        for name in models.keys() - {INT8.name}:
            answers[name] = models[name].logits(test.pictures).argmax(1), HOST_BUILD
        for name, (answered, by) in sorted(answers.items()):
            record[f"{name}_build"] = {
                **accuracy(answered, test.labels).to_dict(),
                "by": by,
                "agreeing": int(np.count_nonzero(answered == before)),
            }
    return Judgement(record)


def reference_answers(program: FloatProgram, test: Pictures, cache: StageCache) -> NDArray[np.int64]:
    """Return the class the numpy reference of a float program gives each test picture, int64 [N]; kept in the cache."""
    key = {
        "program": program.digest,
        "pictures": test.digest,
        "code": code_digest("compile"),
        "tools": versions("numpy"),
    }

    def make() -> dict[str, bytes]:
        return {"answers.npy": _to_npy(run_float(program, test.pictures).argmax(1))}

    files, _ = cache.get("reference_answers", key, make)
    return np.load(io.BytesIO(files["answers.npy"]), allow_pickle=False)


def _check_against_reference(model: LoadedModel, expected: Vectors) -> int:
    """Return on how many pictures the host build was compared with the numpy reference."""
    wrong = (model.logits(expected.pictures) != expected.logits).any(axis=1)
    if wrong.any():
        raise IntegrityError(
            f"the host build and the numpy reference differ on {int(wrong.sum())} of {len(wrong)} pictures; the "
            "compiled kernels are wrong. Please report it with the QDQ file."
        )
    return len(wrong)
