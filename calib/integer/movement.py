"""Operators of the integer program that select integers and compute none: the reference of each."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from calib.integer.program import Crop, MaxPool
from calib.integer.qparams import INT8_MIN


def max_pool(operator: MaxPool, x: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return the largest integer under each window; the border is the smallest int8, which never wins.

    Args:
        operator: kernel, stride and padding above and on the left; the output's size says what is read below.
        x: int8 [N, H, W, C].
    """
    batch, height, width, channels = x.shape
    kernel, stride, p, output = operator.kernel, operator.stride, operator.padding, operator.output
    rows, columns = ((size - 1) * stride + kernel for size in (output.height, output.width))
    padded = np.full((batch, max(rows, p + height), max(columns, p + width), channels), INT8_MIN, np.int8)
    padded[:, p : p + height, p : p + width] = x
    windows = sliding_window_view(padded[:, :rows, :columns], (kernel, kernel), axis=(1, 2))
    return windows[:, ::stride, ::stride].max(axis=(4, 5))


def crop(operator: Crop, x: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return a part of a map, int8 [N, h, w, c] of [N, H, W, C]."""
    y, row, column, channel = operator.output, operator.row, operator.column, operator.channel
    return x[:, row : row + y.height, column : column + y.width, channel : channel + y.channels]
