"""Mobile networks of timm with random weights, as QDQ files that ONNX Runtime's quantizer writes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

SIZE, CLASSES = 64, 10


class _Pictures(CalibrationDataReader):
    def __init__(self, count: int = 2) -> None:
        self.pictures: Iterator[dict[str, Any]] = iter(
            {"input": np.random.default_rng(seed).normal(size=(1, 3, SIZE, SIZE)).astype(np.float32)}
            for seed in range(count)
        )

    def get_next(self) -> dict[str, Any] | None:
        return next(self.pictures, None)


def write_qdq(name: str, folder: Path, activations: QuantType = QuantType.QInt8) -> Path:
    """Write the QDQ file of a timm model; its batch norms have seen a few random pictures."""
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, num_classes=CLASSES).train()
    with torch.no_grad():
        for _ in range(2):
            model(torch.randn(4, 3, SIZE, SIZE))
    float_path, path = folder / "float.onnx", folder / f"{name}.qdq.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        picture = torch.randn(1, 3, SIZE, SIZE)
        torch.onnx.export(
            model.eval(), (picture,), str(float_path), dynamo=False, opset_version=17, input_names=["input"],
            output_names=["logits"],
        )  # fmt: skip
        quantize_static(
            str(float_path), str(path), _Pictures(), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=activations, weight_type=QuantType.QInt8, extra_options={"WeightSymmetric": True},
        )  # fmt: skip
    return path
