"""LiteRT (TensorFlow Lite) with XNNPACK, given its own layout, NHWC, so that it need not transpose the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from compile.bench.peers.inputs import PeerInputs


class LitertSession:
    """An interpreter; an int8 input or output is quantized outside of the timed part."""

    def __init__(self, path: Path, threads: int) -> None:
        self._interpreter = Interpreter(str(path), num_threads=threads)  # applies XNNPACK by itself
        self._interpreter.allocate_tensors()
        self._input, self._output = self._interpreter.get_input_details()[0], self._interpreter.get_output_details()[0]

    def feed(self, image: NDArray[np.float32]) -> None:
        """Copy the image into the input tensor."""
        value: NDArray[Any] = image.transpose(0, 2, 3, 1)
        if self._input["dtype"] == np.int8:
            scale, zero_point = self._input["quantization"]
            value = np.clip(np.rint(value / scale) + zero_point, -128, 127).astype(np.int8)
        self._interpreter.set_tensor(self._input["index"], np.ascontiguousarray(value))

    def run(self) -> None:
        """Run one inference."""
        self._interpreter.invoke()

    def logits(self) -> NDArray[np.float32]:
        """Return the logits."""
        value = self._interpreter.get_tensor(self._output["index"])
        if value.dtype != np.int8:
            return np.asarray(value, np.float32)
        scale, zero_point = self._output["quantization"]
        return ((value.astype(np.float32) - zero_point) * scale).astype(np.float32)


def prepare(inputs: PeerInputs, form: str) -> Path:
    """Return the converted network, quantized for int8."""
    path = inputs.folder / "litert-fp32.tflite"
    if not path.exists():
        _convert(inputs, path)
    if form == "fp32":
        return path
    quantized = inputs.folder / "litert-int8.tflite"
    if not quantized.exists():
        _quantize(inputs, path, quantized)
    return quantized


def _convert(inputs: PeerInputs, path: Path) -> None:
    import litert_torch
    import torch

    from calib.importer.import_onnx import import_onnx
    from repghost.graph.module import GraphModule

    network = GraphModule(import_onnx(inputs.source("onnx")).graph)  # it converts modules of PyTorch alone
    model = litert_torch.to_channel_last_io(network, args=[0]).eval()
    sample = torch.from_numpy(np.ascontiguousarray(inputs.load_inputs()[:1].transpose(0, 2, 3, 1)))
    litert_torch.convert(model, (sample,)).export(str(path))


def _quantize(inputs: PeerInputs, source: Path, path: Path) -> None:
    from ai_edge_quantizer import quantizer, recipe

    work = quantizer.Quantizer(str(source), recipe.static_wi8_ai8())
    signature, names = next(iter(Interpreter(str(source)).get_signature_list().items()))
    images = inputs.load_inputs().transpose(0, 2, 3, 1)
    samples = [{names["inputs"][0]: np.ascontiguousarray(image[None])} for image in images]
    result = work.quantize(work.calibrate({signature: samples}, num_threads=1), enable_progress_report=False)
    result.export_model(str(path))


def open_session(path: Path, inputs: PeerInputs, form: str, threads: int) -> LitertSession:
    """Load a file."""
    return LitertSession(path, threads)
