"""Tensors of 16 bits: their limits, sums that stay inside int32 for every input, and sums of two tensors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calib.integer import lower, qparams
from calib.integer.program import Conv2d
from calib.integer.qparams import INT32_MAX, WIDEST, QParams
from calib.integer.reference import execute
from calib.integer.values import RequantizeWideAdd, Tensor
from calib.weight_scales.planning import plan_dense_scales, plan_reach
from repghost.errors import UsageError


def test_limits() -> None:
    full, less, narrow = QParams(0.5, 0, WIDEST), QParams(0.5, 0, 1000), QParams(0.5, 3)
    assert (full.low, full.high, full.element) == (-32768, 32767, "int16")
    assert (less.low, less.high, less.farthest) == (-1000, 1000, 1000)
    assert (narrow.low, narrow.high, narrow.farthest, narrow.is_wide) == (-128, 127, 255, False)
    values = np.float32([-1e9, -600.0, 0.25, 0.75, 1e9])
    assert qparams.quantize(values, full).tolist() == [-32768, -1200, 0, 2, 32767]  # ties even
    assert qparams.quantize(values, less).tolist() == [-1000, -1000, 0, 2, 1000]
    assert qparams.quantize(values, less).dtype == np.int16


@pytest.mark.parametrize(("zero", "reach"), [(1, 100), (0, 0), (0, WIDEST + 1)])
def test_other_limits_are_refused(zero: int, reach: int) -> None:
    with pytest.raises(UsageError, match="16 bits has zero point 0"):
        QParams(0.5, zero, reach)


def layer_of(terms: int, reach: int) -> lower.IntegerLayer:
    """Return a layer of two outputs, whose weights are all 127 and all -127, and a bias of 2**27 steps."""
    weight = np.stack([np.full(terms, 127), np.full(terms, -127)]).astype(np.int8)
    scales = np.float32([2.0**-7, 2.0**-7])
    return lower.IntegerLayer("layer", weight, np.full(2, 2.0**20), scales, QParams(1.0, 0, reach))


@pytest.mark.parametrize("terms", [400, 516, 4608, 100_000])
def test_the_planned_reach_is_the_last_that_cannot_overflow(terms: int) -> None:
    """Within a bias's share of int32; the limit is met by inputs as far as they reach."""
    weight = np.ones((2, terms), np.float32) * np.float32([[1], [-1]])
    reach = plan_reach(weight, "min_max")
    assert reach == min(WIDEST, (INT32_MAX - 2**28) // (127 * terms))
    epilogue, bias = lower.lower_dense(layer_of(terms, reach), lower.LayerOutput(QParams(2.0**15), -128, 127))
    x = Tensor("x", 1, 2, terms, QParams(1.0, 0, reach))
    largest = np.stack([np.full(terms, x.qparams.high), np.full(terms, x.qparams.low)]).astype(np.int16)
    operator = Conv2d("y", x, Tensor("y", 1, 2, 2, QParams(2.0**15)), layer_of(terms, reach).weight[:, None, None],
                      bias, (1, 1), (0, 0), epilogue)  # fmt: skip
    sums = (largest.astype(np.int64) @ layer_of(terms, reach).weight.T.astype(np.int64)) + bias
    assert np.abs(sums).max() <= INT32_MAX
    exact = np.rint(sums.astype(np.float32) * epilogue.multiplier)
    got = execute(operator, {"x": largest[None, None]})
    np.testing.assert_array_equal(got[0, 0], np.clip(exact, -128, 127))


def test_a_reach_that_could_overflow_is_refused() -> None:
    reach = INT32_MAX // (127 * 4608)
    output = lower.LayerOutput(QParams(2.0**15))
    with pytest.raises(UsageError, match=r"accumulator of channel \d could leave int32"):
        lower.lower_dense(layer_of(4608, reach + 1), output)
    small = replace(layer_of(4608, reach), bias=np.zeros(2))
    lower.lower_dense(small, output)


def test_scales_are_planned_for_what_is_read() -> None:
    """Weights whose sums could leave the range of a conversion are clipped sooner where int16 is read and written."""
    weight, bias = np.full((1, 64), 1e6, np.float32), np.zeros(1, np.float32)
    narrow = plan_dense_scales(weight, bias, 1.0, 1.0)
    wide = plan_dense_scales(weight, bias, 1.0, 1.0, width=WIDEST)
    assert wide < narrow
    layer = lower.IntegerLayer("layer", qparams.quantize_weights(weight, wide), bias, wide, QParams(1.0, 0, WIDEST))
    lower.lower_dense(layer, lower.LayerOutput(QParams(1.0, 0, WIDEST), -WIDEST, WIDEST - 1))


def test_a_residual_add_by_hand() -> None:
    """30000 * 0.75 + (5 - 3) * 1.5 and -7 * 0.75 - 131 * 1.5, in sixteenths; halves go up."""
    acc, residual = np.int32([30000, -7]), np.int8([5, -128])
    multiplier = np.full(2, 12.0, np.float32)
    made = qparams.requantize_wide_add(acc, multiplier, residual.astype(np.int32) - 3, 24.0, 0, -32768, 32767, "int16")
    assert made.tolist() == [22503, -202] and made.dtype == np.int16


@pytest.mark.parametrize("seed", range(5))
def test_a_wide_add_is_within_a_step_of_the_real_sum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, r, y = QParams(0.001, 0, WIDEST), QParams(float(rng.uniform(0.0001, 0.1)), 4), QParams(0.002, 0, WIDEST)
    weight = rng.integers(-127, 128, (3, 20)).astype(np.int8)
    layer = lower.IntegerLayer("layer", weight, rng.normal(0, 0.1, 3), rng.uniform(0.001, 0.01, 3), x)
    epilogue, start = lower.lower_dense(layer, lower.LayerOutput(y, y.low, y.high, Tensor("r", 1, 1, 3, r)))
    assert isinstance(epilogue, RequantizeWideAdd)
    values, other = rng.integers(-2000, 2000, (50, 20)), rng.integers(-128, 128, (50, 3))
    real = values @ (weight.T * layer.step) + layer.bias + (other - 4) * np.float64(r.scale)
    acc = (values @ weight.T.astype(np.int64) + start).astype(np.int32)
    bounds = epilogue.zero_point, epilogue.low, epilogue.high, "int16"
    made = qparams.requantize_wide_add(acc, epilogue.multiplier, other - 4, epilogue.residual_factor, *bounds)
    assert np.abs(made - np.clip(real / y.scale, y.low, y.high)).max() <= 0.6


def test_a_sum_whose_scales_are_too_far_apart_is_refused() -> None:
    wide = QParams(1.0, 0, WIDEST)
    assert lower.lower_wide_add(wide, wide, wide) == (16.0, 16.0)
    assert lower.lower_wide_add(wide, wide, QParams(1 / 8192)) is None
