"""Our quantized networks: their files, and the answers of code that was compiled from them for this machine."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from repghost.accuracy.cells import (
    ANSWERS,
    QDQ,
    RECORD,
    Cells,
    answers_bytes,
    read_answers,
    read_record,
    record_bytes,
)
from repghost.accuracy.methods import Calibrated, Method, Trained
from repghost.accuracy.network import SEED, Network
from repghost.errors import IntegrityError, ToolMissingError

if TYPE_CHECKING:
    from calib.pipeline import Quantized
    from calib.program import Program

CHECKED = 100  # pictures on which the compiled code has to repeat the numpy reference to the bit


@dataclass(frozen=True, eq=False)
class Row:
    """A measured method: the answers, and what the document says besides."""

    answers: NDArray[np.int64]
    record: dict[str, Any]


def measure_ours(network: Network, method: Method, cells: Cells) -> Row:
    """Return the answers of a method of ours, by the code that TVM makes of it for this machine.

    Raises:
        IntegrityError: when that code and the numpy reference disagree.
    """
    made = _quantized(network, method, cells)
    program = _read_program(network, made[QDQ])
    key = {"program": program.digest, "pictures": network.test.digest}
    answered = cells.get("answers", key, lambda: _compiled_answers(network, program))
    return Row(read_answers(answered), {**read_record(made), **read_record(answered), "program_digest": program.digest})


def qdq_file(network: Network, method: Method, cells: Cells) -> bytes:
    """Return the quantized file of a method of ours."""
    return _quantized(network, method, cells)[QDQ]


def _quantized(network: Network, method: Method, cells: Cells) -> dict[str, bytes]:
    quantizer = method.quantizer
    assert isinstance(quantizer, Calibrated | Trained)
    key = {**network.key(), **quantizer.key(), "calibration": network.subject.calibration.digest, "seed": SEED}

    def make() -> dict[str, bytes]:
        from calib.qdq import serialize

        begun = time.process_time()
        result, notes = (
            _calibrate(network, quantizer) if isinstance(quantizer, Calibrated) else _train(network, quantizer)
        )
        record = {"seconds": time.process_time() - begun, **notes}
        return {QDQ: serialize(result.onnx), RECORD: record_bytes(record)}

    return cells.get("quantized", key, make)


def _calibrate(network: Network, quantizer: Calibrated) -> tuple[Quantized, dict[str, Any]]:
    from calib.pipeline import Source, quantize_model

    subject = network.subject
    source = Source(subject.labels, subject.digest, subject.calibration.origin)
    result = quantize_model(network.model, subject.calibration.pictures, subject.preprocess, quantizer.config, source)
    return result, {"notes": list(result.spec.notes)}


def _train(network: Network, quantizer: Trained) -> tuple[Quantized, dict[str, Any]]:
    """Train as `repghost qat` does; what is written was chosen by pictures held out of the training split."""
    from calib.pipeline import Source
    from calib.qat_job import train_on_set

    subject, settings = network.subject, quantizer.settings
    observe = replace(settings.schedule, observe=len(subject.calibration.labels))
    settings = replace(settings, schedule=observe, seed=SEED)
    source = Source(subject.labels, subject.digest, subject.calibration.origin)
    result = train_on_set(network.model, network.training_set, subject.preprocess, quantizer.config, settings, source)
    held_out = {
        "pictures": result.held_out_pictures,
        "candidates": [candidate.to_dict() for candidate in result.candidates],
        "chosen": result.chosen.name,
    }
    return result.quantized, {"held_out": held_out}


def _read_program(network: Network, qdq: bytes) -> Program:
    from compile.stages import read_program

    with tempfile.TemporaryDirectory(prefix="repghost-accuracy-") as name:
        path = Path(name) / QDQ
        path.write_bytes(qdq)
        return read_program(path, network.subject.preprocess)


def _compiled_answers(network: Network, program: Program) -> dict[str, bytes]:
    from calib.reference import run
    from compile.load import LoadedModel

    subject, pictures = network.subject, network.test.pictures
    model = LoadedModel(_library(program), subject.preprocess.size, program.classes)
    logits = model.logits(pictures)
    chosen = np.unique(np.linspace(0, len(pictures) - 1, min(CHECKED, len(pictures))).astype(int))
    wrong = (logits[chosen] != run(program, pictures[chosen])).any(axis=1)
    if wrong.any():
        raise IntegrityError(
            f"{network.file}: compiled code and numpy reference differ on {int(wrong.sum())} of {len(wrong)} pictures."
        )
    record = {"by": f"compiled host build, {model.variant}", "checked_on": len(chosen)}
    return {ANSWERS: answers_bytes(logits.argmax(1).astype(np.int64)), RECORD: record_bytes(record)}


def _library(program: Program) -> bytes:
    """Return model.so with the plainest instruction set of this machine; all of them give the same bits."""
    from compile.build import compile_program
    from compile.load import ABI
    from compile.precisions import INT8
    from compile.targets import host_target
    from compile.toolchain import link_model

    target = host_target()
    if target is None:
        raise ToolMissingError("there is no target for this machine, so nothing can be compiled for it.")
    target = replace(target, variants=target.variants[:1])
    info = {"abi": ABI, "target": target.name, "precision": INT8.name, "program_digest": program.digest}
    return link_model(compile_program(program, target), target, info)
