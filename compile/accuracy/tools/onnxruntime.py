"""ONNX Runtime's static quantizer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

from compile.accuracy.tools.task import INPUT, Task

PACKAGES = ("onnxruntime", "onnx")


class Images(quantization.CalibrationDataReader):
    """Calibration images, one at a time."""

    def __init__(self, batches: Iterator[NDArray[np.float32]]) -> None:
        self._batches = batches

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Return the next image, None after the last one."""
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


def quantize(task: Task) -> Path:
    """Return the file it makes.

    Options: method (a name of `CalibrationMethod`), symmetric, per_channel, fold (run its own graph optimization first,
    as its documentation asks for).
    """
    options: dict[str, Any] = {"symmetric": False, "per_channel": True, "fold": True, **task.options}
    ready, path = task.folder / "ready.onnx", task.folder / "quantized.onnx"
    quant_pre_process(str(task.onnx), str(ready), skip_symbolic_shape=True, skip_optimization=not options["fold"])
    quantization.quantize_static(
        str(ready),
        str(path),
        Images(task.calibration_batches()),
        quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType.QInt8 if options["symmetric"] else quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        per_channel=options["per_channel"],
        calibrate_method=quantization.CalibrationMethod[options["method"]],
        extra_options={"ActivationSymmetric": options["symmetric"]},
    )
    return path
