"""Other mobile networks to compare with: timm's, of random weights, in the QDQ form ONNX Runtime's quantizer writes.

Their predictions mean nothing; size, speed and the equality of all builds do. A trained one is compiled from its own
file: WEIGHTS=FILE.qdq.onnx.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compile.subject.noise import RANDOM_IMAGES, noise_images, statistics_size, unlabelled_noise
from compile.subject.subject import RANDOM, OtherNetwork
from repghost.data.images.preprocess import Preprocess
from repghost.errors import ToolMissingError, UsageError, unknown_value
from repghost.evaluation.classes import numbered_labels
from repghost.sizes import Size, sides

if TYPE_CHECKING:
    import torch

TESTED_NETWORKS = (
    "mobilenetv2_100",
    "mobilenetv3_small_100",
    "mobilenetv3_large_100",
    "ghostnet_050",
    "ghostnet_100",
    "efficientnet_lite0",
    "resnet18",
)  # which tests compile; another one may hold a layer that cannot be computed in integers, and is then refused
CALIBRATION_IMAGES = 8
OPSET = 17


def timm_subject(name: str, size: Size, classes: int, seed: int) -> OtherNetwork:
    """Return a network of timm with random weights and real batch statistics, quantized.

    Args:
        name: as timm calls it, e.g. mobilenetv3_large_100.
        size: pixels of the input.
        classes: how many the last layer tells apart.
        seed: makes the weights.

    Raises:
        UsageError: when timm has no such network.
        ToolMissingError: when ONNX Runtime, which quantizes it, is not installed.
    """
    preprocess = Preprocess(size=size, resize=size)
    noise = unlabelled_noise(size, seed)
    model = random_network(name, preprocess, classes, seed)
    content = quantized(model, preprocess, noise.images[:CALIBRATION_IMAGES])
    digest = hashlib.sha256(content).hexdigest()
    return OtherNetwork(
        name=name,
        digest=digest,
        weights={"kind": RANDOM, "source": f"timm's {name}, seed {seed}", "sha256": digest},
        preprocess=preprocess,
        labels=numbered_labels(classes),
        calibration=noise,
        qdq=content,
        quantization={"config": {"quantizer": "ONNX Runtime, static, per channel"}, "calibration": {"data": "noise"}},
    )


def random_network(name: str, preprocess: Preprocess, classes: int, seed: int) -> torch.nn.Module:
    """Return a network of timm in evaluation mode whose batch norms know the statistics of what reaches them.

    Raises:
        UsageError: when timm has no such network.
    """
    import timm
    import torch

    if name not in timm.list_models():
        raise unknown_value("network of timm", name, timm.list_models())
    torch.manual_seed(seed)
    model = timm.create_model(name, pretrained=False, num_classes=classes)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # a plain mean over the batches
    small = noise_images(RANDOM_IMAGES, statistics_size(preprocess.size), seed + 1)
    with torch.no_grad():
        for start in range(0, len(small), 8):
            model.train()(torch.from_numpy(preprocess.normalize(small[start : start + 8])))
    network: torch.nn.Module = model.eval()
    return network


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
        images: uint8 [N, height, width, channels], to calibrate with.
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
