"""How a dense convolution is cut into register tiles and panels, for integers and for floats.

As a matrix product, with k over the elements of a segment:

    # [pixels, segments * length] x [segments * length, channels] -> [pixels, channels]
    Y[pixel, n] = sum over s and k of X[pixel, s, k] * W[n, s, k]

A tile of `rows` pixels by `columns` channels stays in registers for the whole sum and is stored once. A panel is a run
of tiles of one width; its constants lie in memory in the order in which its kernel reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.integer.operation import Windowed
from calib.integer.program import Conv2d
from compile.intrin.base import GemmShape
from compile.ir import tir
from compile.ir.float_program import FloatConv2d
from compile.ir.memory_plan import CHANNEL_GROUP, TensorPlace
from compile.ir.tir import Expr, Kernel, Pointer


@dataclass(frozen=True)
class Panel:
    """Neighbouring output channels that run with the same tile width; `count` tiles of `columns` channels."""

    first: int  # channel
    columns: int
    count: int
    start: int  # bytes into the operator's constants
    bytes_each: int
    copies: int = 1  # of the bias

    def channels_of(self, index: int) -> slice:
        """Return the output channels of tile number `index`."""
        return slice(self.first + index * self.columns, self.first + (index + 1) * self.columns)

    def exceeds(self, channels: int) -> bool:
        """Tell whether the panel ends in a group of four that is not full, of an output of so many channels."""
        return self.first + self.count * self.columns > channels


def gemm_shape(operator: Conv2d | FloatConv2d, source: TensorPlace) -> GemmShape:
    """Return how a convolution reads its input, in elements: one segment for each row of the kernel.

    A kernel dilated along the rows has one for each tap.
    """
    (rows, columns), (down, across) = operator.kernel, operator.dilations
    taps = 1 if across == 1 else columns
    return GemmShape(
        segments=rows * taps,
        length=columns // taps * source.pixel,
        segment_stride=down * source.pitch,
        pixel_stride=operator.strides[1] * source.pixel,
        taps=taps,
        tap_stride=across * source.pixel,
    )


def adjoin(operator: Conv2d, source: TensorPlace) -> bool:
    """Tell whether the pixels that neighbouring outputs read lie one after the other, also those of two rows."""
    return (operator.kernel, operator.strides, operator.pads, source.halo) == ((1, 1), (1, 1), (0, 0), 0)


def window_name(operator: Windowed[Any]) -> str:
    """Return the part of a kernel's name that says how its window moves, e.g. 3x3s1, 1x7s2x1 or 3x3s1d2."""
    rows, columns = operator.kernel
    apart = "" if operator.dilations == (1, 1) else f"d{_pair(operator.dilations)}"
    return f"{rows}x{columns}s{_pair(operator.strides)}{apart}"


def _pair(values: tuple[int, int]) -> str:
    return str(values[0]) if values[0] == values[1] else f"{values[0]}x{values[1]}"


def plan_panels(channels: int, widest: int, measure: Callable[[int], tuple[int, int]]) -> tuple[Panel, ...]:
    """Cut the output channels into full tiles and narrower ones; a last group of four that is not full stands alone.

    Args:
        channels: of the output.
        widest: columns of a full tile.
        measure: returns, for a tile of so many columns, the copies of its bias and the bytes of its constants.
    """
    panels: list[Panel] = []
    first = start = 0
    columns, grouped = widest, channels // CHANNEL_GROUP * CHANNEL_GROUP
    while first < channels:
        columns = min(columns, grouped - first) if first < grouped else CHANNEL_GROUP
        count = max(1, (grouped - first) // columns)
        copies, bytes_each = measure(columns)
        panels.append(Panel(first, columns, count, start, bytes_each, copies))
        first += count * columns
        start += count * bytes_each
    return tuple(panels)


def bytes_of(panels: Iterable[Panel]) -> int:
    """Return the bytes of the constants of all panels."""
    return sum(panel.count * panel.bytes_each for panel in panels)


def pack_panels(panels: Iterable[Panel], pack_tile: Callable[[Panel, slice], list[bytes]]) -> bytes:
    """Return the constants of every tile, one after the other.

    Args:
        panels: from `plan_panels`.
        pack_tile: returns the constants of one tile, given its panel and its output channels.
    """
    tiles = ((panel, panel.channels_of(index)) for panel in panels for index in range(panel.count))
    return b"".join(part for panel, channels in tiles for part in pack_tile(panel, channels))


def padded_weight(weight: NDArray[Any], shape: GemmShape, channels: int) -> NDArray[Any]:
    """Return [channels, segments, length] of [O, kh, kw, I]: zeros where pixel and output are padded to four."""
    out, height, width, depth = weight.shape
    pixel = shape.segments * shape.length // (height * width)
    padded = np.zeros((channels, height, width, pixel), weight.dtype)
    padded[:out, :, :, :depth] = weight
    return padded.reshape(channels, shape.segments, shape.length)


def padded_vector(values: NDArray[Any], channels: int) -> NDArray[Any]:
    """Return one value per channel, with zeros behind the last."""
    return np.concatenate([values, np.zeros(channels - len(values), values.dtype)])


def store_scores(kernel: Kernel, logits: Pointer, channel: Expr, value: Expr, classes: int, partial: bool) -> None:
    """Store float scores from a channel on; of a group of four that is not full, lane by lane what exists."""
    if not partial:
        kernel.store(logits, channel, value)
        return
    named = kernel.bind(value, "scores")
    for lane in range(classes % CHANNEL_GROUP):
        kernel.store(logits, channel + lane, tir.shuffle([named], [lane]))
