"""The float form of an integer program: its answers are those of the integers but for rounding."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from calib.integer.program import Add, Conv2d, Lookup, MaxPool, Program
from calib.integer.qparams import QParams
from calib.integer.reference import run
from calib.integer.values import Tensor
from compile.ir.float_from_integer import float_form, function_of, only_rescales, real_weights
from compile.ir.float_program import FloatConv2d, FloatDepthwiseConv2d, FloatGate, FloatMaxPool
from compile.ir.float_reference import FUNCTIONS, run_float
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError
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
    assert isinstance(stem, FloatConv2d) and stem.relu and not stem.logits
    assert isinstance(spatial, FloatDepthwiseConv2d) and spatial.residual is not None
    assert isinstance(gate, FloatGate) and gate.gate.name == "scores"
    assert isinstance(last, FloatConv2d) and last.logits and not last.relu


def test_weights_are_the_integers_times_their_scales() -> None:
    operator = next(it for it in program().operators if it.name == "expand")
    assert isinstance(operator, Conv2d)
    weight, _ = real_weights(operator)
    ratios = weight / np.where(operator.weight == 0, np.nan, operator.weight)
    assert np.nanstd(ratios.reshape(len(ratios), -1), axis=1).max() < 1e-7 * np.nanmax(ratios)
    assert not np.any(weight[operator.weight == 0])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_told_by_its_table(name: str) -> None:
    x, y = QParams(0.05, -10), QParams(0.03, -60)
    real = (np.arange(-128, 128) - x.zero_point) * np.float32(x.scale)
    table = np.clip(np.rint(FUNCTIONS[name](real) / y.scale) + y.zero_point, -128, 127).astype(np.int8)
    operator = Lookup("f", Tensor("x", 1, 1, 4, x), Tensor("f", 1, 1, 4, y), table)
    assert function_of(operator) == name
    with pytest.raises(UsageError, match="f: its table is none of"):
        function_of(replace(operator, table=np.roll(table, 20)))


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
    form = float_form(Program((first, rescaled, pool), 16, 16, 3, digest="0" * 64), PREPROCESS)
    assert [operator.name for operator in form.operators] == [first.name, "largest"]
    assert form.operators[1] == FloatMaxPool("largest", *(it.output for it in form.operators), (3, 3), (2, 2), (1, 1))
    assert not only_rescales(replace(rescaled, table=np.roll(table, 20)))


def test_a_dilated_kernel_stays_one() -> None:
    integers = program()
    first, stem, *_ = integers.operators
    dilated = replace(stem, name="wide", output=replace(stem.output, name="wide"), pads=(2, 2), dilations=(2, 2))
    form = float_form(replace(integers, operators=(first, dilated)), PREPROCESS)
    assert form.operators[-1].dilations == (2, 2)
    np.testing.assert_array_equal(form.operators[-1].weight, real_weights(stem)[0])


def test_a_difference_has_no_float_form() -> None:
    integers = program()
    x = integers.operators[0].output
    difference = Add("less", x, x, replace(x, name="less"), 4096, -2048, -128, 127)
    with pytest.raises(UsageError, match=r"less .Add. has no float form"):
        float_form(replace(integers, operators=(integers.operators[0], difference)), PREPROCESS)


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
    form = float_form(Program((first, pool), 16, 16, 3, digest="0" * 64), PREPROCESS)
    assert form.operators[1] == FloatMaxPool("largest", *(it.output for it in form.operators), (3, 3), (2, 2), (1, 1))
    smaller = float_form(Program((first, replace(pool, size=(2, 2))), 16, 16, 3, digest="0" * 64), PREPROCESS)
    assert smaller.digest != form.digest
