"""exp and log in float64 whose bits are the same on every machine; mathematical libraries differ in the last ones.

Each step is one operation of IEEE 754 on each number: numpy does not fuse them. Both are within some units of the last
place of the exact value.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# log(2) as a number of 32 bits, of which small multiples are exact, and the rest.
LOG2_HIGH = float.fromhex("0x1.62e42feep-1")
LOG2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
SQRT_HALF = float.fromhex("0x1.6a09e667f3bcdp-1")
SMALLEST_EXPONENT = -700.0  # exp of less is taken for exp of this, about 1e-304
EXP_TERMS = 14  # of the series on [-log(2) / 2, log(2) / 2]
LOG_TERMS = 9  # of the series on [sqrt(1/2), sqrt(2)]


def exp(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return e**x of numbers of at most 700."""
    x = np.maximum(x, SMALLEST_EXPONENT)
    power = np.rint(x / (LOG2_HIGH + LOG2_LOW))
    rest = x - power * LOG2_HIGH - power * LOG2_LOW
    total = np.ones_like(rest)
    for divisor in range(EXP_TERMS, 0, -1):
        total *= rest
        total /= divisor
        total += 1.0
    return np.ldexp(total, power.astype(np.int32))


def log(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the natural logarithm of positive numbers."""
    mantissa, power = np.frexp(x)
    small = mantissa < SQRT_HALF
    mantissa = np.where(small, 2.0 * mantissa, mantissa)
    power = np.where(small, power - 1, power).astype(np.float64)
    ratio = (mantissa - 1.0) / (mantissa + 1.0)  # log(m) = 2 atanh(ratio)
    square = ratio * ratio
    total = np.zeros_like(ratio)
    for odd in range(2 * LOG_TERMS + 1, 0, -2):
        total *= square
        total += 1.0 / odd
    return power * LOG2_HIGH + (2.0 * ratio * total + power * LOG2_LOW)
