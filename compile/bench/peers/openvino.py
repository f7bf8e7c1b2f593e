"""OpenVINO, CPU device, in latency mode; int8 by NNCF."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import openvino
from numpy.typing import NDArray

from compile.bench.peers.inputs import PeerInputs

SWITCH = "ONEDNN_MAX_CPU_ISA"


class OpenvinoSession:
    """One infer request with a fixed input tensor."""

    def __init__(self, path: Path, threads: int) -> None:
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32",  # what is called fp32 is fp32, also where bfloat16 is faster
        }
        core = openvino.Core()
        model = core.compile_model(core.read_model(path), "CPU", settings)
        _check_limit(model)
        self._request = model.create_infer_request()

    def feed(self, image: NDArray[np.float32]) -> None:
        """Copy the image into the request's tensor."""
        self._request.get_input_tensor().data[:] = image

    def run(self) -> None:
        """Run one inference."""
        self._request.infer()

    def logits(self) -> NDArray[np.float32]:
        """Return the logits."""
        result: NDArray[np.float32] = self._request.get_output_tensor().data
        return result


def _check_limit(model: openvino.CompiledModel) -> None:
    """Refuse a network with kernels that are wider than the switch allows, as versions before 2026.4 make them.

    What stays free is its copy of MLAS, which asks the processor alone and computes the last layer of fp32.
    """
    limit = os.environ.get(SWITCH)
    if limit is None or limit.startswith("AVX512"):
        return
    kernels = {op.get_rt_info()["primitiveType"].astype(str) for op in model.get_runtime_model().get_ordered_ops()}
    wider = sorted(name for name in kernels if "avx512" in name)
    if wider:
        raise RuntimeError(f"{SWITCH}={limit} did not keep OpenVINO from {', '.join(wider)}")


def prepare(inputs: PeerInputs, form: str) -> Path:
    """Return the float file or our QDQ file, which it reads as they are, or the one NNCF makes from the float file."""
    if form != "int8":
        return inputs.source("qdq" if form == "qdq" else "onnx")
    path = inputs.folder / "openvino-int8.xml"
    if not path.exists():
        _quantize(inputs, path)
    return path


def _quantize(inputs: PeerInputs, path: Path) -> None:
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix

    fix = OverflowFix.ENABLE if inputs.saturates else OverflowFix.DISABLE
    quantized = nncf.quantize(
        openvino.Core().read_model(inputs.source("onnx")),
        nncf.Dataset([image[None] for image in inputs.load_inputs()]),
        preset=nncf.QuantizationPreset.MIXED,
        advanced_parameters=AdvancedQuantizationParameters(overflow_fix=fix),
    )
    openvino.save_model(quantized, path, compress_to_fp16=False)


def open_session(path: Path, inputs: PeerInputs, form: str, threads: int) -> OpenvinoSession:
    """Load a file."""
    return OpenvinoSession(path, threads)
