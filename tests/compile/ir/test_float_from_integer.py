"""The float form of an integer program: its answers are those of the integers but for rounding."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from calib.integer.functions import EVERY, evaluate
from calib.integer.program import (
    Add,
    AveragePool,
    ChannelSlopes,
    Concat,
    Conv2d,
    Crop,
    Dequantize,
    GlobalAveragePool,
    Lookup,
    MaxPool,
    Multiply,
    NearestUpsample,
    Operator,
    Program,
    ShuffleChannels,
)
from calib.integer.qparams import QParams, dequantize, quantize
from calib.integer.reference import run
from calib.integer.values import Requantize, Tensor
from compile.ir.float_from_integer import clamp_of, float_form, real_weights
from compile.ir.float_program import (
    FloatAveragePool,
    FloatChannelSlopes,
    FloatConcat,
    FloatConv2d,
    FloatCrop,
    FloatDepthwiseConv2d,
    FloatFunction,
    FloatGate,
    FloatMaxPool,
    FloatMultiply,
    FloatPool,
    FloatProgram,
    FloatResize,
    FloatScores,
    FloatShuffleChannels,
    FloatSubtract,
    FloatTensor,
)
from compile.ir.float_reference import run_float
from compile.ir.table_formulas import KNOWN, formula_of, lines, only_rescales
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError
from repghost.graph.formulas import name_of
from repghost.graph.operators import RELU, UNBOUNDED, Clamp, Step
from tests.support.programs import _Builder, random_images

PREPROCESS = Preprocess(size=16, resize=16)


def program(int16: bool = False) -> Program:
    b = _Builder(16, 0, int16=int16)
    x = b.dense("stem", b.image(), 12, kernel=3, stride=2, relu=True)
    y = b.depthwise("cheap", b.dense("expand", x, 60, relu=True), relu=True)
    y = b.gate("gate", y, b.dense("scores", b.pool("squeeze", y), 60))
    y = b.depthwise("spatial", b.dense("project", y, 12), residual=x)
    y = b.depthwise("down", y, kernel=5, stride=2)
    b.dense("classifier", b.pool("pool", y), 10, logits=True)
    return Program(tuple(b.operators), 16, 16, 10, digest="0" * 64)


def test_the_answers_are_those_of_the_integers_but_for_rounding() -> None:
    integers = program()
    form = float_form(integers, PREPROCESS)
    images = random_images(2, 16, 16, seed=0)  # those the scales were made from: nothing is limited
    exact, real = run(integers, images), run_float(form, images)
    assert np.abs(exact - real).max() < 0.1 * np.abs(real).max()
    assert not np.array_equal(exact, real)
    for left, right in zip(exact, real, strict=True):
        assert left @ right / np.linalg.norm(left) / np.linalg.norm(right) > 0.99


def test_layers_keep_their_form() -> None:
    form = {operator.name: operator for operator in float_form(program(), PREPROCESS).operators}
    stem, spatial, gate, last = (form[name] for name in ("stem", "spatial", "gate.scale", "classifier"))
    assert isinstance(stem, FloatConv2d) and stem.clamp == RELU and not stem.logits
    assert isinstance(spatial, FloatDepthwiseConv2d) and spatial.residual is not None
    assert isinstance(gate, FloatGate) and gate.gate.name == "scores"
    assert isinstance(last, FloatConv2d) and last.logits and last.clamp == UNBOUNDED


def test_weights_are_the_integers_times_their_scales() -> None:
    operator = next(it for it in program().operators if it.name == "expand")
    assert isinstance(operator, Conv2d)
    weight, _ = real_weights(operator)
    ratios = weight / np.where(operator.weight == 0, np.nan, operator.weight)
    assert np.nanstd(ratios.reshape(len(ratios), -1), axis=1).max() < 1e-7 * np.nanmax(ratios)
    assert not np.any(weight[operator.weight == 0])


def lookup(real: NDArray[np.float32], x: QParams, y: QParams) -> Lookup:
    """Return the table of the real numbers that a function makes of every integer."""
    return Lookup("f", Tensor("x", 1, 1, 4, x), Tensor("f", 1, 1, 4, y), quantize(real, y))


@pytest.mark.parametrize("steps", KNOWN, ids=name_of)
def test_a_function_is_told_by_its_table(steps: tuple[Step, ...]) -> None:
    x = QParams(0.05, -10)
    real = evaluate(steps, dequantize(EVERY, x))
    assert formula_of(lookup(real, x, QParams(np.ptp(real) / 250, -60))) == steps


@pytest.mark.parametrize("kind", ["swish of a relu", "leaky", "clipped", "noise"])
def test_any_other_table_becomes_lines_through_its_points(kind: str) -> None:
    x, y = QParams(0.05, -10), QParams(0.03, -60)
    real = dequantize(EVERY, x)
    value = {
        "swish of a relu": np.maximum(real, 0) / (1 + np.exp(-real)),
        "leaky": np.where(real < 0, 0.2 * real, real),
        "clipped": np.clip(real, -0.4, 1.3),
        "noise": np.random.default_rng(0).uniform(-1, 1, 256),
    }[kind]
    operator = lookup(value.astype(np.float32), x, y)
    steps = formula_of(operator)
    assert steps not in KNOWN and (kind == "noise" or len(steps) < 3 + 4 * 20)
    off = np.abs(evaluate(steps, real) - dequantize(operator.table, y)).max()
    assert off < (1.1 if kind == "noise" else 1.01) * y.scale


def test_lines_go_on_where_the_points_end() -> None:
    x = np.arange(-4, 5, dtype=np.float32)
    steps = lines(x, np.abs(x), 1e-6)
    np.testing.assert_allclose(
        evaluate(steps, np.float32([-100, -0.5, 0, 2.5, 100])), [100, 0.5, 0, 2.5, 100], rtol=1e-5
    )


def test_the_same_numbers_in_another_scale_are_no_operator() -> None:
    first = program().operators[0]
    x, y = first.output, QParams(first.output.qparams.scale * 1.3, -20)
    real = (np.arange(-128, 128) - x.qparams.zero_point) * np.float32(x.qparams.scale)
    table = np.clip(np.rint(real / y.scale) + y.zero_point, -128, 127).astype(np.int8)
    rescaled = Lookup("rescaled", x, replace(x, name="rescaled", qparams=y), table)
    pool = MaxPool(
        "largest", rescaled.output, replace(rescaled.output, name="largest", height=8, width=8), (3, 3), (2, 2), (1, 1)
    )
    assert only_rescales(rescaled)
    form = with_operators(rescaled, pool)
    assert [operator.name for operator in form.operators] == [first.name, "largest", "mean", "mean.scores"]
    picture, largest = (operator.output for operator in form.operators[:2])
    assert form.operators[1] == FloatMaxPool("largest", picture, largest, (3, 3), (2, 2), (1, 1))
    assert not only_rescales(replace(rescaled, table=np.roll(table, 20)))


def test_a_dilated_kernel_stays_one() -> None:
    stem = program().operators[1]
    assert isinstance(stem, Conv2d)
    dilated = replace(stem, name="wide", output=replace(stem.output, name="wide"), pads=(2, 2), dilations=(2, 2))
    wide = with_operators(dilated).operators[1]
    assert isinstance(wide, FloatConv2d) and wide.dilations == (2, 2)
    np.testing.assert_array_equal(wide.weight, real_weights(stem)[0])


def with_operators(*operators: Operator) -> FloatProgram:
    """Return the float form of a picture, some operators and a mean of the last one's map; its answers fit."""
    mean = replace(operators[-1].output, name="mean", height=1, width=1)
    inputs = operators[-1].output
    factor = inputs.qparams.scale / (mean.qparams.scale * inputs.height * inputs.width)
    requantize = Requantize(np.float32([factor]), mean.qparams.zero_point, -128, 127)
    bias = -inputs.height * inputs.width * inputs.qparams.zero_point
    pool = GlobalAveragePool("mean", inputs, mean, bias, requantize)
    last = replace(mean, name="scores")
    every = (program().operators[0], *operators, pool, Dequantize("scores", mean, last))
    integers = Program(every, 16, 16, mean.channels, digest="0" * 64)
    form, images = float_form(integers, PREPROCESS), random_images(2, 16, 16)
    assert np.abs(run(integers, images) - run_float(form, images)).max() < 4 * inputs.qparams.scale
    return form


def test_every_other_operator_has_a_float_form() -> None:
    x = program().operators[0].output
    scale, zero = x.qparams.scale, x.qparams.zero_point
    largest = MaxPool("largest", x, replace(x, name="largest"), (3, 3), (1, 1), (1, 1))
    less = Add("less", x, largest.output, replace(x, name="less", qparams=QParams(2 * scale, 0)), 2048, -2048, -128, -5)
    parts = [FloatTensor(name, 16, 16, 3) for name in (x.name, "largest", "less")]
    clamp = (-np.inf, float(-5 * np.float32(2 * scale)))
    assert with_operators(largest, less).operators[2] == FloatSubtract("less", *parts, clamp)
    swapped = replace(less, factor=-2048, other_factor=2048, high=127)
    subtract = with_operators(largest, swapped).operators[2]
    assert isinstance(subtract, FloatSubtract) and subtract.input.name == "largest" and subtract.clamp == UNBOUNDED

    mean = Requantize(np.float32([1 / 9]), zero, -128, 127)
    pool = AveragePool("pool", x, replace(x, name="pool"), (3, 3), (1, 1), (1, 1), -9 * zero, mean)
    up = NearestUpsample("up", x, replace(x, name="up", height=32, width=48), 2, 3)
    slopes = ChannelSlopes(
        "slopes",
        x,
        replace(x, name="slopes"),
        np.float32([0.5, 0.25, 0.1]),
        Requantize(np.float32([1.0]), zero, -128, 60),
    )
    shuffle = ShuffleChannels("shuffled", x, replace(x, name="shuffled"), 3)
    crop = Crop("crop", x, replace(x, name="crop", channels=2, height=15), 1, 0, 1)
    joined = Concat("joined", (x, x), replace(x, name="joined", channels=6))
    for operator, kind in (
        (pool, FloatAveragePool), (up, FloatResize), (slopes, FloatChannelSlopes), (shuffle, FloatShuffleChannels),
        (crop, FloatCrop), (joined, FloatConcat),
    ):  # fmt: skip
        assert isinstance(with_operators(operator).operators[1], kind)
    clamped = [type(operator) for operator in with_operators(slopes).operators]
    assert clamped[2:] == [FloatFunction, FloatPool, FloatScores]


def test_a_gate_of_any_table_is_a_product() -> None:
    x = program().operators[0].output
    squeeze = GlobalAveragePool(
        "squeeze", x, replace(x, name="squeeze", height=1, width=1), -256 * x.qparams.zero_point,
        Requantize(np.float32([1 / 256]), x.qparams.zero_point, -128, 127),
    )  # fmt: skip
    y = QParams(1 / 255, -128)
    table = quantize(1 / (1 + np.exp(-dequantize(EVERY, x.qparams))), y)
    sigmoid = Lookup("sigmoid", squeeze.output, replace(squeeze.output, name="sigmoid", qparams=y), table)
    product = Requantize(np.float32([y.scale]), x.qparams.zero_point, -128, 127)
    gate = Multiply("gate", x, sigmoid.output, replace(x, name="gate"), product)
    form = with_operators(squeeze, sigmoid, gate)
    assert [type(operator) for operator in form.operators[2:4]] == [FloatFunction, FloatMultiply]


@pytest.mark.parametrize(
    ("low", "high", "clamp"),
    [
        (-128, 127, UNBOUNDED),
        (-20, 127, RELU),
        (-10, 127, (1.0, np.inf)),
        (-20, 40, (0.0, 6.0)),
        (-128, 40, (-np.inf, 6.0)),
    ],
)
def test_bounds_that_int8_has_anyway_are_none(low: int, high: int, clamp: Clamp) -> None:
    bounds = Requantize(np.ones(1, np.float32), -20, low, high)
    np.testing.assert_allclose(clamp_of(bounds, Tensor("y", 1, 1, 1, QParams(0.1, -20))), clamp, rtol=1e-6)
    lowest = Tensor("y", 1, 1, 1, QParams(0.1, -128))
    assert clamp_of(Requantize(np.ones(1, np.float32), -128, -128, 127), lowest) == RELU


def test_what_has_no_float_form_is_named() -> None:
    with pytest.raises(UsageError, match="cheap accumulates in int16"):
        float_form(program(int16=True), PREPROCESS)
    integers = program()
    first = integers.operators[0]
    written = replace(first.output, name="other")
    other: Any = SimpleNamespace(name="other", inputs=(first.output,), output=written)
    with pytest.raises(UsageError, match=r"other .SimpleNamespace. has no float form"):
        float_form(replace(integers, operators=(first, other, *integers.operators[1:])), PREPROCESS)


def test_a_max_pool_stays_one() -> None:
    first = program().operators[0]
    x = first.output
    pool = MaxPool("largest", x, replace(x, name="largest", height=8, width=8), (3, 3), (2, 2), (1, 1))
    form = with_operators(pool)
    picture, largest = (operator.output for operator in form.operators[:2])
    assert form.operators[1] == FloatMaxPool("largest", picture, largest, (3, 3), (2, 2), (1, 1))
    smaller = with_operators(replace(pool, size=(2, 2)))
    assert smaller.digest != form.digest
