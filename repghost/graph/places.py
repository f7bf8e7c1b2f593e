"""Where the pixels of a resized map lie in the one that it is made of, as ONNX's Resize defines it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

ROUNDINGS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {  # by ONNX's nearest_mode
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda place: np.ceil(place - 0.5),
    "round_prefer_ceil": lambda place: np.floor(place + 0.5),
}


def source_places(side: int, source: int, coordinates: str, scale: float | None = None) -> NDArray[np.float64]:
    """Return where each of `side` pixels lies among the `source` pixels of a row or column.

    Where the scale is the ratio of the sizes, a place is one division of whole numbers: what is whole is exactly so.

    Args:
        side: pixels of the result.
        source: pixels there are.
        coordinates: ONNX's coordinate_transformation_mode.
        scale: pixels of the result for each there is, where it is not side / source.
    """
    place = np.arange(side, dtype=np.float64)
    if coordinates == "align_corners":
        return place * (source - 1) / (side - 1) if side > 1 else np.zeros(1)
    if coordinates == "pytorch_half_pixel" and side == 1:
        return np.zeros(1)
    half, back = (0.0, 0.0) if coordinates == "asymmetric" else (0.5, 0.5)
    if coordinates == "tf_half_pixel_for_nn":
        back = 0.0
    if scale is not None:
        return (place + half) / scale - back
    return (2 * (place + half) * source - 2 * back * side) / (2 * side)


def nearest_places(places: NDArray[np.float64], source: int, rounding: str) -> NDArray[np.int64]:
    """Return the nearest of `source` pixels of each place."""
    return np.clip(ROUNDINGS[rounding](places), 0, source - 1).astype(np.int64)
