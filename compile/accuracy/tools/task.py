"""What a tool is given: a float network, calibration images and test images."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

INPUT = "input"


@dataclass(frozen=True)
class Task:
    """One network for one tool.

    Attributes:
        folder: where the tool puts what it makes.
        tool: a module of this package.
        options: for its `quantize`.
        onnx: float32, "input" [N, channels, H, W] to "logits" [N, classes].
        calibration: uint8 [N, H, W, channels], as .npy.
        images: the same of the test images.
        normalized: float32 [channels, 256], as .npy: what each byte of each channel becomes.
        predictions: int64 [N], the .npy to write.
    """

    folder: Path
    tool: str
    options: Mapping[str, Any]
    onnx: Path
    calibration: Path
    images: Path
    normalized: Path
    predictions: Path

    def calibration_batches(self) -> Iterator[NDArray[np.float32]]:
        """Yield normalized calibration images one at a time, float32 [1, 3, H, W]."""
        yield from self._batches(self.calibration, 1)

    def image_batches(self, size: int = 100) -> Iterator[NDArray[np.float32]]:
        """Yield the normalized test images, float32 [size, 3, H, W]; the last batch may be smaller."""
        yield from self._batches(self.images, size)

    def _batches(self, path: Path, size: int) -> Iterator[NDArray[np.float32]]:
        images, table = np.load(path, allow_pickle=False), np.load(self.normalized, allow_pickle=False)
        for start in range(0, len(images), size):
            part = images[start : start + size]
            yield np.ascontiguousarray(np.stack([table[c][part[..., c]] for c in range(len(table))], axis=1))

    def to_json(self) -> str:
        """Return text that `from_json` reads."""
        return json.dumps(asdict(self), default=str)

    @staticmethod
    def from_json(text: str) -> Task:
        """Return the task that `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        for name in ("folder", "onnx", "calibration", "images", "normalized", "predictions"):
            values[name] = Path(values[name])
        return Task(**values)
