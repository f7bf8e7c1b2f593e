"""The numerics contract against slow definitions in exact integers and fractions."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calib.integer import qparams
from calib.integer.program import Add, Multiply
from calib.integer.qparams import QParams
from calib.integer.reference import execute
from calib.integer.values import Requantize, Tensor
from repghost.errors import UsageError

INT32_EDGES = [
    value + step
    for value in (-(2**31), -(2**24), -(2**16), 0, 2**16, 2**24, 2**31)
    for step in range(-70, 71)
    if -(2**31) <= value + step < 2**31
]
EVERY_INT8 = np.arange(-128, 128).astype(np.int8)


def round_even(value: Fraction) -> int:
    return round(value)  # Python rounds a Fraction to even, exactly


def float32(value: Fraction) -> Fraction:
    """Return the nearest float32 of an exact number, ties to even, for numbers far from the ends of the range."""
    if not value:
        return value
    exponent = abs(value.numerator).bit_length() - value.denominator.bit_length()
    if abs(value) < Fraction(2) ** exponent:
        exponent -= 1
    step = Fraction(2) ** (exponent - 23)
    return round_even(value / step) * step


def clamp(value: int, low: int = -128, high: int = 127) -> int:
    return min(max(value, low), high)


def slow_requantize(acc: int, multiplier: float, zero_point: int, low: int, high: int) -> int:
    scaled = float32(float32(Fraction(acc)) * Fraction(float(np.float32(multiplier))))
    return clamp(round_even(scaled) + zero_point, low, high)


@pytest.mark.parametrize("multiplier", [1.0, 0.5, 0.25, 2.0**-16, 1 / 3, 0.0123456, 2.0**-31, 0.999999])
@pytest.mark.parametrize(("zero_point", "low", "high"), [(0, -128, 127), (-128, -128, 127), (77, -5, 100)])
def test_requantize_at_the_edges_of_int32(multiplier: float, zero_point: int, low: int, high: int) -> None:
    acc = np.asarray(INT32_EDGES, np.int64).astype(np.int32)
    result = qparams.requantize(acc[:, None], np.float32([multiplier]), zero_point, low, high)
    assert result[:, 0].tolist() == [slow_requantize(a, multiplier, zero_point, low, high) for a in INT32_EDGES]


def test_requantize_rounds_ties_to_even() -> None:
    acc = np.arange(-255, 256, dtype=np.int32)
    result = qparams.requantize(acc[:, None], np.float32([0.5]), 0, -128, 127)[:, 0]
    assert result[acc == 1] == 0 and result[acc == 3] == 2 and result[acc == 5] == 2 and result[acc == -3] == -2
    assert result.tolist() == [clamp(round_even(Fraction(int(a), 2))) for a in acc]


@settings(max_examples=300, deadline=None)
@given(
    st.integers(-(2**31), 2**31 - 1), st.floats(2.0**-30, 1.0, width=32), st.integers(-128, 127)
)  # fmt: skip
def test_requantize_anywhere(acc: int, multiplier: float, zero_point: int) -> None:
    result = qparams.requantize(np.int32([[acc]]), np.float32([multiplier]), zero_point, -128, 127)
    assert result.item() == slow_requantize(acc, multiplier, zero_point, -128, 127)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(-(2**31), 2**31 - 1), st.floats(2.0**-30, 1.0, width=32), st.integers(-128, 127),
    st.integers(-128, 127), st.integers(0, 2**20), st.integers(-128, 127),
)  # fmt: skip
def test_requantize_add_anywhere(
    acc: int, multiplier: float, residual: int, residual_zero: int, factor: int, zero_point: int
) -> None:
    multiplier = min(multiplier, 2.0**31 / max(abs(acc), 1) / 2)
    result = qparams.requantize_add(
        np.int32([[acc]]), np.float32([multiplier]), np.int8([[residual]]), residual_zero, factor, zero_point, -128, 127
    )
    scaled = round_even(float32(float32(Fraction(acc)) * Fraction(float(np.float32(multiplier)))))
    total = scaled + (residual - residual_zero) * factor
    assert result.item() == clamp((total + 2048) // 4096 + zero_point)


def int16(value: int) -> int:
    return clamp(value, -(2**15), 2**15 - 1)


def q15(value: int, factor: int) -> int:
    return (2 * value * factor + 2**15) // 2**16  # the definition of sqrdmulh, floor division


INT16 = st.integers(-(2**15), 2**15 - 1)
FACTOR = st.integers(0, 2**15 - 1)


@settings(max_examples=400, deadline=None)
@given(INT16, FACTOR, INT16, st.integers(-128, 127))
def test_requantize_q15_anywhere(acc: int, factor: int, offset: int, low: int) -> None:
    result = qparams.requantize_q15(np.int32([[acc]]), np.int16([factor]), np.int16([offset]), low, 127)
    assert result.item() == clamp(int16(q15(acc, factor) + offset), low, 127)


@settings(max_examples=400, deadline=None)
@given(INT16, FACTOR, st.integers(-128, 127), FACTOR, INT16, st.integers(-128, 127))
def test_requantize_q15_add_anywhere(
    acc: int, factor: int, residual: int, residual_factor: int, offset: int, low: int
) -> None:
    result = qparams.requantize_q15_add(
        np.int32([[acc]]), np.int16([factor]), np.int8([[residual]]), residual_factor, np.int16([offset]), low, 127
    )
    total = int16(int16(q15(acc, factor) + q15(residual * 128, residual_factor)) + offset)
    assert result.item() == clamp((total + 16) // 32, low, 127)


@pytest.mark.parametrize("factor", [0, 1, 2, 16384, 32766, 32767])
def test_q15_at_the_edges_of_int16(factor: int) -> None:
    values = np.asarray([*range(-32768, -32700), *range(-70, 70), *range(32700, 32768)])
    assert qparams.multiply_q15(values, np.int16([factor])).tolist() == [q15(int(v), factor) for v in values]


@pytest.mark.parametrize(("zero_x", "zero_gate", "zero_y", "multiplier"), [
    (0, 0, 0, 1 / 255), (-128, -128, -128, 1 / 255), (7, -128, 30, 0.0019), (-128, 127, 0, 0.5),
])  # fmt: skip
def test_multiply_exhaustively(zero_x: int, zero_gate: int, zero_y: int, multiplier: float) -> None:
    """Every pair of int8 values: rows are x, channels are the gate."""
    x = Tensor("x", 256, 1, 256, QParams(0.1, zero_x))
    gate = Tensor("gate", 1, 1, 256, QParams(0.1, zero_gate))
    y = Tensor("y", 256, 1, 256, QParams(0.1, zero_y))
    operator = Multiply("multiply", x, gate, y, Requantize(np.float32([multiplier]), zero_y, -128, 127))
    tensors = {
        "x": np.broadcast_to(EVERY_INT8[None, :, None, None], (1, 256, 1, 256)),
        "gate": EVERY_INT8[None, None, None, :],
    }
    result = execute(operator, tensors)[0, :, 0, :]
    factor = np.float32(multiplier)
    left, right = EVERY_INT8.astype(int) - zero_x, EVERY_INT8.astype(int) - zero_gate
    # The product of two 9-bit numbers is exact in float32, and so the product below rounds once.
    expected = np.rint(np.outer(left, right).astype(np.float32) * factor).astype(int) + zero_y
    np.testing.assert_array_equal(result, np.clip(expected, -128, 127))
    for i, j in [(0, 0), (0, 255), (255, 0), (255, 255), (100, 77)]:
        assert result[i, j] == slow_requantize(int(left[i] * right[j]), multiplier, zero_y, -128, 127)


@pytest.mark.parametrize(("zero_a", "zero_b", "zero_y", "factor", "other"), [
    (0, 0, 0, 4096, 4096), (-128, 5, -20, 2048, 3001), (127, -128, 127, 1, 9000), (3, 3, 3, 0, 70000),
])  # fmt: skip
def test_add_exhaustively(zero_a: int, zero_b: int, zero_y: int, factor: int, other: int) -> None:
    a = Tensor("a", 256, 1, 256, QParams(0.1, zero_a))
    b = Tensor("b", 256, 1, 256, QParams(0.1, zero_b))
    y = Tensor("y", 256, 1, 256, QParams(0.1, zero_y))
    tensors = {
        "a": np.ascontiguousarray(np.broadcast_to(EVERY_INT8[None, :, None, None], (1, 256, 1, 256))),
        "b": np.ascontiguousarray(np.broadcast_to(EVERY_INT8[None, None, None, :], (1, 256, 1, 256))),
    }
    result = execute(Add("add", a, b, y, factor, other, -100, 120), tensors)[0, :, 0, :]
    left, right = (EVERY_INT8.astype(int) - zero_a) * factor, (EVERY_INT8.astype(int) - zero_b) * other
    expected = (left[:, None] + right[None, :] + 2048) // 4096 + zero_y
    np.testing.assert_array_equal(result, np.clip(expected, -100, 120))


def test_accumulator_range_is_exact() -> None:
    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (5, 3, 2), dtype=np.int8)
    start = rng.integers(-1000, 1000, 5)
    low, high = qparams.accumulator_range(weight, start)
    most = np.where(weight > 0, 127, -128)
    least = np.where(weight > 0, -128, 127)
    np.testing.assert_array_equal(high, start + (weight.astype(int) * most).sum((1, 2)))
    np.testing.assert_array_equal(low, start + (weight.astype(int) * least).sum((1, 2)))


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e3, 1e3, width=32), st.floats(2.0**-10, 10, width=32), st.integers(-128, 127))
def test_quantize_then_dequantize(real: float, scale: float, zero_point: int) -> None:
    params = QParams(scale, zero_point)
    q = qparams.quantize(np.float32([real]), params)
    exact = float32(Fraction(real) / Fraction(params.scale))
    assert q.item() == clamp(round_even(exact) + zero_point)
    again = qparams.quantize(qparams.dequantize(q, params), params)
    assert again.item() == q.item()


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf"), 1e-40])
def test_bad_scales(bad: float) -> None:
    with pytest.raises(UsageError, match="finite normal float32"):
        QParams(bad)


@pytest.mark.parametrize("bad", [-129, 128])
def test_bad_zero_points(bad: int) -> None:
    with pytest.raises(UsageError, match="zero point"):
        QParams(1.0, bad)


def test_scale_is_a_float32() -> None:
    assert QParams(0.1).scale == float(np.float32(0.1))


def test_weights_never_reach_minus_128() -> None:
    weight = qparams.quantize_weights(np.float32([[-10.0, 0.3], [2.5, -0.5]]), np.float32([0.01, 1.0]))
    assert weight.tolist() == [[-127, 30], [2, 0]]  # 2.5 and -0.5 are ties


def test_integer_bias_against_fractions() -> None:
    rng = np.random.default_rng(3)
    bias, scales = rng.normal(0, 5, 20).astype(np.float32), rng.uniform(1e-4, 1e-2, 20).astype(np.float32)
    weight = rng.integers(-127, 128, (20, 9), dtype=np.int8)
    result = qparams.integer_bias(bias, 0.037, -17, scales, weight)
    step = [Fraction(float(np.float32(0.037))) * Fraction(float(scale)) for scale in scales]
    exact = [round_even(Fraction(float(b)) / s) for b, s in zip(bias, step, strict=True)]
    assert (result - 17 * weight.astype(int).sum(1)).tolist() == exact
