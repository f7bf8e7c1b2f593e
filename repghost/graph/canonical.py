"""Float32 layers whose bits are the same on every machine, whatever its instruction set and number of threads.

A float sum depends on the order of its terms, which libraries choose by instruction set, threads and sizes. Here no
sum does. Where a library adds (products of matrices, sums over a map), the terms are first rounded to multiples of
a power of two, so few bits that every partial sum is a float64 without rounding: any order gives the same bits, and a
fused multiply-add as well. Everything else is one operation on each number at a time, which IEEE 754 defines to the
bit, in an order that is written here. Gradients are computed in the same way.

Tensors are [C, H, W, N] in memory: the images lie innermost, so a pointwise convolution is one product of matrices,
and a tap of a depthwise one is one long multiplication.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from repghost.graph.operators import NO_PADS, Pads, Pair
from repghost.graph.places import nearest_places, source_places

EXACT_BITS = 53  # whole numbers of at most 2**53 are float64
BLOCK = 1 << 16  # numbers of a map that go through all steps of a layer together, and stay near the core
FEWEST_COLUMNS = 1 << 10  # of a product: fewer cost more in calls than they save


def convolve(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    strides: Pair = (1, 1),
    pads: Pads = NO_PADS,
    dilations: Pair = (1, 1),
    groups: int = 1,
    parts: int = 1,
) -> torch.Tensor:
    """Return a convolution, float32 [N, O, H, W].

    Args:
        x: float32 [N, C, H, W].
        weight: float32 [O, C / groups, kh, kw].
        bias: float32 [O].
        strides: of rows and columns.
        pads: zeros above, on the left, below, on the right.
        dilations: pixels from one tap to the next, of rows and columns.
        groups: into which channels are divided.
        parts: that the images consist of, all of one size; the bits of each are those it has alone. More than one has
            no gradients.
    """
    kernel = (weight.shape[2], weight.shape[3])
    taps = list(_taps(_image_last(x, pads), kernel, strides, dilations))
    if weight.shape[1] == 1 and len(weight) == groups:
        y = _by_channel(taps, weight.flatten(1)) if torch.is_grad_enabled() else _by_blocks(taps, weight.flatten(1))
    elif groups == 1:
        columns = taps[0] if len(taps) == 1 else torch.stack(taps, 1).flatten(0, 1)
        y = multiply(weight.flatten(1), columns, parts)
    else:
        rows = torch.stack(taps, 1).unflatten(0, (groups, -1)).flatten(1, 2)  # [groups, inputs, H', W', N]
        y = multiply(weight.flatten(1).unflatten(0, (groups, -1)), rows, parts).flatten(0, 1)
    if bias is not None:
        column = bias[:, None, None, None]
        y = y + _spread(column, y.shape) if torch.is_grad_enabled() else y.add_(column)
    return y.permute(3, 0, 1, 2)


def _image_last(x: torch.Tensor, pads: Pads) -> torch.Tensor:
    """Return [N, C, H, W] as [C, H, W, N] with zeros around."""
    x = x.permute(1, 2, 3, 0).contiguous()
    top, left, bottom, right = pads
    return F.pad(x, (0, 0, left, right, top, bottom)) if any(pads) else x


def _taps(x: torch.Tensor, kernel: Pair, strides: Pair, dilations: Pair) -> Iterator[torch.Tensor]:
    """Yield what each tap of a kernel is multiplied with, [C, H', W', N] each, in the order of the weights."""
    sides = zip(x.shape[1:3], kernel, strides, dilations, strict=True)
    height, width = ((side - (taps - 1) * dilation - 1) // stride + 1 for side, taps, stride, dilation in sides)
    # Positions a stride apart lie side by side in one of these, so every tap is a long run of memory.
    apart = {
        (i, j): x[:, i :: strides[0], j :: strides[1]].contiguous()
        for i in range(strides[0])
        for j in range(strides[1])
    }
    for i in range(0, kernel[0] * dilations[0], dilations[0]):
        for j in range(0, kernel[1] * dilations[1], dilations[1]):
            top, left = i // strides[0], j // strides[1]
            yield apart[i % strides[0], j % strides[1]][:, top : top + height, left : left + width]


def _by_channel(taps: list[torch.Tensor], weight: torch.Tensor) -> torch.Tensor:
    """Return the sum of the taps, each times its weight of [C, taps], rounded to float32 after each step."""
    total = torch.zeros_like(taps[0], memory_format=torch.contiguous_format)
    for tap, column in zip(taps, weight.unbind(1), strict=True):
        total.add_(tap * _spread(column[:, None, None, None], tap.shape))
    return total


def _by_blocks(taps: list[torch.Tensor], weight: torch.Tensor) -> torch.Tensor:
    """Return the same, some channels or rows after the other, without gradients."""
    total = torch.zeros_like(taps[0], memory_format=torch.contiguous_format)
    channels, rows = (max(1, BLOCK // max(1, part.numel())) for part in (total[0], total[0, 0]))
    for first in range(0, len(total), channels):
        columns = weight[first : first + channels, :, None, None, None].unbind(1)
        for top in range(0, total.shape[1], rows):
            place = (slice(first, first + channels), slice(top, top + rows))
            block = total[place]
            product = torch.empty_like(block)
            for tap, column in zip(taps, columns, strict=True):
                block.add_(torch.mul(tap[place], column, out=product))
    return total


def average_window(x: torch.Tensor, size: Pair, strides: Pair, pads: Pads, padding_counts: bool) -> torch.Tensor:
    """Return the mean of each window, float32 [N, C, H', W'].

    Args:
        x: float32 [N, C, H, W].
        size: of the window.
        strides: of rows and columns.
        pads: zeros above, on the left, below, on the right.
        padding_counts: whether they count.
    """
    first, *others = _taps(_image_last(x, pads), size, strides, (1, 1))
    counted = F.pad(torch.ones_like(x[:1, :1]), (pads[1], pads[3], pads[0], pads[2]), value=float(padding_counts))
    pixels = sum(_taps(counted.permute(1, 2, 3, 0), size, strides, (1, 1)))
    mean: torch.Tensor = sum(others, first) / pixels
    return mean.permute(3, 0, 1, 2)


def resize(x: torch.Tensor, size: Pair, mode: str, coordinates: str, rounding: str) -> torch.Tensor:
    """Return a map of another size, float32 [N, C, *size], as ONNX's Resize defines it (see `operators.Resize`)."""
    for axis, side in ((2, size[0]), (3, size[1])):
        places = source_places(side, x.shape[axis], coordinates)
        if mode == "nearest":
            x = x.index_select(axis, torch.from_numpy(nearest_places(places, x.shape[axis], rounding)))
            continue
        low = np.clip(np.floor(places), 0, x.shape[axis] - 1)
        share = torch.from_numpy(np.clip(places - low, 0, 1).astype(np.float32))
        share = share[:, None] if axis == 2 else share
        first = x.index_select(axis, torch.from_numpy(low.astype(np.int64)))
        second = x.index_select(axis, torch.from_numpy(np.minimum(low + 1, x.shape[axis] - 1).astype(np.int64)))
        x = first * (1.0 - share) + second * share
    return x


def average(x: torch.Tensor, parts: int = 1) -> torch.Tensor:
    """Return the mean over height and width, float32 [N, C, 1, 1] (parts as in `convolve`)."""
    result: torch.Tensor = _Sum.apply(x, (2, 3), parts)
    return result / (x.shape[2] * x.shape[3])


def gated(x: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
    """Return x [N, C, H, W] times a gate of its size, of [N, C, 1, 1] or of [N, 1, H, W]."""
    return x * _spread(gate, x.shape)


def classify(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, parts: int = 1) -> torch.Tensor:
    """Return float32 [N, O], x flattened to [N, I] times weight [O, I], plus bias [O] (parts as in `convolve`)."""
    y = multiply(weight, x.flatten(1).t(), parts)
    return (y if bias is None else y + _spread(bias[:, None], y.shape)).t()


def multiply(a: torch.Tensor, b: torch.Tensor, parts: int = 1) -> torch.Tensor:
    """Return the product of [.., M, K] and [.., K, *P], float32: the exact one on their grids, rounded once.

    Args:
        a: float32 [.., M, K].
        b: float32 [.., K, *P], as many axes before K as in `a`, and any after it.
        parts: of the last axis of b, each with a grid of its own. More than one has no gradients.
    """
    product: torch.Tensor
    if parts == 1:
        product = _Product.apply(a, b.flatten(a.ndim - 1))
    else:
        assert not torch.is_grad_enabled()
        product = _exact_product(a, b, parts)
    return product if b.ndim == a.ndim else product.unflatten(-1, b.shape[a.ndim - 1 :])


class _Product(torch.autograd.Function):
    """The product of two matrices and, as gradients, two more."""

    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(a, b)
        return _exact_product(a, b)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        a, b = ctx.saved_tensors
        da = _exact_product(dy, b.mT) if ctx.needs_input_grad[0] else None
        return da, _exact_product(a.mT, dy) if ctx.needs_input_grad[1] else None


def _spread(x: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Return numbers that broadcast to a shape, so that their gradient is an exact sum."""
    spread: torch.Tensor = _Spread.apply(x, shape) if x.requires_grad else x
    return spread


class _Spread(torch.autograd.Function):
    """Numbers read at several places; their gradient is the sum over those."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        ctx.over = tuple(axis for axis, (have, want) in enumerate(zip(x.shape, shape, strict=True)) if have != want)
        return x.expand(shape)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor, None]:
        return exact_sum(dy, ctx.over), None


class _Sum(torch.autograd.Function):
    """A sum; its gradient is read at every place."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, over: tuple[int, ...], parts: int) -> torch.Tensor:
        ctx.shape = x.shape
        return exact_sum(x, over, parts)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return dy.expand(ctx.shape), None, None


def exact_sum(x: torch.Tensor, over: tuple[int, ...], parts: int = 1) -> torch.Tensor:
    """Return the sum over some axes, which stay with length 1, in the type of x: on a grid, and rounded once.

    Args:
        x: float32 or float64 of any shape.
        over: the axes.
        parts: of the first axis, each with a grid of its own.
    """
    if not over:
        return x
    bits = EXACT_BITS - _bits(math.prod(x.shape[axis] for axis in over))
    return on_grid(x.movedim(0, -1), bits, parts=parts).movedim(-1, 0).sum(over, keepdim=True).to(x.dtype)


def _exact_product(a: torch.Tensor, b: torch.Tensor, parts: int = 1) -> torch.Tensor:
    """Return a [.., M, K] times b [.., K, *P], the terms rounded to so many bits that sums of K products are exact."""
    bits = (EXACT_BITS - _bits(a.shape[-1])) // 2
    left, flat = on_grid(a, bits, axis=-1), b.flatten(a.ndim - 1)
    if not b.numel():
        return (left @ flat.double()).to(a.dtype)
    magic, length = _rounding_term(b.detach(), bits, None, parts), b.shape[-1] if parts > 1 else 1
    result = torch.empty((*left.shape[:-1], flat.shape[-1]), dtype=a.dtype)
    step = max(FEWEST_COLUMNS, BLOCK * flat.shape[-1] // max(flat.numel(), result.numel())) // length * length
    step = step or length
    # The sums are exact, so it does not matter to their bits how many columns a library multiplies at a time.
    for first in range(0, flat.shape[-1], step):
        columns = flat[..., first : first + step].to(torch.float64, copy=True).unflatten(-1, (-1, length))
        result[..., first : first + step] = left @ columns.add_(magic).sub_(magic).flatten(-2)
    return result


def _bits(count: int) -> int:
    """Return the smallest n with 2**n >= count."""
    return max(count - 1, 0).bit_length()


def on_grid(x: torch.Tensor, bits: int, axis: int | None = None, parts: int = 1) -> torch.Tensor:
    """Return the numbers as float64, rounded to multiples of a power of two of which the largest has at most 2**bits.

    Args:
        x: float32 or float64 of any shape.
        bits: at most 50 are used.
        axis: the axis along which the power is the same; all of them by default.
        parts: of the last axis; each has a power of its own.
    """
    if not x.numel():
        return x.double()
    magic = _rounding_term(x.detach(), min(bits, 50), axis, parts)
    return x.to(torch.float64, copy=True).add_(magic).sub_(magic)


def _rounding_term(x: torch.Tensor, bits: int, axis: int | None, parts: int) -> float | torch.Tensor:
    """Return what rounds numbers to their grid when it is added and subtracted again.

    No magnitude is larger than 2**exponent, so the unit is 2**(exponent - bits). From 2**52 to 2**53 units,
    neighbouring float64 are one unit apart.
    """
    if axis is None and parts == 1:
        low, high = torch.aminmax(x)
        _, exponent = math.frexp(max(-low.item(), high.item()))
        return math.ldexp(1.5, 52 + exponent - bits)
    if axis is None:
        by_image = x.abs().flatten(0, -2).amax(0).unflatten(0, (parts, -1))
        largest = by_image.amax(1, keepdim=True).expand_as(by_image).flatten()
    else:
        largest = x.abs().amax(axis, keepdim=True)  # aminmax is slower along an axis
    _, exponents = np.frexp(largest.double().numpy())
    return torch.from_numpy(np.ldexp(1.5, 52 + exponents - bits))
