"""ONNX Runtime, CPU provider."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from compile.bench.peers.inputs import PeerInputs, together

INPUT = "input"


class OrtSession:
    """A session whose input and output are bound once, so that nothing is copied per inference."""

    def __init__(self, path: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._input = self._session.get_inputs()[0].name
        self._binding = self._session.io_binding()

    def feed(self, image: NDArray[np.float32]) -> None:
        """Bind the image."""
        self._binding.bind_cpu_input(self._input, image)
        for output in self._outputs:
            self._binding.bind_output(output)

    def run(self) -> None:
        """Run one inference."""
        self._session.run_with_iobinding(self._binding)

    def logits(self) -> NDArray[np.float32]:
        """Return the logits; of several maps [1, C, H, W] the numbers as a bundle orders them, [1, numbers]."""
        return together(self._binding.copy_outputs_to_cpu())


def prepare(inputs: PeerInputs, form: str) -> Path:
    """Return the float file, our QDQ file, or the one its own static quantizer makes."""
    if form == "qdq":
        return inputs.source("qdq")
    if form == "fp32":
        return inputs.source("onnx")
    path = inputs.folder / "onnxruntime-int8.onnx"
    if not path.exists():
        _quantize(inputs, path)
    return path


def _quantize(inputs: PeerInputs, path: Path) -> None:
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(quantization.CalibrationDataReader):
        """The recorded images, one at a time."""

        def __init__(self) -> None:
            self._rest: Iterator[dict[str, Any]] = iter({INPUT: image[None]} for image in inputs.load_inputs())

        def get_next(self) -> dict[str, Any] | None:
            """Return the next image, None after the last one."""
            return next(self._rest, None)

    ready = inputs.folder / "onnxruntime-ready.onnx"
    quant_pre_process(str(inputs.source("onnx")), str(ready), skip_symbolic_shape=True)
    quantization.quantize_static(
        str(ready),
        str(path),
        Images(),
        quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType.QUInt8,  # the faster one on x86
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
        reduce_range=inputs.saturates,
    )
    ready.unlink()


def open_session(path: Path, inputs: PeerInputs, form: str, threads: int) -> OrtSession:
    """Load a file."""
    return OrtSession(path, threads)
