"""Vectors of sums that hold two channels of two pixels: what is loaded for them, and what becomes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from compile.intrin import InstructionSet
from compile.ir import tir
from compile.ir.tir import Expr


def for_pixels(isa: InstructionSet, parameter: NDArray[Any]) -> bytes:
    """Return a parameter of each channel as it lies in the vectors of sums: those of two channels, then again."""
    pixels = isa.pixels_in_vector
    if pixels == 1:
        return parameter.tobytes()
    return np.repeat(parameter.reshape(-1, 1, 4 // pixels), pixels, axis=1).tobytes()


def rows_of_pairs(vectors: list[Expr]) -> list[list[Expr]]:
    """Return vectors of [2 pixels, 2 channels] as those of the first pixel, and of the second."""
    pairs = [vectors[at : at + 2] for at in range(0, len(vectors), 2)]
    return [[tir.shuffle(pair, order) for pair in pairs] for order in ((0, 1, 4, 5), (2, 3, 6, 7))]


def parted(value: Expr, columns: int) -> list[Expr]:
    """Return int8 [pairs of pixels, columns / 2, 2 pixels, 2 channels] as one vector for each pixel."""
    halves = tir.split_dtype(tir.dtype_of(value))[1] // 2
    value = tir.reinterpret(value, f"int16x{halves}")
    if columns == 4:  # of two pairs: [2, 2, 2] halves are parted together, and stored as words
        words = tir.words(tir.reinterpret(tir.shuffle([value], (0, 2, 4, 6, 1, 3, 5, 7)), "int8x16"), 4)
        return [words[0], words[2], words[1], words[3]]
    pixels = [tir.shuffle([value], range(pixel, halves, 2)) for pixel in range(2)]
    return [tir.reinterpret(pixel, f"int8x{columns}") for pixel in pixels]
