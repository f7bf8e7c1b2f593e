"""NNCF's post-training quantizer, its ONNX backend."""

from __future__ import annotations

from pathlib import Path

import nncf
import onnx
from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix

from compile.accuracy.tools.task import INPUT, Task

PACKAGES = ("nncf", "onnx", "onnxruntime")


def quantize(task: Task) -> Path:
    """Return the file it makes.

    Options: preset ("performance": symmetric activations; "mixed": affine ones), fast_bias_correction.
    """
    path = task.folder / "quantized.onnx"
    batches = [{INPUT: batch} for batch in task.calibration_batches()]
    # Saturating instructions are no question here: the file is evaluated exactly.
    parameters = AdvancedQuantizationParameters(overflow_fix=OverflowFix.DISABLE)
    quantized = nncf.quantize(
        onnx.load(task.onnx),
        nncf.Dataset(batches),
        preset=nncf.QuantizationPreset(task.options["preset"]),
        subset_size=len(batches),
        fast_bias_correction=task.options.get("fast_bias_correction", True),
        advanced_parameters=parameters,
    )
    onnx.save(quantized, path)
    return path
