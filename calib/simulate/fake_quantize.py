"""Fake-quantization for training: float32, straight-through gradients, and gradients for the scales.

With v = x / s and y = s * clamp(rint(v), low, high), where low and high are whole numbers that count from the zero
point, the gradients are those of Esser et al. 2020 (LSQ), for the logarithm of the scale:
    dx        = dy where low < v < high, else 0
    d(log s)  = sum(dy * (y - x)) over the inside + sum(dy * y) over the rest = <dy, y> - <dx, x>
so the backward pass costs one masked copy and two inner products. A ReLU needs no pass of its own: it is the bound
low = 0.
"""

from __future__ import annotations

from typing import Any

import torch

from calib.integer.qparams import WEIGHT_MAX


class _FakeQuantize(torch.autograd.Function):
    """Fake-quantization of activations, with one scale for the whole tensor."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, log_growth: torch.Tensor, scale: torch.Tensor, low: int, high: int
    ) -> torch.Tensor:
        factor = _number(scale)
        y = x.mul(1.0 / factor).round_().clamp_(low, high).mul_(factor)
        ctx.bounds = low, high
        ctx.save_for_backward(x, y, scale)
        return y

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None, None]:
        x, y, scale = ctx.saved_tensors
        dx = _inside(dy, x, *(bound * _number(scale) for bound in ctx.bounds))
        dlog = None
        if ctx.needs_input_grad[1]:
            dlog = torch.dot(_flat(dy), _flat(y)) - torch.dot(_flat(dx), _flat(x))
        return dx, dlog, None, None, None


def _number(scale: torch.Tensor) -> Any:
    """Return a scale as a number where reading it waits for no device and breaks no compiled graph."""
    return float(scale) if scale.device.type == "cpu" and not torch.compiler.is_compiling() else scale


def _inside(dy: torch.Tensor, x: torch.Tensor, low: Any, high: Any) -> torch.Tensor:
    """Return dy where low < x < high, else 0; for numbers, PyTorch has one pass for it."""
    if isinstance(low, float):
        result: torch.Tensor = torch.ops.aten.hardtanh_backward(dy, x, low, high)
        return result
    return torch.where((x > low) & (x < high), dy, 0.0)


def _flat(x: torch.Tensor) -> torch.Tensor:
    """Return all values of [N, C, H, W] as a vector, in the order of channels-last memory, where that is a view."""
    return x.permute(0, 2, 3, 1).reshape(-1)


def grown(start: torch.Tensor | float, log_growth: torch.Tensor) -> torch.Tensor:
    """Return the scales that `start` grew to, without a gradient: `start` itself where the logarithm is 0."""
    return torch.exp(log_growth.detach()) * start


def full_precision(x: torch.Tensor) -> torch.Tensor:
    """Return what autocast made half-precision as float32, anything else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def fake_quantize(
    x: torch.Tensor, log_growth: torch.Tensor, low: int, high: int, start: torch.Tensor | float = 1.0
) -> torch.Tensor:
    """Return s * clamp(rint(x / s), low, high) with straight-through and scale gradients, for s = start * growth.

    Args:
        x: float32 [N, C, H, W]; half-precision, as under autocast, is computed in float32.
        log_growth: float32 scalar, the natural logarithm of the growth.
        low: smallest q - zero point; 0 where a ReLU comes first.
        high: largest q - zero point.
        start: the scale before it grew.
    """
    scale = grown(start, log_growth)
    result: torch.Tensor = _FakeQuantize.apply(full_precision(x), log_growth, scale, low, high)
    return result


class _FakeQuantizeWeight(torch.autograd.Function):
    """Fake-quantization of weights, with a scale per output channel and limited sums of magnitudes (int16 layers)."""

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, scales: torch.Tensor, limits: torch.Tensor | None) -> torch.Tensor:
        column = scales.reshape((-1,) + (1,) * (weight.ndim - 1))
        y = weight_steps(weight, scales, limits).mul_(column)
        ctx.save_for_backward(weight, y, column)
        return y

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        weight, y, column = ctx.saved_tensors
        dx = dy * (weight.abs() < WEIGHT_MAX * column)
        dscales = None
        if ctx.needs_input_grad[1]:
            dscales = (dy * y - dx * weight).reshape(len(weight), -1).sum(1) / column.reshape(-1)
        return dx, dscales, None


def fake_quantize_weight(
    weight: torch.Tensor, scales: torch.Tensor, limits: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the integers of `weight_steps` times their scales, with gradients for weight and scales.

    Args:
        weight: float32, output channel on axis 0.
        scales: float32 [O].
        limits: see `weight_steps`.
    """
    result: torch.Tensor = _FakeQuantizeWeight.apply(weight, scales, limits)
    return result


@torch.no_grad()
def weight_steps(weight: torch.Tensor, scales: torch.Tensor, limits: torch.Tensor | None) -> torch.Tensor:
    """Return the int8 weights as whole float32 numbers: those of `qparams.quantize_weights`, reduced to the limits.

    Args:
        weight: float32, output channel on axis 0.
        scales: float32 [O].
        limits: float32 [O], the most that a channel's magnitudes may sum to; None does not limit them.
    """
    column = scales.reshape((-1,) + (1,) * (weight.ndim - 1))
    scaled = weight / column
    steps = scaled.round().clamp_(-WEIGHT_MAX, WEIGHT_MAX)
    return steps if limits is None else limited_steps(steps, scaled, limits)


def limited_steps(steps: torch.Tensor, scaled: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    """Return int8 weights reduced until each channel's magnitudes sum to at most its limit.

    One step at a time is taken from the weight whose magnitude exceeds its unrounded value the most. A weight of
    magnitude m that rounding made larger by e exceeds it by e, e - 1, ..., e - m + 1 before its first, second, ... last
    step, so the steps to take are the largest of all these numbers and no loop is needed.

    Args:
        steps: whole float32 numbers, output channel on axis 0; changed in place.
        scaled: float32, what they were rounded from.
        limits: float32 [O], the most that a channel's magnitudes may sum to.
    """
    flat = steps.reshape(len(steps), -1)
    surplus = flat.abs().sum(1) - limits
    over = torch.nonzero(surplus > 0)[:, 0]
    if not len(over):
        return steps
    rows, count = flat[over], surplus[over].ceil()
    magnitude = rows.abs()
    wanted = scaled.reshape(len(scaled), -1)[over].abs()
    most = int(torch.minimum(count, magnitude.amax(1)).max())
    taken = torch.arange(most, dtype=steps.dtype, device=steps.device)
    left = magnitude[..., None] - taken
    worth = torch.where(left > 0, left - wanted[..., None], -torch.inf).flatten(1)
    order = torch.argsort(worth, dim=1, descending=True, stable=True)  # of equal numbers the first weight's is taken
    place = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    given = ((place < count[:, None]) & worth.isfinite()).reshape(*magnitude.shape, most).sum(2)
    flat[over] = rows - rows.sign() * given
    return flat.reshape(steps.shape)
