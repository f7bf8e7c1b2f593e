"""Other tools: the same float network and calibration images, quantized in an interpreter that has them."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compile.accuracy.methods import FUSED, Foreign, Method
from compile.accuracy.network import Network
from compile.accuracy.row import PREDICTIONS, Row, keep_row
from compile.accuracy.tools.task import INPUT, Task
from compile.bench.processes import link_packages, peer_environment
from compile.storage.measurements import Measurements
from repghost.errors import RepGhostError, ToolMissingError
from repghost.exporters.onnx import graph_onnx, to_bytes
from repghost.processes import TimeLimitError, run_limited
from repghost.sizes import sides

TIME_LIMIT = 3600  # seconds
OPSET = 17


class ForeignError(RepGhostError):
    """A tool that failed; the others are measured without it."""


def measure_foreign(network: Network, method: Method, store: Measurements, pythons: Sequence[Path]) -> Row:
    """Return the predictions of another tool's file.

    Args:
        network: what is quantized.
        method: a row with a `Foreign` quantizer.
        store: keeps the predictions.
        pythons: interpreters; the first that has the tool is used.

    Raises:
        ToolMissingError: when none has it.
        ForeignError: when the tool fails.
    """
    quantizer = method.quantizer
    assert isinstance(quantizer, Foreign)
    key = {
        **network.key(),
        **quantizer.key(),
        "calibration": network.calibration_digest,
        "test": network.test_digest,
    }
    return keep_row(store, "foreign", key, lambda: _run(network, quantizer, pythons))


def _run(network: Network, quantizer: Foreign, pythons: Sequence[Path]) -> Row:
    with tempfile.TemporaryDirectory(prefix="repghost-accuracy-") as name:
        folder = Path(name)
        task = _write_task(network, quantizer, folder)
        packages, settings = link_packages(folder), folder / "task.json"
        settings.write_text(task.to_json())
        missing = ""
        for python in pythons:
            answer = _ask(python, settings, packages)
            if "missing" in answer:
                missing = str(answer["missing"])
                continue
            if "failed" in answer:
                raise ForeignError(str(answer["failed"]))
            record = {
                "seconds": answer["seconds"],
                "versions": answer["versions"],
                "by": "ONNX Runtime, exact quantizers",
            }
            return network.row(np.load(task.predictions, allow_pickle=False), record)
        raise ToolMissingError(f"no interpreter that was given has the Python package {missing!r}")


def _ask(python: Path, settings: Path, packages: Path) -> dict[str, Any]:
    """Run the worker and return what it printed."""
    command = [str(python), "-m", "compile.accuracy.worker", str(settings)]
    try:
        done = run_limited(
            command, TIME_LIMIT, name="its process", advice="Try again when the machine has less to do.",
            environment=peer_environment(1, packages), folder=settings.parent,
        )  # fmt: skip
    except TimeLimitError as error:
        return {"failed": str(error)}
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        answer = None
    if isinstance(answer, dict):
        return answer
    lines = done.stderr.strip().splitlines() or ["it said nothing"]
    if "onnxruntime" in lines[-1] and "ModuleNotFoundError" in lines[-1]:
        return {"missing": "onnxruntime"}
    return {"failed": f"it ended with code {done.returncode}: {lines[-1][:300]}"}


def _write_task(network: Network, quantizer: Foreign, folder: Path) -> Task:
    """Write what a tool needs into a folder."""
    subject = network.subject
    onnx = folder / "model.onnx"
    onnx.write_bytes(float_onnx(network, fuse=quantizer.form == FUSED))
    task = Task(
        folder=folder,
        tool=quantizer.tool,
        options=quantizer.options,
        onnx=onnx,
        calibration=folder / "calibration.npy",
        images=folder / "pictures.npy",
        normalized=folder / "normalized.npy",
        predictions=folder / PREDICTIONS,
    )
    np.save(task.calibration, subject.calibration.images, allow_pickle=False)
    np.save(task.images, network.test.images, allow_pickle=False)
    every_byte = np.repeat(np.arange(256, dtype=np.uint8).reshape(1, 1, 256, 1), subject.preprocess.channels, axis=3)
    np.save(task.normalized, subject.preprocess.normalize(every_byte)[0, :, 0], allow_pickle=False)
    return task


def float_onnx(network: Network, fuse: bool) -> bytes:
    """Return the float network as ONNX with an open batch: fused, or with every branch and batch norm.

    Raises:
        UsageError: when a network that is no RepGhostNet was to keep its branches.
    """
    subject, size = network.subject, network.subject.preprocess.size
    if fuse:
        return to_bytes(graph_onnx(subject.graph, size, subject.name, batch="batch"))
    model = network.branches
    with tempfile.TemporaryDirectory(prefix="repghost-accuracy-") as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is the one that leaves batch norms as they are
        torch.onnx.export(
            model.eval(),
            (torch.zeros(1, model.spec.in_chans, *sides(size)),),
            str(Path(name) / "unfused.onnx"),
            dynamo=False,
            opset_version=OPSET,
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            input_names=[INPUT],
            output_names=["logits"],
            dynamic_axes={INPUT: {0: "batch"}, "logits": {0: "batch"}},
        )
        return (Path(name) / "unfused.onnx").read_bytes()
