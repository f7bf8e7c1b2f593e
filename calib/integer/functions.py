"""Functions of one number, as ONNX defines them, and the tables they become for int8 tensors."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from calib.integer.qparams import INT8_MAX, INT8_MIN, QParams, dequantize, quantize
from repghost.errors import UsageError
from repghost.graph.operators import Step

Floats: TypeAlias = NDArray[np.float32]
Attributes: TypeAlias = Mapping[str, Any]

SELU = 1.67326319217681884765625, 1.05070102214813232421875  # alpha and gamma, as ONNX has them
EVERY = np.arange(INT8_MIN, INT8_MAX + 1).astype(np.int8)


def _attribute(attributes: Attributes, name: str, default: float) -> np.float32:
    return np.float32(attributes.get(name, default))


def _in_double(compute: Callable[[NDArray[np.float64]], NDArray[np.float64]], x: Floats) -> Floats:
    """Return a function with an exponential in it: in float64, rounded once, the same on every machine."""
    return compute(x.astype(np.float64)).astype(np.float32)


def _clip(attributes: Attributes, x: Floats, low: Floats | None = None, high: Floats | None = None) -> Floats:
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def _hard_sigmoid(attributes: Attributes, x: Floats) -> Floats:
    alpha, beta = _attribute(attributes, "alpha", 0.2), _attribute(attributes, "beta", 0.5)
    return np.clip(alpha * x + beta, np.float32(0), np.float32(1))


def _elu(attributes: Attributes, x: Floats) -> Floats:
    alpha = float(attributes.get("alpha", 1.0))
    return _in_double(lambda v: np.where(v < 0, alpha * np.expm1(np.minimum(v, 0)), v), x)


def _selu(attributes: Attributes, x: Floats) -> Floats:
    alpha, gamma = float(attributes.get("alpha", SELU[0])), float(attributes.get("gamma", SELU[1]))
    return _in_double(lambda v: gamma * np.where(v < 0, alpha * np.expm1(np.minimum(v, 0)), v), x)


def _erf(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.vectorize(math.erf, otypes=[np.float64])(x)


def _gelu(attributes: Attributes, x: Floats) -> Floats:
    if attributes.get("approximate", "none") == "tanh":
        return _in_double(lambda v: v / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))), x)
    return _in_double(lambda v: v / 2 * (1 + _erf(v / math.sqrt(2))), x)


# Each in float32 and in ONNX's order of operations, but for `_in_double`.
FUNCTIONS: dict[str, Callable[..., Floats]] = {
    "Identity": lambda attributes, x: x,
    "Relu": lambda attributes, x: np.maximum(x, np.float32(0)),
    "LeakyRelu": lambda attributes, x: np.where(x < 0, _attribute(attributes, "alpha", 0.01) * x, x),
    "PRelu": lambda attributes, x, slope: np.where(x < 0, slope * x, x),
    "Clip": _clip,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda attributes, x: x * _hard_sigmoid({"alpha": 1 / 6}, x),
    "Sigmoid": lambda attributes, x: _in_double(lambda v: 1 / (1 + np.exp(-v)), x),
    "Tanh": lambda attributes, x: _in_double(np.tanh, x),
    "Elu": _elu,
    "Selu": _selu,
    "Gelu": _gelu,
    "Erf": lambda attributes, x: _in_double(_erf, x),
    "Exp": lambda attributes, x: _in_double(np.exp, x),
    "Softplus": lambda attributes, x: _in_double(lambda v: np.logaddexp(v, 0), x),
    "Mish": lambda attributes, x: _in_double(lambda v: v * np.tanh(np.logaddexp(v, 0)), x),
    "Softsign": lambda attributes, x: x / (1 + np.abs(x)),
    "Log": lambda attributes, x: _in_double(np.log, x),
    "ThresholdedRelu": lambda attributes, x: np.where(x > _attribute(attributes, "alpha", 1.0), x, np.float32(0)),
    "Floor": lambda attributes, x: np.floor(x),
    "Ceil": lambda attributes, x: np.ceil(x),
    "Round": lambda attributes, x: np.rint(x),
    "Sign": lambda attributes, x: np.sign(x),
    "Neg": lambda attributes, x: -x,
    "Abs": lambda attributes, x: np.abs(x),
    "Sqrt": lambda attributes, x: np.sqrt(x),
    "Reciprocal": lambda attributes, x: 1 / x,
    "Pow": lambda attributes, a, b: np.power(a.astype(np.float64), b).astype(np.float32),
    "Add": lambda attributes, a, b: a + b,
    "Sub": lambda attributes, a, b: a - b,
    "Mul": lambda attributes, a, b: a * b,
    "Div": lambda attributes, a, b: a / b,
    "Max": lambda attributes, *operands: functools.reduce(np.maximum, operands),
    "Min": lambda attributes, *operands: functools.reduce(np.minimum, operands),
}


def evaluate(steps: tuple[Step, ...], x: Floats) -> Floats:
    """Return a formula's value for each number, float32 of any shape, each step rounded to float32."""
    values = [x]
    with np.errstate(all="ignore"):
        for step in steps:
            operands = (
                values[operand] if isinstance(operand, int) else np.float32(operand) for operand in step.operands
            )
            values.append(np.asarray(FUNCTIONS[step.operator](dict(step.attributes), *operands), np.float32))
    return values[-1]


def table_of(steps: tuple[Step, ...], x: QParams, y: QParams) -> NDArray[np.int8]:
    """Return int8 [256], table[q + 128] = quantize(f(dequantize(q))), each step rounded to float32.

    Args:
        steps: the formula of f.
        x: of what it reads.
        y: of its result.

    Raises:
        UsageError: when a value is not finite.
    """
    real = dequantize(EVERY, x)
    values = evaluate(steps, real)
    if not np.isfinite(values).all():
        wrong = float(real[~np.isfinite(values)][0])
        raise UsageError(
            f"{' of '.join(step.operator for step in reversed(steps))} has no finite value at {wrong:.4g}, which its "
            "input can reach; calibrate with other pictures, or limit its input."
        )
    return quantize(values, y)


def requantization(x: QParams, y: QParams) -> NDArray[np.int8]:
    """Return int8 [256], the table that moves integers from one scale and zero point to another."""
    return quantize(dequantize(EVERY, x), y)
