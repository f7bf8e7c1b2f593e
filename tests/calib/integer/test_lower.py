from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from calib.integer import lower
from calib.integer.lower import IntegerLayer, LayerOutput
from calib.integer.qparams import (
    INT16_MAX,
    INT16_MIN,
    QParams,
    accumulator_range,
    dequantize,
    multiply_q15,
    quantize_weights,
    requantize,
    requantize_add,
    requantize_q15,
    requantize_q15_add,
)
from calib.integer.values import Requantize, RequantizeAdd, RequantizeQ15, RequantizeQ15Add, Tensor
from calib.weight_scales import planning as q15
from repghost.errors import UsageError

CHANNELS = 6
Change = Callable[[IntegerLayer, LayerOutput], tuple[IntegerLayer, LayerOutput]]


def real_prediction(x: NDArray[np.int8], layer: IntegerLayer) -> NDArray[np.float64]:
    """Return the convolution's real value at each of the given patches, [N, C]."""
    weight = layer.weight.reshape(len(layer.weight), -1).astype(np.float64)
    sums = np.einsum("nk,ck->nc", x.astype(np.float64) - layer.input.zero_point, weight)
    return sums * (layer.input.scale * layer.scales.astype(np.float64)) + layer.bias


def patches(generator: np.random.Generator, size: int) -> NDArray[np.int8]:
    """Return random and extreme inputs, int8 [N, size]."""
    random = generator.integers(-128, 128, (300, size))
    extremes = np.where(generator.integers(0, 2, (100, size)) == 1, 127, -128)
    return np.concatenate([random, extremes]).astype(np.int8)


def planned(seed: int, residual: bool, reach: float | None = None) -> tuple[IntegerLayer, LayerOutput]:
    """Return a depthwise layer whose scales are planned for int16, and its output.

    Args:
        reach: steps of the output per step of the largest weighted sum of inputs; a real layer clips some of it.
    """
    generator = np.random.default_rng(seed)
    weight = generator.normal(size=(CHANNELS, 3, 3)).astype(np.float32)
    scale_x = np.float32(generator.uniform(0.005, 0.05))
    largest = scale_x * np.abs(weight).sum(axis=(1, 2)).max()
    scale_y = np.float32(largest * (generator.uniform(0.16, 0.8) if reach is None else reach))
    scales = q15.plan_scales(weight, float(scale_x), float(scale_y), residual)
    assert scales is not None
    other = Tensor("r", 1, 1, CHANNELS, QParams(float(scale_y) * generator.uniform(0.2, 1.5), int(seed % 50) - 20))
    bias, zero_x, zero_y = generator.normal(size=CHANNELS), *generator.integers(-128, 128, 2).tolist()
    layer = IntegerLayer("layer", quantize_weights(weight, scales), bias, scales, QParams(float(scale_x), zero_x))
    return layer, LayerOutput(QParams(float(scale_y), zero_y), residual=other if residual else None)


def layer_with(**changes: Any) -> Change:
    return lambda layer, output: (replace(layer, **changes), output)


def output_with(**changes: Any) -> Change:
    return lambda layer, output: (layer, replace(output, **changes))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**31), st.booleans())
def test_q15_is_within_a_step_of_the_real_value_and_inside_int16(seed: int, residual: bool) -> None:
    layer, output = planned(seed, residual)
    lowered = lower.lower_q15(layer, output)
    assert lowered is not None
    epilogue, start = lowered
    weight = layer.weight
    least, most = accumulator_range(weight, start)
    assert least.min() >= INT16_MIN and most.max() <= INT16_MAX
    generator = np.random.default_rng(seed)
    x = patches(generator, 9)
    acc = start + np.einsum("nk,ck->nc", x.astype(np.int64), weight.reshape(CHANNELS, -1).astype(np.int64))
    real = real_prediction(x, layer)
    # The largest rounding: half a step of the start value, of q15's result and, with a residual, of 1/32 step twice.
    if residual:
        assert isinstance(epilogue, RequantizeQ15Add)
        r = generator.integers(-128, 128, acc.shape).astype(np.int8)
        real += dequantize(r, epilogue.residual.qparams)
        y = requantize_q15_add(
            acc, epilogue.multiplier, r, epilogue.residual_factor, epilogue.offset, epilogue.low, epilogue.high
        )
        allowed = 0.5 + 3 / 32 + 256 / 2**14 + epilogue.multiplier / 2.0**16 / 32
    else:
        assert isinstance(epilogue, RequantizeQ15)
        y = requantize_q15(acc, epilogue.multiplier, epilogue.offset, epilogue.low, epilogue.high)
        allowed = 0.5 + epilogue.multiplier / 2.0**16
    expected = np.clip(real / output.qparams.scale + output.qparams.zero_point, -128, 127)
    assert np.all(np.abs(y - expected) <= allowed + 1e-3)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**31), st.booleans())
def test_dense_is_within_half_a_step_of_the_real_value(seed: int, residual: bool) -> None:
    layer, output = planned(seed, residual)
    epilogue, start = lower.lower_dense(layer, output)
    weight = layer.weight
    generator = np.random.default_rng(seed)
    x = patches(generator, 9)
    acc = start + np.einsum("nk,ck->nc", x.astype(np.int64), weight.reshape(CHANNELS, -1).astype(np.int64))
    acc = acc.astype(np.int32)
    real = real_prediction(x, layer)
    allowed = 0.5 + (layer.input.scale * layer.scales).max() / output.qparams.scale
    if residual:
        assert isinstance(epilogue, RequantizeAdd)
        r = generator.integers(-128, 128, acc.shape).astype(np.int8)
        other = epilogue.residual.qparams
        real += dequantize(r, other)
        y = requantize_add(
            acc,
            epilogue.multiplier,
            r,
            other.zero_point,
            epilogue.residual_factor,
            epilogue.zero_point,
            epilogue.low,
            epilogue.high,
        )
        allowed += 256 / 2**13 + 2 / 4096
    else:
        assert isinstance(epilogue, Requantize)
        y = requantize(acc, epilogue.multiplier, epilogue.zero_point, epilogue.low, epilogue.high)
    expected = np.clip(real / output.qparams.scale + output.qparams.zero_point, -128, 127)
    assert np.all(np.abs(y - expected) <= allowed + 1e-3)


def other(scale: float, zero_point: int = 0) -> Tensor:
    return Tensor("r", 1, 1, CHANNELS, QParams(scale, zero_point))


def one_scale_off(layer: IntegerLayer, output: LayerOutput) -> tuple[IntegerLayer, LayerOutput]:
    scales = layer.scales.copy()
    scales[3] *= 1 + 1e-5
    return replace(layer, scales=scales), output


# What makes int16 impossible, as a change to a layer for which it is possible.
IMPOSSIBLE: dict[str, tuple[bool, Change]] = {
    "scales not planned": (False, layer_with(scales=np.full(CHANNELS, 0.0123, np.float32))),
    "one scale off by 1e-5": (False, one_scale_off),
    "multiplier below 1": (False, output_with(qparams=QParams(1e6))),
    "multiplier above int16": (False, output_with(qparams=QParams(1e-6))),
    "range too wide": (False, layer_with(weight=np.full((CHANNELS, 3, 3), 29, np.int8))),
    "bias too large": (False, layer_with(bias=np.full(CHANNELS, 1e9))),
    "bias not finite": (False, layer_with(bias=np.full(CHANNELS, np.nan))),
    "bias enormous": (False, layer_with(bias=np.full(CHANNELS, 1e30))),
    "residual factor above int16": (
        True,
        lambda layer, output: (layer, replace(output, residual=other(4.1 * output.qparams.scale))),
    ),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_q15_answers_none_where_int16_cannot_be_proven(case: str) -> None:
    residual, change = IMPOSSIBLE[case]
    layer, output = planned(11, residual)
    assert lower.lower_q15(layer, output) is not None
    assert lower.lower_q15(*change(layer, output)) is None


def test_sum_of_weights_at_the_limit() -> None:
    """255 * 256 and the offset's granularity of 32 fit int16; 255 * 258 alone do not."""
    scale = np.full(1, 1024 * 0.1 / (2**15 * 0.1), np.float32)
    for total, fits in ((256, True), (258, False)):
        weight = np.zeros((1, 3, 3), np.int8)
        weight.reshape(-1)[:4] = [64, 64, 64, total - 192]
        layer = IntegerLayer("layer", weight, np.zeros(1), scale, QParams(0.1, -128))
        result = lower.lower_q15(layer, LayerOutput(QParams(0.1, -128)))
        assert (result is not None) == fits


def test_saturation_that_would_show_is_refused() -> None:
    """A large bias against a large residual: the sum leaves int16 before the offset could bring it back."""
    layer, output = planned(5, True, reach=0.14)
    scale_y = output.qparams.scale
    layer, output = (
        replace(layer, input=QParams(layer.input.scale)),
        LayerOutput(QParams(scale_y), residual=other(scale_y)),
    )
    lowered = [
        lower.lower_q15(replace(layer, bias=np.full(CHANNELS, sign * steps * scale_y)), output)
        for sign in (-1, 1)
        for steps in (0, 850, 950)  # 28672 / 32 = 896 is the limit
    ]
    assert [result is not None for result in lowered] == [True, True, False] * 2


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.floats(-900, 900))
def test_what_is_accepted_never_saturates_visibly(seed: int, steps: float) -> None:
    layer, output = planned(seed, True)
    lowered = lower.lower_q15(replace(layer, bias=np.full(CHANNELS, steps * output.qparams.scale)), output)
    if lowered is None:
        return
    epilogue, start = lowered
    assert isinstance(epilogue, RequantizeQ15Add)
    x = patches(np.random.default_rng(seed), 9)
    flat = layer.weight.reshape(CHANNELS, -1).astype(np.int64)
    acc = start + x.astype(np.int64) @ flat.T
    best = np.where(flat > 0, 127, -128)
    acc = np.concatenate([acc, [start + (flat * best).sum(axis=1), start + (flat * (-1 - best)).sum(axis=1)]])
    for r in (-128, 127):
        factor = np.asarray([epilogue.residual_factor])
        exact = multiply_q15(acc, epilogue.multiplier) + multiply_q15(np.asarray([r << 7]), factor)
        wide = np.clip((exact + epilogue.offset + 16) >> 5, -128, 127)
        residual = np.full(acc.shape, r, np.int8)
        y = requantize_q15_add(acc, epilogue.multiplier, residual, epilogue.residual_factor, epilogue.offset, -128, 127)
        np.testing.assert_array_equal(y, wide)


NAME = "blocks.1.0.ghost1.primary"
DENSE = (
    IntegerLayer(NAME, np.full((2, 4), 100, np.int8), np.zeros(2), np.full(2, 0.01, np.float32), QParams(0.1, -128)),
    LayerOutput(QParams(0.1)),
)

REFUSED: list[tuple[Change, str | None]] = [
    (layer_with(bias=np.asarray([0.0, 1e9])), "channel 1 could leave int32; its bias is 1e"),
    (layer_with(bias=np.asarray([0.0, -1e300])), "channel 1 could leave int32"),
    (layer_with(bias=np.asarray([0.0, np.nan])), "channel 1 could leave int32; its bias is nan"),
    (layer_with(bias=np.asarray([0.0, 2147450.0])), "channel 1 could leave int32"),
    (layer_with(scales=np.asarray([0.01, 1e-30], np.float32), bias=np.ones(2)), "channel 1 could leave int32"),
    (output_with(qparams=QParams(1e-8)), "could reach .* steps of its output before clamping"),
    (
        lambda layer, output: (
            replace(layer, scales=np.asarray([0.01, 1e-38], np.float32)),
            replace(output, qparams=QParams(10.0)),
        ),
        "requantization factor is",
    ),
    (output_with(qparams=QParams(1e-3), residual=other(0.1)), None),
    (output_with(qparams=QParams(2e-5), residual=other(0.1)), "could reach"),
    (  # finite until it is multiplied by 4096; with weights and bias 0 the reach would be 0 * infinity
        lambda layer, output: (
            replace(layer, weight=np.zeros((2, 4), np.int8), scales=np.full(2, 1e37, np.float32)),
            replace(output, residual=other(0.1)),
        ),
        "requantization factor is inf",
    ),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_dense_refuses_by_name_what_could_overflow(change: Change, message: str | None) -> None:
    lower.lower_dense(*DENSE)
    if message is None:
        lower.lower_dense(*change(*DENSE))
        return
    with pytest.raises(UsageError, match=rf"'{NAME}'.*{message}"):
        lower.lower_dense(*change(*DENSE))


def test_depthwise_falls_back_to_int32() -> None:
    layer, output = planned(2, False)
    assert isinstance(lower.lower_depthwise(layer, output)[0], RequantizeQ15)
    unplanned = replace(layer, scales=np.full(CHANNELS, 0.0123, np.float32))
    assert isinstance(lower.lower_depthwise(unplanned, output)[0], Requantize)


def test_logits_keep_the_scale() -> None:
    weight = np.arange(-6, 6, dtype=np.int8).reshape(3, 4)
    scales = np.asarray([0.1, 0.2, 0.3], np.float32)
    bias = np.asarray([1.0, 2.0, 3.0])
    epilogue, start = lower.lower_logits(IntegerLayer("classifier", weight, bias, scales, QParams(0.5, -128)))
    np.testing.assert_array_equal(epilogue.multiplier, (np.float64(0.5) * scales).astype(np.float32))
    total = weight.astype(int).sum(axis=1)
    np.testing.assert_array_equal(start, [20 + 128 * total[0], 20 + 128 * total[1], 20 + 128 * total[2]])


@pytest.mark.parametrize("zero_x", [-128, 0, 77])
def test_pool_is_the_mean(zero_x: int) -> None:
    x, y = QParams(0.1, zero_x), QParams(0.05, 3)
    values = np.random.default_rng(0).integers(-128, 128, 49).astype(np.int8)
    bias, epilogue = lower.lower_pool(49, x, y)
    acc = np.asarray([values.astype(int).sum() + bias], np.int32)
    result = requantize(acc, epilogue.multiplier, epilogue.zero_point, epilogue.low, epilogue.high)
    expected = np.clip(dequantize(values, x).astype(float).mean() / 0.05 + 3, -128, 127)
    assert abs(int(result[0]) - expected) <= 0.5 + 1e-4


def test_multiply_is_the_product_for_every_pair() -> None:
    x, gate, y = QParams(0.05, 7), QParams(1 / 255, -128), QParams(0.03, -5)
    q = np.arange(-128, 128)
    acc = np.multiply.outer(q - 7, q + 128).astype(np.int32)[..., None]
    epilogue = lower.lower_multiply(x, gate, y)
    result = requantize(acc, epilogue.multiplier, epilogue.zero_point, epilogue.low, epilogue.high)[..., 0]
    expected = np.clip(acc[..., 0] * (0.05 / 255) / 0.03 - 5, -128, 127)
    assert np.abs(result - expected).max() <= 0.5 + 1e-3
