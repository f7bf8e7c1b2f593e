"""Mobile networks of timm with random weights, as QDQ files that ONNX Runtime's quantizer writes."""

from __future__ import annotations

from pathlib import Path

from compile.subject.from_library import random_network
from compile.subject.noise import noise_images
from repghost.data.images.preprocess import Preprocess
from tests.support.onnxruntime_quantizer import quantized

SIZE, CLASSES = 64, 10


def write_qdq(name: str, folder: Path, unsigned: bool = False) -> Path:
    """Write the QDQ file of a timm model; its batch norms have seen a few random images."""
    preprocess = Preprocess(SIZE, SIZE)
    path = folder / f"{name}.qdq.onnx"
    model = random_network(f"timm:{name}", preprocess, CLASSES, seed=0)
    path.write_bytes(quantized(model, preprocess, noise_images(2, SIZE, seed=1), unsigned))
    return path
