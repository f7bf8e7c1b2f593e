"""Alibaba's MNN.

Its converter and quantizer are called directly: the scripts around them, MNN.tools, install a logging client and report
to a remote service.
"""

from __future__ import annotations

import json
from pathlib import Path

import MNN
import numpy as np
from numpy.typing import NDArray

from compile.bench.peers.inputs import PeerInputs, together


class MnnSession:
    """An interpreter with one session; `results` names several results, in their order."""

    def __init__(self, path: Path, threads: int, precision: str, results: tuple[str, ...] = ()) -> None:
        self._net = MNN.Interpreter(str(path))
        self._session = self._net.createSession({"numThread": threads, "backend": "CPU", "precision": precision})
        self._input = self._net.getSessionInput(self._session)
        found = self._net.getSessionOutputAll(self._session) if results else {}
        self._outputs = [found[name] for name in results] or [self._net.getSessionOutput(self._session)]

    def feed(self, image: NDArray[np.float32]) -> None:
        """Copy the image into the session's tensor."""
        kind = MNN.Tensor_DimensionType_Caffe  # NCHW
        self._input.copyFrom(MNN.Tensor(image.shape, MNN.Halide_Type_Float, image, kind))

    def run(self) -> None:
        """Run one inference."""
        self._net.runSession(self._session)

    def logits(self) -> NDArray[np.float32]:
        """Return the logits, or the numbers of several results."""
        return together([self._numbers(output) for output in self._outputs])

    def _numbers(self, output: MNN.Tensor) -> NDArray[np.float32]:
        shape = output.getShape()
        target = MNN.Tensor(shape, MNN.Halide_Type_Float, np.zeros(shape, np.float32), MNN.Tensor_DimensionType_Caffe)
        output.copyToHostTensor(target)
        return np.array(target.getData(), np.float32).reshape(shape)


def prepare(inputs: PeerInputs, form: str) -> Path:
    """Return the converted network, quantized for int8."""
    import _tools  # the compiled part of MNN.tools

    path = inputs.folder / "mnn-fp32.mnn"
    if not path.exists():
        _tools.mnnconvert(
            ["mnnconvert", "-f", "ONNX", "--modelFile", str(inputs.source("onnx")), "--MNNModel", str(path)]
        )
    if form != "int8":
        return path  # halves are chosen when it is loaded
    quantized = inputs.folder / "mnn-int8.mnn"
    if not quantized.exists():
        _tools.mnnquant(["mnnquant", str(path), str(quantized), str(_write_settings(inputs, path))])
    return quantized


def _write_settings(inputs: PeerInputs, model: Path) -> Path:
    """Write the images and the file that tells the quantizer how to normalize them."""
    folder = inputs.folder / "mnn-pictures"
    folder.mkdir(exist_ok=True)
    images = inputs.load_images()
    count, height, width, channels = images.shape
    if channels not in (1, 3):
        raise ValueError(f"its quantizer reads pictures of 1 or 3 channels, not of {channels}")
    mark, form = ("P6", "RGB") if channels == 3 else ("P5", "GRAY")
    for index, image in enumerate(images):
        (folder / f"{index}.ppm").write_bytes(f"{mark}\n{width} {height}\n255\n".encode() + image.tobytes())
    settings = {
        "format": form,
        "mean": [255 * value for value in inputs.mean],
        "normal": [1 / (255 * value) for value in inputs.std],
        "width": width,
        "height": height,
        "path": f"{folder}/",
        "used_image_num": count,
        "feature_quantize_method": "EMA",  # KL crashes on this network
        "weight_quantize_method": "MAX_ABS",
        "quant_bits": 8,
        "batch_size": 1,
        "model": str(model),
    }
    path = inputs.folder / "mnn-settings.json"
    path.write_text(json.dumps(settings))
    return path


def open_session(path: Path, inputs: PeerInputs, form: str, threads: int) -> MnnSession:
    """Load a file."""
    return MnnSession(path, threads, "low" if form == "fp16" else "high", inputs.results)
