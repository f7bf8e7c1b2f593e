"""Functions of one number as formulas of ONNX operators, to the same bits on every machine, and with gradients.

Formulas are evaluated in float32 on whole tensors here; `calib.integer.functions` evaluates them for the 256 values of
an int8 tensor. Both have a row for each operator. Exponentials and logarithms, whose last bits libraries choose, are
computed here from products and sums, each of which IEEE 754 defines; they are within 3e-7 of the exact value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.nn import functional as F

from repghost.graph.operators import Step

Operand: TypeAlias = torch.Tensor | float

CHUNK = 1 << 15  # numbers computed at a time: 128 KB stay in a core's cache
SMALLEST_EXPONENT, LARGEST_EXPONENT = -87.0, 88.0  # e**x of these is a normal float32
LOG2_HIGH, LOG2_LOW = 0.693359375, -2.12194440e-4  # log(2); small multiples of the first are exact
EXP_TERMS = 7  # of the series on [-log(2) / 2, log(2) / 2]
LOG_TERMS = 6  # of the series of atanh on [-0.172, 0.172]
SQRT_HALF = 0.70710678
SELU_ALPHA, SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875  # ONNX's defaults
# Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: within 1.5e-7 of erf.
ERF_SHARE = 0.3275911
ERF_TERMS = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)


class _Exp(torch.autograd.Function):
    """e**x, limited to normal float32 numbers."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        y = _in_chunks(_exp, x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> torch.Tensor:
        (y,) = ctx.saved_tensors
        product: torch.Tensor = dy * y
        return product


class _Log(torch.autograd.Function):
    """The natural logarithm of positive numbers."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return _in_chunks(_log, x)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        quotient: torch.Tensor = dy / x
        return quotient


def _in_chunks(compute: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    flat = x.contiguous().reshape(-1)
    parts = [compute(part) for part in flat.split(CHUNK)]
    return torch.cat(parts).reshape(x.shape) if parts else torch.empty_like(x)


def _exp(x: torch.Tensor) -> torch.Tensor:
    x = x.clamp(SMALLEST_EXPONENT, LARGEST_EXPONENT)
    power = torch.round(x * (1 / math.log(2.0)))
    rest = x.sub_(power * LOG2_HIGH).sub_(power * LOG2_LOW)
    total = torch.ones_like(rest)
    for divisor in range(EXP_TERMS, 0, -1):
        total.mul_(rest).div_(divisor).add_(1.0)
    return total.mul_(((power.to(torch.int32) + 127) << 23).view(torch.float32))  # 2**power by its bits


def _log(x: torch.Tensor) -> torch.Tensor:
    mantissa, power = torch.frexp(x)
    small = mantissa < SQRT_HALF
    mantissa = torch.where(small, 2.0 * mantissa, mantissa)
    power = torch.where(small, power - 1, power).float()
    ratio = (mantissa - 1.0) / (mantissa + 1.0)  # log(m) = 2 atanh(ratio)
    square = ratio * ratio
    total = torch.zeros_like(ratio)
    for odd in range(2 * LOG_TERMS + 1, 0, -2):
        total.mul_(square).add_(1.0 / odd)
    return total.mul_(ratio).mul_(2.0).add_(power * LOG2_LOW).add_(power * LOG2_HIGH)


def exp(x: torch.Tensor) -> torch.Tensor:
    """Return e**x, limited to normal float32 numbers."""
    y: torch.Tensor = _Exp.apply(x)
    return y


def log(x: torch.Tensor) -> torch.Tensor:
    """Return the natural logarithm of positive numbers."""
    y: torch.Tensor = _Log.apply(x)
    return y


def sigmoid(x: torch.Tensor) -> torch.Tensor:
    """Return 1 / (1 + e**-x)."""
    return 1.0 / (1.0 + exp(-x))


def tanh(x: torch.Tensor) -> torch.Tensor:
    """Return the hyperbolic tangent."""
    power = exp(-2.0 * x.abs())
    return torch.sign(x) * (1.0 - power) / (1.0 + power)


def softplus(x: torch.Tensor) -> torch.Tensor:
    """Return log(1 + e**x)."""
    return x.clamp(min=0.0) + log(1.0 + exp(-x.abs()))


def erf(x: torch.Tensor) -> torch.Tensor:
    """Return the error function."""
    size = x.abs()
    share = 1.0 / (1.0 + ERF_SHARE * size)
    total = torch.zeros_like(share)
    for term in ERF_TERMS:
        total = (total + term) * share
    return torch.sign(x) * (1.0 - total * exp(-size * size))


class _Sqrt(torch.autograd.Function):
    """The square root by numpy."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        with np.errstate(invalid="ignore"):
            y = torch.from_numpy(np.asarray(np.sqrt(x.detach().numpy())))
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> torch.Tensor:
        (y,) = ctx.saved_tensors
        return dy / (2.0 * y)


def sqrt(x: torch.Tensor) -> torch.Tensor:
    """Return the square root as IEEE 754 rounds it; PyTorch's has other last bits from machine to machine."""
    root: torch.Tensor = _Sqrt.apply(x)
    return root


def power(x: torch.Tensor, exponent: Operand) -> torch.Tensor:
    """Return x to a power: whole ones up to 8 by multiplication, a half by the root, others of positive numbers."""
    if isinstance(exponent, float) and exponent in range(9):
        return reduce(torch.mul, [x] * int(exponent), torch.ones_like(x))
    if exponent == 0.5:
        return sqrt(x)
    return exp(exponent * log(x))


def _clip(x: torch.Tensor, low: Operand = -math.inf, high: Operand = math.inf) -> torch.Tensor:
    return minimum(maximum(x, low), high)


def maximum(*operands: Operand) -> torch.Tensor:
    """Return the largest operand, number by number."""
    return torch.stack(_alike(operands)).amax(0)


def minimum(*operands: Operand) -> torch.Tensor:
    """Return the smallest operand, number by number."""
    return torch.stack(_alike(operands)).amin(0)


def _alike(operands: tuple[Operand, ...]) -> list[torch.Tensor]:
    like = next(operand for operand in operands if isinstance(operand, torch.Tensor))
    return [operand if isinstance(operand, torch.Tensor) else torch.full_like(like, operand) for operand in operands]


def _elu(x: torch.Tensor, alpha: float = 1.0) -> torch.Tensor:
    return torch.where(x < 0, alpha * (exp(x.clamp(max=0.0)) - 1.0), x)


def _hard_sigmoid(x: torch.Tensor, alpha: float = 0.2, beta: float = 0.5) -> torch.Tensor:
    return (x + beta / alpha).clamp(0.0, 1 / alpha) / (1 / alpha)


def _selu(x: torch.Tensor, alpha: float = SELU_ALPHA, gamma: float = SELU_GAMMA) -> torch.Tensor:
    return gamma * _elu(x, alpha)


# What each operator of a formula computes; attributes are keywords and have ONNX's defaults.
STEPS: dict[str, Callable[..., Any]] = {
    "Relu": torch.relu,
    "LeakyRelu": lambda x, alpha=0.01: torch.where(x < 0, alpha * x, x),
    "Clip": _clip,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda x: x * _hard_sigmoid(x, 1 / 6),
    "Sigmoid": sigmoid,
    "Tanh": tanh,
    "Elu": _elu,
    "Selu": _selu,
    "Erf": erf,
    "Exp": exp,
    "Softplus": softplus,
    "Softsign": lambda x: x / (1.0 + x.abs()),
    "Log": log,
    "ThresholdedRelu": lambda x, alpha=1.0: torch.where(x > alpha, x, torch.zeros_like(x)),
    "Floor": torch.floor,
    "Ceil": torch.ceil,
    "Round": torch.round,
    "Sign": torch.sign,
    "Neg": torch.neg,
    "Abs": torch.abs,
    "Sqrt": sqrt,
    "Reciprocal": torch.reciprocal,
    "Pow": power,
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: a / b,
    "Max": maximum,
    "Min": minimum,
}

# The same as fast as the machine can, rounded as it likes: for training.
FAST_STEPS: Mapping[str, Callable[..., Any]] = {
    **STEPS,
    "Clip": lambda x, low=-math.inf, high=math.inf: torch.clamp(x, low, high),
    "HardSigmoid": lambda x, alpha=0.2, beta=0.5: (alpha * x + beta).clamp(0.0, 1.0),
    "HardSwish": F.hardswish,
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
    "Elu": F.elu,
    "Selu": lambda x, alpha=SELU_ALPHA, gamma=SELU_GAMMA: gamma * F.elu(x, alpha),
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Softplus": F.softplus,
    "Log": torch.log,
    "Sqrt": torch.sqrt,
    "Pow": torch.pow,
}


def evaluate(steps: tuple[Step, ...], x: torch.Tensor, table: Mapping[str, Callable[..., Any]] = STEPS) -> torch.Tensor:
    """Return a formula's value for each number.

    Args:
        steps: of the formula.
        x: float32 of any shape.
        table: what each operator computes.
    """
    values = [x]
    for step in steps:
        operands = (values[operand] if isinstance(operand, int) else operand for operand in step.operands)
        values.append(table[step.operator](*operands, **dict(step.attributes)))
    return values[-1]
