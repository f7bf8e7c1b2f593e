"""Our quantized networks: their files, and the predictions of code compiled from them for this machine."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from calib.integer.reference import run
from calib.ptq.search_settings import SearchImages, search_settings
from calib.qat.data import split_images
from calib.qat.settings import QatSettings, Schedule
from calib.qat.train_aware import QatPlan
from calib.qat.train_on_set import train_on_set
from calib.qdq.writer import serialize
from calib.quantize import Source, quantize_network
from compile.accuracy.methods import Calibrated, Method, Trained
from compile.accuracy.network import SEED, Network
from compile.accuracy.row import Row, keep_row
from compile.bundle.host_model import ABI, LoadedModel
from compile.link.toolchain import link_model
from compile.stages.quantize import read_program
from compile.storage.measurements import RECORD, Measurements, read_record, record_bytes
from compile.targets.precisions import INT8
from compile.targets.table import host_target
from repghost.data.base import prepare
from repghost.errors import IntegrityError, ToolMissingError

if TYPE_CHECKING:
    from calib.integer.program import Program
    from calib.quantize import Quantized
    from calib.settings.config import QuantConfig

QDQ = "model.qdq.onnx"
CHECKED = 100  # images on which the compiled code has to repeat the numpy reference to the bit


def measure_ours(network: Network, method: Method, store: Measurements) -> Row:
    """Return the predictions of a method of ours, by the code that TVM compiles for this machine.

    Raises:
        IntegrityError: when that code and the numpy reference disagree.
    """
    made = _quantized(network, method, store)
    program = _read_program(network, made[QDQ])
    key = {"program": program.digest, "pictures": network.test_digest}
    row = keep_row(store, "answers", key, lambda: _compiled_predictions(network, program))
    return Row(row.predictions, {**read_record(made), **row.record, "program_digest": program.digest})


def qdq_file(network: Network, method: Method, store: Measurements) -> bytes:
    """Return the quantized file of a method of ours."""
    return _quantized(network, method, store)[QDQ]


def _quantized(network: Network, method: Method, store: Measurements) -> dict[str, bytes]:
    quantizer = method.quantizer
    if isinstance(quantizer, Calibrated):
        key = {**network.key(), **quantizer.key(), "calibration": network.calibration_digest, "seed": SEED}
        return store.files("quantized", key, lambda: _timed(partial(_calibrate, network, quantizer)))
    assert isinstance(quantizer, Trained)
    # The digest of the calibrated start stands for the weights, images and settings that made it.
    start = _read_program(network, _quantized(network, _start_of(quantizer), store)[QDQ]).digest
    key = {**network.key(), "trained": quantizer.settings.to_dict(), "start": start, "seed": SEED}
    return store.files("trained", key, lambda: _timed(partial(_train, network, quantizer)))


def _start_of(quantizer: Trained) -> Method:
    return Method("start", "calibrated", Calibrated(quantizer.config))


def _timed(quantize: Callable[[], tuple[Quantized, dict[str, Any]]]) -> dict[str, bytes]:
    """Return the file of a quantization and its record, with the processor seconds it took."""
    begun = time.process_time()
    result, notes = quantize()
    record = {"seconds": time.process_time() - begun, **notes}
    return {QDQ: serialize(result.onnx), RECORD: record_bytes(record)}


def _calibrate(network: Network, quantizer: Calibrated) -> tuple[Quantized, dict[str, Any]]:
    subject = network.subject
    config, search = quantizer.config, None
    if quantizer.max_drop is not None:
        config, search = _searched(network, quantizer.max_drop, config)
    source = Source(subject.labels, subject.digest, subject.calibration.origin)
    result = quantize_network(
        subject.name, subject.graph, subject.calibration.images, subject.preprocess, config, source
    )
    return result, {"notes": list(result.spec.notes), **({} if search is None else {"search": search})}


def _searched(network: Network, max_drop: float, config: QuantConfig) -> tuple[QuantConfig, dict[str, Any]]:
    """Return the settings a search keeps, evaluated on training images that calibrate nothing, and what it tried."""
    subject, dataset = network.subject, network.training_set
    schedule = Schedule(observe=len(subject.calibration.labels))
    chosen = split_images(dataset.labels, QatSettings(seed=SEED, schedule=schedule)).held_out
    prepared = prepare(dataset, subject.preprocess, chosen)
    images = SearchImages(subject.calibration.images, prepared.images, prepared.labels, subject.preprocess)
    search = search_settings(network.subject.graph, images, config, max_drop)
    return search.chosen.config, search.to_dict()


def _train(network: Network, quantizer: Trained) -> tuple[Quantized, dict[str, Any]]:
    """Train as `repghost qat` does; what is written was chosen by images held out of the training split."""
    subject, settings = network.subject, quantizer.settings
    observe = replace(settings.schedule, observe=len(subject.calibration.labels))
    settings = replace(settings, schedule=observe, seed=SEED)
    source = Source(subject.labels, subject.digest, subject.calibration.origin)
    plan = QatPlan(quantizer.config, settings)
    result = train_on_set(network.trainable, network.training_set, subject.preprocess, plan, source, name=subject.name)
    held_out = {
        "pictures": result.held_out_images,
        "candidates": [candidate.to_dict() for candidate in result.candidates],
        "chosen": result.chosen.name,
    }
    return result.quantized, {"held_out": held_out}


def _read_program(network: Network, qdq: bytes) -> Program:
    with tempfile.TemporaryDirectory(prefix="repghost-accuracy-") as name:
        path = Path(name) / QDQ
        path.write_bytes(qdq)
        return read_program(path, network.subject.preprocess)


def _compiled_predictions(network: Network, program: Program) -> Row:
    subject, images = network.subject, network.test.images
    model = LoadedModel(_library(program), subject.preprocess.shape, program.classes)
    logits = model.logits(images)
    chosen = np.unique(np.linspace(0, len(images) - 1, min(CHECKED, len(images))).astype(int))
    wrong = (logits[chosen] != run(program, images[chosen])).any(axis=1)
    if wrong.any():
        raise IntegrityError(
            f"{network.file}: compiled code and numpy reference differ on {int(wrong.sum())} of {len(wrong)} pictures."
        )
    record = {"by": f"compiled host build, {model.variant}", "checked_on": len(chosen)}
    return network.row(logits, record)


def _library(program: Program) -> bytes:
    """Return model.so with the plainest instruction set of this machine; all of them give the same bits."""
    from compile.codegen.program_to_objects import compile_program

    target = host_target()
    if target is None:
        raise ToolMissingError("there is no target for this machine, so nothing can be compiled for it.")
    target = replace(target, variants=target.variants[:1])
    info = {"abi": ABI, "target": target.name, "precision": INT8.name, "program_digest": program.digest}
    return link_model(compile_program(program, target), target, info)
