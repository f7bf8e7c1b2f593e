"""Float ONNX files of torch modules, and what ONNX Runtime's static quantizer makes of them: files of other tools."""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from repghost.data.images.preprocess import Preprocess
from repghost.errors import ToolMissingError, UsageError
from repghost.sizes import Size, sides

if TYPE_CHECKING:
    import torch

OPSET = 17


def write_float_onnx(path: Path, model: torch.nn.Module, size: Size) -> None:
    """Write the network as float32 ONNX, "input" [1, 3, height, width] to "logits"."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        torch.onnx.export(
            model,
            (torch.zeros(1, 3, *sides(size)),),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=["input"],
            output_names=["logits"],
        )


def quantized(
    model: torch.nn.Module, preprocess: Preprocess, images: NDArray[np.uint8], unsigned: bool = False
) -> bytes:
    """Return the network as ONNX Runtime's static quantizer writes it: QDQ, int8 weights per channel.

    Args:
        model: in evaluation mode.
        preprocess: how the images become its input.
        images: uint8 [N, size, size, 3], to calibrate with.
        unsigned: whether activations are uint8 instead of int8.

    Raises:
        ToolMissingError: when ONNX Runtime is not installed.
        UsageError: when it cannot quantize the network.
    """
    try:
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    except ModuleNotFoundError as error:
        raise ToolMissingError("ONNX Runtime quantizes other networks: pip install onnxruntime") from error

    class Reader(CalibrationDataReader):
        """The images, one at a time."""

        def __init__(self) -> None:
            self.rest: Iterator[dict[str, Any]] = iter({"input": preprocess.normalize(it[None])} for it in images)

        def get_next(self) -> dict[str, Any] | None:
            """Return the next image, None after the last one."""
            return next(self.rest, None)

    with tempfile.TemporaryDirectory(prefix="repghost-baseline-") as name, contextlib.redirect_stdout(io.StringIO()):
        source, target = Path(name) / "float.onnx", Path(name) / "model.qdq.onnx"
        write_float_onnx(source, model, preprocess.size)
        try:
            quantize_static(
                str(source),
                str(target),
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8 if unsigned else QuantType.QInt8,
                weight_type=QuantType.QInt8,
                extra_options={"WeightSymmetric": True},
            )
        except (ValueError, RuntimeError) as error:
            raise UsageError(f"ONNX Runtime cannot quantize the network: {error}") from error
        return target.read_bytes()
