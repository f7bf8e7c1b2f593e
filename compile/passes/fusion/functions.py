"""Functions of one number, as ONNX defines them: what `fold_lookups` can put into a table."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from compile.ir.qdq_graph import REQUANTIZE, SCALE_CHANNELS, Node

Floats = NDArray[np.float32]


def _attribute(node: Node, name: str, default: float) -> np.float32:
    return np.float32(node.attributes.get(name, default))


def _in_double(compute: Callable[[NDArray[np.float64]], NDArray[np.float64]], x: Floats) -> Floats:
    """Return a function with an exponential in it: in float64, rounded once, the same on every machine."""
    return compute(x.astype(np.float64)).astype(np.float32)


def _clip(node: Node, x: Floats, low: Floats | None = None, high: Floats | None = None) -> Floats:
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def _hard_sigmoid(node: Node, x: Floats) -> Floats:
    alpha, beta = _attribute(node, "alpha", 0.2), _attribute(node, "beta", 0.5)
    return np.clip(alpha * x + beta, np.float32(0), np.float32(1))


def _elu(node: Node, x: Floats) -> Floats:
    alpha = float(node.attributes.get("alpha", 1.0))
    return _in_double(lambda v: np.where(v < 0, alpha * np.expm1(np.minimum(v, 0)), v), x)


def _erf(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.vectorize(math.erf, otypes=[np.float64])(x)


def _gelu(node: Node, x: Floats) -> Floats:
    if node.attributes.get("approximate", "none") == "tanh":
        return _in_double(lambda v: v / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))), x)
    return _in_double(lambda v: v / 2 * (1 + _erf(v / math.sqrt(2))), x)


def _scale_colours(node: Node, x: Floats) -> Floats:
    factor, offset = (np.asarray(node.attributes[key])[:, None] for key in ("factor", "offset"))  # [3, 1]
    return _in_double(lambda v: factor * v + offset, x)


# Each in float32 and in ONNX's order of operations, but for `_in_double`.
FUNCTIONS: dict[str, Callable[..., Floats]] = {
    "Identity": lambda node, x: x,
    REQUANTIZE: lambda node, x: x,
    SCALE_CHANNELS: _scale_colours,  # of the image alone
    "Relu": lambda node, x: np.maximum(x, np.float32(0)),
    "LeakyRelu": lambda node, x: np.where(x < 0, _attribute(node, "alpha", 0.01) * x, x),
    "PRelu": lambda node, x, slope: np.where(x < 0, slope * x, x),
    "Clip": _clip,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda node, x: x * np.clip(x * np.float32(1 / 6) + np.float32(0.5), np.float32(0), np.float32(1)),
    "Sigmoid": lambda node, x: _in_double(lambda v: 1 / (1 + np.exp(-v)), x),
    "Tanh": lambda node, x: _in_double(np.tanh, x),
    "Elu": _elu,
    "Gelu": _gelu,
    "Erf": lambda node, x: _in_double(_erf, x),
    "Exp": lambda node, x: _in_double(np.exp, x),
    "Softplus": lambda node, x: _in_double(lambda v: np.logaddexp(v, 0), x),
    "Mish": lambda node, x: _in_double(lambda v: v * np.tanh(np.logaddexp(v, 0)), x),
    "Softsign": lambda node, x: x / (1 + np.abs(x)),
    "Log": lambda node, x: _in_double(np.log, x),
    "ThresholdedRelu": lambda node, x: np.where(x > _attribute(node, "alpha", 1.0), x, np.float32(0)),
    "Floor": lambda node, x: np.floor(x),
    "Ceil": lambda node, x: np.ceil(x),
    "Round": lambda node, x: np.rint(x),
    "Sign": lambda node, x: np.sign(x),
    "Neg": lambda node, x: -x,
    "Abs": lambda node, x: np.abs(x),
    "Sqrt": lambda node, x: np.sqrt(x),
    "Reciprocal": lambda node, x: 1 / x,
    "Pow": lambda node, a, b: np.power(a.astype(np.float64), b).astype(np.float32),
    "Add": lambda node, a, b: a + b,
    "Sub": lambda node, a, b: a - b,
    "Mul": lambda node, a, b: a * b,
    "Div": lambda node, a, b: a / b,
    "Max": lambda node, *operands: functools.reduce(np.maximum, operands),
    "Min": lambda node, *operands: functools.reduce(np.minimum, operands),
}
