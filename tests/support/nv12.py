"""Frames of cameras in NV12, and their colours by the standards."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.support.prepared import NV12, NV12_BT709, NV12_FULL


# Of luma, then Cr and Cb: (red, green, blue) = MATRIX @ (Y - black, Cb - 128, Cr - 128), from the standards.
def matrix(red: float, blue: float, full: bool) -> NDArray[np.float64]:
    green = 1 - red - blue
    columns = [[1, 0, 2 - 2 * red], [1, -(2 - 2 * blue) * blue / green, -(2 - 2 * red) * red / green]]
    rows = np.array([*columns, [1, 2 - 2 * blue, 0]])
    return rows if full else rows * np.array([255 / 219, 255 / 224, 255 / 224])


STANDARDS = {
    NV12: (16, matrix(0.299, 0.114, False)),
    NV12_FULL: (0, matrix(0.299, 0.114, True)),
    NV12_BT709: (16, matrix(0.2126, 0.0722, False)),
}


def from_nv12(luma: NDArray[np.uint8], chroma: NDArray[np.uint8], order: int) -> NDArray[np.uint8]:
    """The conversion in integers: the matrix in units of 2^-16, rounded to nearest."""
    black, weights = STANDARDS[order]
    height, width = luma.shape
    cb, cr = (np.repeat(np.repeat(chroma[:, i::2], 2, 0), 2, 1)[:height, :width].astype(np.int64) for i in (0, 1))
    values = np.stack([luma.astype(np.int64) - black, cb - 128, cr - 128], -1)
    return np.asarray(np.clip((values @ np.rint(weights * 65536).astype(np.int64).T + 32768) >> 16, 0, 255), np.uint8)


def nv12(width: int, height: int, apart: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    random = np.random.default_rng(width + height)
    luma = random.integers(0, 256, (height, width + apart)).astype(np.uint8)[:, :width]
    pairs = (width + 1) // 2 * 2
    return luma, random.integers(0, 256, ((height + 1) // 2, pairs + apart)).astype(np.uint8)[:, :pairs]
