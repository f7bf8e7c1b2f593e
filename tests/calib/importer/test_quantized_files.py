"""Files that are quantized already, read as the float network that they were, with limits that ranges stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from calib.importer.import_onnx import import_onnx
from repghost.graph.run import run_float
from tests.calib.importer.test_import_onnx import kinds
from tests.support.small_onnx import CHANNELS, COLUMNS, ROWS, Spelled, model_of, numbers

NODES: list[Spelled] = [
    ("Conv", ["x", "w", "b"], "c"), ("Relu", ["c"], "r"), ("Conv", ["r", "w2", "b2"], "d"),
    ("Clip", ["d", "zero", "one"], "e"), ("Conv", ["e", "w3", "b3"], "f"), ("Add", ["e", "f"], "g"),
    ("GlobalAveragePool", ["g"], "p"), ("Flatten", ["p"], "v"), ("Gemm", ["v", "fc", "fb"], "y"),
]  # fmt: skip
CONSTANTS: dict[str, Any] = {
    "w": numbers(6, CHANNELS, 3, 3), "b": numbers(6), "w2": numbers(8, 6, 1, 1), "b2": numbers(8),
    "b3": numbers(8, seed=1),
    "w3": numbers(8, 8, 1, 1), "zero": np.float32(0), "one": np.float32(1.5), "fc": numbers(8, 5), "fb": numbers(5),
}  # fmt: skip


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_quantized_by_onnx_runtime(form: str, tmp_path: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Images(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.images = iter([{"x": numbers(1, CHANNELS, ROWS, COLUMNS, seed=seed)} for seed in range(8)])

        def get_next(self) -> Any:
            return next(self.images, None)

    model = model_of(NODES, CONSTANTS, head=False)
    (tmp_path / "float.onnx").write_bytes(model)
    quantize_static(
        tmp_path / "float.onnx", tmp_path / "int8.onnx", Images(), QuantFormat[form], per_channel=True,
        weight_type=QuantType.QInt8,
    )  # fmt: skip
    plain, read = import_onnx(model), import_onnx(tmp_path / "int8.onnx")
    assert [note.partition(";")[0] for note in read.notes] == ["the file was quantized already"]
    assert kinds(read) == kinds(plain) == (
        "Convolution Convolution Convolution Add GlobalAveragePool Classifier"
    )  # fmt: skip
    image = torch.from_numpy(numbers(1, CHANNELS, ROWS, COLUMNS, seed=3))
    expected, scores = run_float(plain.graph, image), run_float(read.graph, image)
    torch.testing.assert_close(scores, expected, rtol=0, atol=0.03 * float(expected.abs().max()))
    second = read.graph.operators[1]
    assert second.clamp == pytest.approx((0.0, 1.5), abs=0.01)  # type: ignore[union-attr]
