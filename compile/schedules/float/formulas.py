"""Formulas of ONNX steps on float32 vectors.

Exponentials, logarithms and erf are products and sums, as in `repghost.graph.functions`: LLVM computes every lane at
once, and no library is called.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import TypeAlias

from compile.intrin import InstructionSet
from compile.ir import tir
from compile.ir.tir import Expr, Kernel
from repghost.graph.operators import Step

Operand: TypeAlias = Expr  # a vector, or a Python float

# Those of `repghost.graph.functions`, which also says where they come from; that module is PyTorch's.
SMALLEST_EXPONENT, LARGEST_EXPONENT = -87.0, 88.0
LOG2_HIGH, LOG2_LOW = 0.693359375, -2.12194440e-4
EXP_TERMS, LOG_TERMS = 7, 6
SQRT_HALF = 0.70710678
ERF_SHARE = 0.3275911
ERF_TERMS = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
EXPONENT_BIAS, MANTISSA_BITS = 127, 23  # of float32
MANTISSA = (1 << MANTISSA_BITS) - 1
LARGEST_WHOLE_POWER = 8  # computed by products


class FormulaWriter:
    """Writes the steps of formulas into a kernel; every value is a float32 vector of `lanes`."""

    def __init__(self, kernel: Kernel, isa: InstructionSet, lanes: int) -> None:
        self.kernel, self.isa, self.lanes = kernel, isa, lanes
        self.dtype = tir.vector("float32", lanes)

    def write(self, steps: tuple[Step, ...], x: Expr) -> Expr:
        """Return a formula's value for each lane of a float32 vector."""
        values = [x]
        for step in steps:
            operands = [values[item] if isinstance(item, int) else item for item in step.operands]
            values.append(self.bind(STEPS[step.operator](self, *operands, **dict(step.attributes))))
        return values[-1]

    def bind(self, value: Expr) -> Expr:
        """Compute a value here, once, into a cell: TVM's simplifier would follow names through a whole formula."""
        cell = self.kernel.local(1, tir.dtype_of(value))
        self.kernel.store(cell, 0, value)
        return cell.load(0)

    def of(self, operand: Operand) -> Expr:
        """Return an operand as a vector."""
        return tir.splat(float(operand), self.dtype) if isinstance(operand, int | float) else operand

    def where_negative(self, x: Expr, below: Expr, above: Expr) -> Expr:
        """Return one of two vectors, lane by lane."""
        return tir.select(x < self.of(0.0), below, above)

    def call(self, name: str, x: Expr) -> Expr:
        """Return what an LLVM intrinsic of one operand, which every instruction set has, makes of a vector."""
        suffix = "f32" if self.lanes == 1 else f"v{self.lanes}f32"
        return tir.intrinsic(self.dtype, f"llvm.{name}.{suffix}", x)

    def clip(self, x: Expr, low: Operand = -math.inf, high: Operand = math.inf) -> Expr:
        """Return numbers limited to an interval."""
        x = x if _is(low, -math.inf) else tir.maximum(x, self.of(low))
        return x if _is(high, math.inf) else tir.minimum(x, self.of(high))

    def exp(self, x: Expr) -> Expr:
        """Return e**x, limited to normal numbers: 2**n times a series on [-log(2) / 2, log(2) / 2]."""
        x = self.bind(self.clip(x, SMALLEST_EXPONENT, LARGEST_EXPONENT))
        power = self.bind(self.isa.round_float("roundeven", x * self.of(1 / math.log(2.0))))
        rest = self.bind(x - power * self.of(LOG2_HIGH) - power * self.of(LOG2_LOW))
        total = self.of(1.0 / math.factorial(EXP_TERMS))
        for term in range(EXP_TERMS - 1, -1, -1):
            total = self.bind(total * rest + self.of(1.0 / math.factorial(term)))
        bits = tir.cast(power, "int32") + self._whole(EXPONENT_BIAS)
        return total * tir.reinterpret(tir.shift_left(bits, MANTISSA_BITS), self.dtype)

    def log(self, x: Expr) -> Expr:
        """Return the logarithm of positive normal numbers.

        With x = m * 2**n that is n times the logarithm of 2 plus 2 atanh((m - 1) / (m + 1)).
        """
        bits = self.bind(tir.reinterpret(x, tir.vector("int32", self.lanes)))
        half = self._whole((EXPONENT_BIAS - 1) << MANTISSA_BITS)  # the bits of 0.5
        mantissa = tir.reinterpret((bits & self._whole(MANTISSA)) + half, self.dtype)
        mantissa = self.bind(mantissa)
        power = tir.cast(tir.shift_right(bits, MANTISSA_BITS) - self._whole(EXPONENT_BIAS - 1), "float32")
        power = self.bind(power)
        small = mantissa < self.of(SQRT_HALF)
        power = self.bind(tir.select(small, power - self.of(1.0), power))
        mantissa = self.bind(tir.select(small, mantissa + mantissa, mantissa))
        ratio = self.bind((mantissa - self.of(1.0)) / (mantissa + self.of(1.0)))
        square = self.bind(ratio * ratio)
        total = self.of(0.0)
        for odd in range(2 * LOG_TERMS + 1, 0, -2):
            total = self.bind(total * square + self.of(1.0 / odd))
        return total * (ratio + ratio) + power * self.of(LOG2_LOW) + power * self.of(LOG2_HIGH)

    def sigmoid(self, x: Expr) -> Expr:
        """Return 1 / (1 + e**-x)."""
        return self.of(1.0) / (self.of(1.0) + self.exp(self.of(0.0) - x))

    def tanh(self, x: Expr) -> Expr:
        """Return the hyperbolic tangent."""
        power = self.bind(self.exp(self.call("fabs", x) * self.of(-2.0)))
        size = self.bind((self.of(1.0) - power) / (self.of(1.0) + power))
        return self.where_negative(x, self.of(0.0) - size, size)

    def softplus(self, x: Expr) -> Expr:
        """Return log(1 + e**x)."""
        power = self.bind(self.of(1.0) + self.exp(self.of(0.0) - self.call("fabs", x)))
        return tir.maximum(x, self.of(0.0)) + self.log(power)

    def erf(self, x: Expr) -> Expr:
        """Return the error function."""
        size = self.bind(self.call("fabs", x))
        share = self.bind(self.of(1.0) / (self.of(1.0) + size * self.of(ERF_SHARE)))
        total = self.of(0.0)
        for term in ERF_TERMS:
            total = self.bind((total + self.of(term)) * share)
        value = self.bind(self.of(1.0) - total * self.exp(self.of(0.0) - size * size))
        return self.where_negative(x, self.of(0.0) - value, value)

    def elu(self, x: Expr, alpha: float = 1.0) -> Expr:
        """Return alpha * (e**x - 1) of negative numbers, the others as they are."""
        below = (self.exp(tir.minimum(x, self.of(0.0))) - self.of(1.0)) * self.of(alpha)
        return self.where_negative(x, below, x)

    def selu(self, x: Expr, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875) -> Expr:
        """Return gamma times `elu`."""
        return self.elu(x, alpha) * self.of(gamma)

    def hard_sigmoid(self, x: Expr, alpha: float = 0.2, beta: float = 0.5) -> Expr:
        """Return alpha * x + beta between 0 and 1."""
        return self.clip(x * self.of(alpha) + self.of(beta), 0.0, 1.0)

    def power(self, x: Operand, exponent: Operand) -> Expr:
        """Return x to a power, as `repghost.graph.functions.power` does."""
        x = self.of(x)
        if isinstance(exponent, float) and exponent in range(LARGEST_WHOLE_POWER + 1):
            return reduce(lambda a, b: a * b, [x] * int(exponent), self.of(1.0))
        if _is(exponent, 0.5):
            return self.call("sqrt", x)
        return self.exp(self.of(exponent) * self.log(x))

    def sign(self, x: Expr) -> Expr:
        """Return -1, 0 or 1."""
        above = tir.select(x > self.of(0.0), self.of(1.0), self.of(0.0))
        return self.where_negative(x, self.of(-1.0), above)

    def _whole(self, value: int) -> Expr:
        return tir.splat(value, tir.vector("int32", self.lanes))


def _is(operand: Operand, value: float) -> bool:
    return isinstance(operand, float) and operand == value


# What each operator of a formula computes; attributes are keywords and have ONNX's defaults. The operators are those of
# `repghost.graph.functions.STEPS`.
STEPS: dict[str, Callable[..., Expr]] = {
    "Relu": lambda w, x: tir.maximum(x, w.of(0.0)),
    "LeakyRelu": lambda w, x, alpha=0.01: w.where_negative(x, x * w.of(alpha), x),
    "Clip": FormulaWriter.clip,
    "HardSigmoid": FormulaWriter.hard_sigmoid,
    "HardSwish": lambda w, x: x * w.hard_sigmoid(x, 1 / 6),
    "Sigmoid": FormulaWriter.sigmoid,
    "Tanh": FormulaWriter.tanh,
    "Elu": FormulaWriter.elu,
    "Selu": FormulaWriter.selu,
    "Erf": FormulaWriter.erf,
    "Exp": FormulaWriter.exp,
    "Softplus": FormulaWriter.softplus,
    "Softsign": lambda w, x: x / (w.of(1.0) + w.call("fabs", x)),
    "Log": FormulaWriter.log,
    "ThresholdedRelu": lambda w, x, alpha=1.0: tir.select(x > w.of(alpha), x, w.of(0.0)),
    "Floor": lambda w, x: w.isa.round_float("floor", x),
    "Ceil": lambda w, x: w.isa.round_float("ceil", x),
    "Round": lambda w, x: w.isa.round_float("roundeven", x),
    "Sign": FormulaWriter.sign,
    "Neg": lambda w, x: w.of(0.0) - x,
    "Abs": lambda w, x: w.call("fabs", x),
    "Sqrt": lambda w, x: w.call("sqrt", x),
    "Reciprocal": lambda w, x: w.of(1.0) / x,
    "Pow": FormulaWriter.power,
    "Add": lambda w, a, b: w.of(a) + w.of(b),
    "Sub": lambda w, a, b: w.of(a) - w.of(b),
    "Mul": lambda w, a, b: w.of(a) * w.of(b),
    "Div": lambda w, a, b: w.of(a) / w.of(b),
    "Max": lambda w, *operands: reduce(tir.maximum, [w.of(operand) for operand in operands]),
    "Min": lambda w, *operands: reduce(tir.minimum, [w.of(operand) for operand in operands]),
}
