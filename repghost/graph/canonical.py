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

EXACT_BITS = 53  # whole numbers of at most 2**53 are float64


def convolve(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, stride: int, padding: int, groups: int
) -> torch.Tensor:
    """Return a dense or a depthwise convolution, float32 [N, O, H, W].

    Args:
        x: float32 [N, C, H, W].
        weight: float32 [O, C / groups, kh, kw].
        bias: float32 [O].
        stride: of both axes.
        padding: zeros at each border.
        groups: 1, or C with O = C.
    """
    taps = list(_taps(x.permute(1, 2, 3, 0).contiguous(), weight.shape[2:], stride, padding))
    if groups == 1:
        columns = taps[0] if len(taps) == 1 else torch.stack(taps, 1).flatten(0, 1)
        y = multiply(weight.flatten(1), columns.flatten(1)).reshape(len(weight), *columns.shape[1:])
    else:
        y = _by_channel(taps, weight.flatten(1))
    if bias is not None:
        y = y + _spread(bias[:, None, None, None], y.shape)
    return y.permute(3, 0, 1, 2)


def _taps(x: torch.Tensor, kernel: torch.Size, stride: int, padding: int) -> Iterator[torch.Tensor]:
    """Yield what each tap of a kernel is multiplied with, [C, H', W', N] each, in the order of the weights."""
    if padding:
        x = F.pad(x, (0, 0, padding, padding, padding, padding))
    height, width = ((side - k) // stride + 1 for side, k in zip(x.shape[1:3], kernel, strict=True))
    # Positions a stride apart lie side by side in one of these, so every tap is a long run of memory.
    apart = {(i, j): x[:, i::stride, j::stride].contiguous() for i in range(stride) for j in range(stride)}
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            top, left = i // stride, j // stride
            yield apart[i % stride, j % stride][:, top : top + height, left : left + width]


def _by_channel(taps: list[torch.Tensor], weight: torch.Tensor) -> torch.Tensor:
    """Return the sum of the taps, each times its weight of [C, taps], rounded to float32 after each step."""
    total = torch.zeros_like(taps[0], memory_format=torch.contiguous_format)
    product = None if torch.is_grad_enabled() else torch.empty_like(total)  # memory for each step's
    for tap, column in zip(taps, weight.unbind(1), strict=True):
        total.add_(torch.mul(tap, _spread(column[:, None, None, None], tap.shape), out=product))
    return total


def average(x: torch.Tensor) -> torch.Tensor:
    """Return the mean over height and width, float32 [N, C, 1, 1]."""
    result: torch.Tensor = _Sum.apply(x, (2, 3))
    return result / (x.shape[2] * x.shape[3])


def gated(x: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
    """Return x [N, C, H, W] times gate [N, C, 1, 1]."""
    return x * _spread(gate, x.shape)


def hard_sigmoid(x: torch.Tensor) -> torch.Tensor:
    """Return clip(x + 3, 0, 6) / 6."""
    return (x + 3.0).clamp(0.0, 6.0) / 6.0


def classify(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return float32 [N, O], x flattened to [N, I] times weight [O, I], plus bias [O]."""
    y = multiply(weight, x.flatten(1).t())
    return (y if bias is None else y + _spread(bias[:, None], y.shape)).t()


def multiply(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the product of matrices [M, K] and [K, P], float32: the exact one of both on their grids, rounded once."""
    product: torch.Tensor = _Product.apply(a, b)
    return product


class _Product(torch.autograd.Function):
    """The product of two matrices and, as gradients, two more."""

    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(a, b)
        return _exact_product(a, b)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        a, b = ctx.saved_tensors
        da = _exact_product(dy, b.t()) if ctx.needs_input_grad[0] else None
        return da, _exact_product(a.t(), dy) if ctx.needs_input_grad[1] else None


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
    def forward(ctx: Any, x: torch.Tensor, over: tuple[int, ...]) -> torch.Tensor:
        ctx.shape = x.shape
        return exact_sum(x, over)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor, None]:
        return dy.expand(ctx.shape), None


def exact_sum(x: torch.Tensor, over: tuple[int, ...]) -> torch.Tensor:
    """Return the sum over some axes, which stay with length 1, in the type of x: on a grid, and rounded once."""
    count = math.prod(x.shape[axis] for axis in over)
    return on_grid(x, EXACT_BITS - _bits(count)).sum(over, keepdim=True).to(x.dtype) if over else x


def _exact_product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return a [M, K] times b [K, P], the terms of both rounded to so many bits that sums of K products are exact."""
    bits = (EXACT_BITS - _bits(a.shape[1])) // 2
    return (on_grid(a, bits, axis=1) @ on_grid(b, bits)).to(a.dtype)


def _bits(count: int) -> int:
    """Return the smallest n with 2**n >= count."""
    return max(count - 1, 0).bit_length()


def on_grid(x: torch.Tensor, bits: int, axis: int | None = None) -> torch.Tensor:
    """Return the numbers as float64, rounded to multiples of a power of two of which the largest has at most 2**bits.

    Args:
        x: float32 or float64 of any shape.
        bits: at most 50 are used.
        axis: the axis along which the power is the same; all of them by default.
    """
    if not x.numel():
        return x.double()
    low, high = (end.double().numpy() for end in torch.aminmax(x.detach(), dim=axis, keepdim=axis is not None))
    _, exponent = np.frexp(np.maximum(-low, high))  # no magnitude is larger than 2**exponent
    # From 2**52 to 2**53 units, neighbouring float64 are one unit apart.
    magic = torch.as_tensor(1.5 * np.ldexp(1.0, 52 + exponent - min(bits, 50)))
    return x.to(torch.float64, copy=True).add_(magic).sub_(magic)
