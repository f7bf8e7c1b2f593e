"""Where the window of a node lies on its map: what the attributes of convolutions and pools say, checked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.integer.operation import dilated
from calib.integer.values import Tensor
from compile.ir.qdq_graph import Node, QdqGraph
from compile.passes.rules.common import Refusal, tensor_of

Pair = tuple[int, int]  # of rows, then of columns
Counts = NDArray[np.int64]
MOST_PADDING = 64  # pixels on a side: what is padded lies in memory, and a window reaches as far
MOST_STRIDE = 1 << 16


@dataclass(frozen=True)
class Geometry:
    """The window of a convolution or a pool."""

    kernel: Pair  # taps
    strides: Pair
    pads: Pair  # above and on the left
    ends: Pair  # below and on the right
    dilations: Pair

    @property
    def window(self) -> Pair:
        """Height and width of what the taps cover, in pixels."""
        return dilated(self.kernel[0], self.dilations[0]), dilated(self.kernel[1], self.dilations[1])

    def outputs(self, x: Tensor, ceil: bool = False) -> Pair:
        """Return how many windows fit a map, down and across, with `ceil` one that begins on it and ends beyond."""
        made = []
        for side, before, after, of, stride in zip(
            x.shape, self.pads, self.ends, self.window, self.strides, strict=False
        ):
            count = (side + before + after - of + ceil * (stride - 1)) // stride + 1
            made.append(count - (ceil and (count - 1) * stride >= side + before))
        return made[0], made[1]

    def taps_inside(self, x: Tensor, y: Tensor, with_padding: bool = False) -> tuple[Counts, Counts]:
        """Return how many taps of each row of windows, and of each column, lie on the map or its padding."""
        rows, columns = (
            _taps_inside(of, made, before + after if with_padding else 0, before if not with_padding else 0, *side)
            for of, made, before, after, *side in zip(
                x.shape, y.shape, self.pads, self.ends, self.kernel, self.strides, self.dilations, strict=False
            )
        )
        return rows, columns


def geometry_of(graph: QdqGraph, node: Node, kernel: tuple[int, ...]) -> Geometry | Refusal:
    """Return the window of a node.

    Args:
        graph: knows the shapes, which `auto_pad` asks for.
        node: a convolution or a pool.
        kernel: its taps, down and across.
    """
    attributes = node.attributes
    strides, dilations = attributes.get("strides", (1, 1)), attributes.get("dilations", (1, 1))
    pads = attributes.get("pads", (0, 0, 0, 0))
    if len(kernel) != 2 or min(kernel) < 1:
        return Refusal(f"its kernel is {kernel}; height and width, at least 1, are needed")
    if len(strides) != 2 or len(dilations) != 2 or min(*strides, *dilations) < 1 or max(strides) > MOST_STRIDE:
        return Refusal(f"strides {strides}, dilations {dilations}; two of each are needed, at least 1 and at most "
                       f"{MOST_STRIDE:,}")  # fmt: skip
    (rows, columns), (apart, beside) = kernel, dilations
    far = (apart if rows > 1 else 1, beside if columns > 1 else 1)
    auto = attributes.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        pads = _same_pads(graph, node, Geometry(kernel, strides, (0, 0), (0, 0), far), lower=auto == "SAME_LOWER")
    elif auto not in ("NOTSET", "VALID"):
        return Refusal(f"auto_pad {auto!r} is not supported; export with explicit pads")
    if len(pads) != 4 or min(pads) < 0:
        return Refusal(f"pads {pads}; four numbers, none below 0, are needed")
    within = tuple(taps - 1 for taps in kernel) if node.operator == "Conv" else (0, 0)  # no file stores a pool's taps
    if any(pad > max(MOST_PADDING, most) for pad, most in zip(pads, (*within, *within), strict=True)):
        return Refusal(
            f"pads {pads}; at most {MOST_PADDING} pixels, or less than a convolution's kernel, are supported"
        )
    return Geometry(kernel, strides, pads[:2], pads[2:], far)


def _same_pads(graph: QdqGraph, node: Node, valid: Geometry, lower: bool) -> tuple[int, ...]:
    """Return pads with which as many windows fit as the map has strides; an odd pixel goes to the end, or the start."""
    x = tensor_of(graph, node.inputs[0])
    before, after = [], []
    for size, window, stride in zip((x.height, x.width), valid.window, valid.strides, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + window - size)
        before.append((total + lower) // 2)
        after.append(total - before[-1])
    return *before, *after


def _taps_inside(size: int, made: int, more: int, before: int, taps: int, stride: int, apart: int) -> Counts:
    first = np.arange(made) * stride - before  # where the first tap of each window lies
    least, most = -(np.minimum(first, 0) // apart), (size + more - 1 - first) // apart
    return np.clip(np.minimum(most, taps - 1) - least + 1, 0, None)


def shape_misfit(
    graph: QdqGraph, node: Node, geometry: Geometry, in_channels: int, out_channels: int
) -> Refusal | None:
    """Return a refusal when the shapes of input, window and output contradict each other."""
    x, y = tensor_of(graph, node.inputs[0]), tensor_of(graph, node.output)
    if x.channels != in_channels:
        return Refusal(f"its input has {x.channels} channels, its kernel reads {in_channels}")
    expected = (*geometry.outputs(x, bool(node.attributes.get("ceil_mode", 0))), out_channels)
    if expected == y.shape and min(expected) > 0:
        return None
    return Refusal(f"its output has shape {y.shape}, its kernel makes {expected}")
