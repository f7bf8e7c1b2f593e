"""A detector of a few convolutions with random weights, quantized: two resolutions, three classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from calib.quantize import Quantized, Source, quantize_network
from calib.settings.config import QuantConfig
from repghost.data.images.preprocess import Preprocess
from repghost.detection.boxes import BoxRule, Level
from repghost.graph.operators import INPUT, RELU, Convolution, Graph

SIZE = 12
LABELS = ("circle", "square", "tri angle")
PREPROCESS = Preprocess(SIZE, SIZE, squash=True)
RULE = BoxRule(3, (Level(6, 6, ((0.3, 0.4), (0.5, 0.2))), Level(3, 3, ((0.9, 0.8),))), score=0.2)


def convolution(name: str, source: str, shape: tuple[int, int, int], stride: int = 1, **options: Any) -> Convolution:
    """Return one of random weights; `shape` is outputs, inputs and the side of the kernel."""
    random = np.random.default_rng(len(name))
    outputs, inputs, side = shape
    weight = random.normal(0, (inputs * side * side) ** -0.5, (outputs, inputs, side, side)).astype(np.float32)
    bias = random.normal(0, 0.1, outputs).astype(np.float32)
    return Convolution(name, source, weight, bias, (stride, stride), (side // 2,) * 4, **options)


def detector_graph() -> Graph:
    """Return the operators; their results are those of `RULE`."""
    heads = {"scores": RULE.classes + 1, "boxes": 4}
    levels = {"fine": 8, "coarse": 12}
    return Graph(
        (
            convolution("stem", INPUT, (8, 3, 3), 2, clamp=RELU),
            convolution("fine", "stem", (8, 8, 3), clamp=RELU),
            convolution("coarse", "fine", (12, 8, 3), 2, clamp=RELU),
            *(
                convolution(f"{kind}.{number}", source, (size * len(level.anchors), levels[source], 1))
                for kind, size in heads.items()
                for number, (source, level) in enumerate(zip(levels, RULE.levels, strict=True))
            ),
        ),
        3, (SIZE, SIZE), tuple(f"{kind}.{number}" for kind in heads for number in range(2)),
    )  # fmt: skip


def pictures() -> np.ndarray:
    """Return uint8 [8, SIZE, SIZE, 3]."""
    return np.random.default_rng(0).integers(0, 256, (8, SIZE, SIZE, 3), dtype=np.uint8)


def quantized_detector(policy: str = "cpu") -> Quantized:
    """Return it as a QDQ file."""
    source = Source(LABELS, "0" * 64, {"data": "noise", "pictures": 8}, RULE.to_dict())
    config = QuantConfig(policy=policy)
    return quantize_network("small_detector", detector_graph(), pictures(), PREPROCESS, config, source)
