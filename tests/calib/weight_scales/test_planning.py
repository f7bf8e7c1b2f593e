from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calib.integer.lower import IntegerLayer, LayerOutput, lower_q15
from calib.integer.qparams import WEIGHT_MAX, QParams, quantize_weights, requantize_multiplier
from calib.integer.values import Tensor
from calib.weight_scales.planning import INT16_WIDTH, SMALLEST_MULTIPLIER, plan_dense_scales, plan_scales, weight_error


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([3, 5]),
    st.floats(-4, 1),
    st.floats(-0.6, 0.3),
    st.booleans(),
)
def test_planned_scales_can_be_lowered(seed: int, kernel: int, size: float, ratio: float, residual: bool) -> None:
    generator = np.random.default_rng(seed)
    weight = (generator.normal(size=(7, kernel, kernel)) * 10.0**size).astype(np.float32)
    weight[0] = 0.0
    weight[1, 1, 1] *= 30.0
    scale_x = float(np.float32(10.0 ** generator.uniform(-3, 0)))
    # An output scale below what the weights can reach, as calibration gives it.
    reach = float(np.abs(weight).sum(axis=(1, 2)).max()) * scale_x
    scale_y = float(np.float32(reach * 10.0**ratio))
    scales = plan_scales(weight, scale_x, scale_y, residual)
    assert scales is not None
    quantized = quantize_weights(weight, scales)
    assert (255 * np.abs(quantized.reshape(7, -1).astype(int)).sum(axis=1)).max() <= INT16_WIDTH
    other = Tensor("r", 1, 1, 7, QParams(scale_y, 3)) if residual else None
    bias = (generator.normal(size=7) * scale_y * 50).astype(np.float32)
    layer = IntegerLayer("layer", quantized, bias, scales, QParams(scale_x, -128))
    lowered = lower_q15(layer, LayerOutput(QParams(scale_y, 5), residual=other))
    assert lowered is not None
    # One of the limits, 127 or a sum of 257, is nearly reached, but where M is too small to choose from.
    total, largest = np.abs(quantized.astype(int)).sum(axis=(1, 2)), np.abs(quantized.astype(int)).max(axis=(1, 2))
    assert np.all((total >= 170) | (largest >= 90) | (lowered[0].multiplier < 16))


def test_errors_are_far_smaller_than_with_the_plain_scale() -> None:
    generator = np.random.default_rng(0)
    weight = generator.normal(size=(64, 3, 3)).astype(np.float32)
    scales = plan_scales(weight, 0.02, 0.05, residual=False)
    assert scales is not None
    plain = (np.abs(weight).sum(axis=(1, 2)) / 256).astype(np.float32)
    planned_error, plain_error = (
        weight_error((quantize_weights(weight, s) * s[:, None, None] - weight).reshape(64, -1)) for s in (scales, plain)
    )
    assert np.median(planned_error / plain_error) < 0.5


def test_an_error_that_all_weights_share_counts_most() -> None:
    spread, shared = np.asarray([[0.1, -0.1, 0.1, -0.1]]), np.asarray([[0.1, 0.1, 0.1, 0.1]])
    assert weight_error(spread) < 0.1 * weight_error(shared)


def test_a_multiplier_above_int16_has_no_plan() -> None:
    assert plan_scales(np.ones((1, 3, 3), np.float32), 1.0, 1e-4, residual=False) is None


@pytest.mark.parametrize(("times", "planned"), [(1.0, True), (1.1, True), (1.5, False)])
def test_a_channel_just_above_int16_is_clipped_a_little(times: float, planned: bool) -> None:
    weight = np.full((2, 3, 3), 0.1, np.float32)
    weight[1, 1, 1] = times * 127
    scales = plan_scales(weight, 1.0, 1.0, residual=False)
    assert (scales is not None) == planned
    if scales is not None:
        assert quantize_weights(weight, scales)[1, 1, 1] >= 120
        assert scales[1] <= np.float32(32767 / 32768)


def test_dense_scales_use_the_whole_range_of_weights() -> None:
    weight = np.random.default_rng(1).normal(size=(8, 3, 1, 1)).astype(np.float32)
    scales = plan_dense_scales(weight, np.zeros(8, np.float32), 0.1, 0.1)
    assert np.all(np.abs(quantize_weights(weight, scales)).max(axis=(1, 2, 3)) == WEIGHT_MAX)


@pytest.mark.parametrize("size", [0.0, 1e-45, 1e-38, 1e-30, 1e-15])
@pytest.mark.parametrize("bias", [0.0, 1e-6, 1.0, 1e4])
def test_dead_channels_get_scales_that_hold_their_bias(size: float, bias: float) -> None:
    weight = np.full((2, 4, 1, 1), size, np.float32)
    weight[1] = 0.5
    scales = plan_dense_scales(weight, np.full(2, bias, np.float32), 0.01, 0.05)
    assert np.all(np.isfinite(scales)) and scales.min() >= np.finfo(np.float32).tiny
    assert abs(bias) / (0.01 * float(scales[0])) <= 2**28 * 1.001
    multiplier = requantize_multiplier(0.01, scales, 0.05)
    assert multiplier.min() >= SMALLEST_MULTIPLIER * 0.99
    assert scales[1] == np.float32(0.5 / 127)


def test_least_square_scales_clip_where_that_is_nearer_on_the_whole() -> None:
    """An outlier a among n weights is worth clipping to a / (1 + n / (12 * 127**2)), which takes thousands of them."""
    generator = np.random.default_rng(0)
    weight = generator.normal(size=(3, 40_000)).astype(np.float32)
    weight[1, 0] = 6.0
    weight[2] = 0.0
    errors, scales = {}, {}
    for weight_range in ("min_max", "mse"):
        scales[weight_range] = plan_dense_scales(weight, np.zeros(3, np.float32), 0.02, 0.05, weight_range)
        column = scales[weight_range][:, None].astype(np.float64)
        real = quantize_weights(weight, scales[weight_range]).astype(np.float64) * column
        errors[weight_range] = np.square(real - weight).sum(axis=1)
    assert np.all(errors["mse"] <= errors["min_max"] * (1 + 1e-6))
    assert errors["mse"][1] < 0.9 * errors["min_max"][1]
    share = scales["mse"][1] / scales["min_max"][1]
    assert share == pytest.approx(1 / (1 + 40_000 / (12 * 127**2)), abs=0.06)
    assert scales["mse"][2] == scales["min_max"][2]
