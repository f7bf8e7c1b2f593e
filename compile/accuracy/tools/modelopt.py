"""NVIDIA ModelOpt's ONNX quantizer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from modelopt.onnx import quantization

from compile.accuracy.tools.task import INPUT, Task

PACKAGES = ("nvidia-modelopt", "onnx", "onnxruntime")


def quantize(task: Task) -> Path:
    """Return the file it makes.

    Options: method ("max" or "entropy").
    """
    path = task.folder / "quantized.onnx"
    quantization.quantize(
        str(task.onnx),
        quantize_mode="int8",
        calibration_data={INPUT: np.concatenate(list(task.calibration_batches()))},
        calibration_method=task.options["method"],
        calibration_eps=["cpu"],
        high_precision_dtype="fp32",
        output_path=str(path),
        log_level="ERROR",
    )
    return path
