"""What other runtimes start from: the files of one network and its images, in a folder of their own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def together(results: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the logits, or the numbers of several maps as a bundle orders them, float32 [1, numbers].

    Args:
        results: float32 [1, classes] alone, or [1, C, H, W] each.
    """
    if len(results) == 1:
        return results[0]
    return np.concatenate([np.moveaxis(result, 1, -1).reshape(1, -1) for result in results], axis=1)


@dataclass(frozen=True)
class PeerInputs:
    """One network and its images; an absent file is None."""

    folder: Path  # runtimes put what they make here
    onnx: Path | None  # float32, "input" [1, channels, H, W] to "logits" [1, classes]
    qdq: Path | None  # int8
    images: Path  # uint8 [N, H, W, channels], as .npy
    inputs: Path  # the same, normalized: float32 [N, channels, H, W], as .npy
    mean: tuple[float, ...]
    std: tuple[float, ...]
    saturates: bool  # whether the products of 8-bit numbers saturate on this machine: x86 without VNNI
    results: tuple[str, ...] = ()  # the names of several results in the float file, in their order; () of logits

    def source(self, kind: str) -> Path:
        """Return the file called "onnx" or "qdq", which has to be there."""
        path = getattr(self, kind)
        if path is None:
            raise FileNotFoundError(f"the {kind} file is not there")
        return Path(path)

    def load_inputs(self) -> NDArray[np.float32]:
        """Return the normalized images, float32 [N, channels, H, W]."""
        return np.load(self.inputs, allow_pickle=False)

    def load_images(self) -> NDArray[np.uint8]:
        """Return the images as bytes, uint8 [N, H, W, channels]."""
        return np.load(self.images, allow_pickle=False)

    def to_json(self) -> str:
        """Return text that `from_json` reads."""
        return json.dumps(asdict(self), default=str)

    @staticmethod
    def from_json(text: str) -> PeerInputs:
        """Return the inputs that `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        for name in ("folder", "onnx", "qdq", "images", "inputs"):
            values[name] = None if values[name] is None else Path(values[name])
        for name in ("mean", "std", "results"):
            values[name] = tuple(values[name])
        return PeerInputs(**values)
