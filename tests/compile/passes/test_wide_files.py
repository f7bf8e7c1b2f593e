"""Files of others with int16 activations: what is read, and what is refused by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from calib.integer.program import AveragePool, Concat, Conv2d, MaxPool, Rescale, WideAdd
from calib.integer.reference import run
from compile.frontend.qdq_file import read_qdq
from compile.passes import explain, lower
from compile.passes.rules import Refusal
from repghost.errors import UsageError
from tests.support.agreement import check_steps
from tests.support.programs import random_images
from tests.support.qdq_models import Model, preprocess, save

INT16 = TensorProto.INT16
Layer = Callable[[Model, str], str]


def wide(m: Model, tensor: str, scale: float = 2e-4, zero_point: int = 0) -> str:
    """Append a Q/DQ pair of int16 and return the dequantized tensor."""
    parameters = [
        m.constant(f"{tensor}.scale", scale),
        m.constant(f"{tensor}.zero_point", zero_point, np.int16),
    ]
    m.node("QuantizeLinear", [tensor, *parameters], f"{tensor}.q")
    return m.node("DequantizeLinear", [f"{tensor}.q", *parameters], f"{tensor}.dq")


def model_of(layer: Layer) -> Model:
    """Return a model of opset 21: image, a convolution whose result is int16, a layer, mean, linear layer."""
    m = Model(8, opset=21)
    x = m.quantize("input", 0.02, -3)
    x = wide(m, m.conv("first", x, 3, 8))
    x = m.quantize(m.node("GlobalAveragePool", [layer(m, x)], "mean"), 0.02, 0)
    m.linear("logits", m.node("Flatten", [x], "flat"), 8, 4)
    return m


def convolution(m: Model, x: str) -> str:
    return wide(m, m.node("Relu", [m.conv("second", x, 8, 8, kernel=3)], "relu"))


def narrow(m: Model, x: str) -> str:
    return m.quantize(m.conv("second", m.quantize(m.node("Identity", [x], "copy"), 0.03, 4), 8, 8), 0.03, 1)


def difference(m: Model, x: str) -> str:
    one = m.quantize(m.conv("one", x, 8, 8), 0.03, 2)
    return wide(m, m.node("Sub", [x, one], "difference"))


def moves(m: Model, x: str) -> str:
    pooled = wide(m, m.node("MaxPool", [x], "pool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
    joined = wide(m, m.node("Concat", [pooled, x], "both", axis=1))
    return wide(m, m.conv("second", joined, 16, 8))


def default_zero(m: Model, x: str) -> str:
    scale = m.constant("plain.scale", 2e-4)
    quantized = m.node("QuantizeLinear", [m.conv("second", x, 8, 8), scale], "plain.q", output_dtype=INT16)
    return m.node("DequantizeLinear", [quantized, scale], "plain.dq")


def average(m: Model, x: str) -> str:
    return wide(m, m.node("AveragePool", [x], "average", kernel_shape=[3, 3], pads=[1, 1, 1, 1]))


READ = {
    convolution: Conv2d, narrow: Rescale, difference: WideAdd, moves: (MaxPool, Concat), default_zero: Conv2d,
    average: AveragePool,
}  # fmt: skip


@pytest.mark.parametrize("layer", READ, ids=lambda layer: layer.__name__)
def test_what_is_read(layer: Layer, tmp_path: Path) -> None:
    model = model_of(layer).build("logits", 4)
    model.ir_version = 10
    program = lower(read_qdq(save(model, tmp_path)))
    kinds = READ[layer] if isinstance(READ[layer], tuple) else (READ[layer],)
    assert all(any(isinstance(op, kind) and "int16" in (op.output.element, op.inputs[0].element)
                   for op in program.operators[1:]) for kind in kinds)  # fmt: skip
    images = random_images(4, 8, 8)
    assert len(np.unique(run(program, images))) > 4
    if layer is not default_zero:  # whose type `check_steps` does not know
        check_steps(model, program, images, preprocess(8))


def relu_of_16_bits(m: Model, x: str) -> str:
    return m.quantize(m.node("HardSwish", [x], "function"), 0.03, 0)


def gate_of_16_bits(m: Model, x: str) -> str:
    return m.quantize(m.node("Mul", [x, m.quantize(m.conv("other", x, 8, 8), 0.03, 0)], "gate"), 0.03, 0)


def wide_function(m: Model, x: str) -> str:
    return wide(m, m.node("HardSwish", [m.quantize(m.conv("second", x, 8, 8), 0.03, 0)], "function"))


def linear_resize(m: Model, x: str) -> str:
    sizes = m.constant("sizes", [1, 8, 5, 5], np.int64)
    return m.quantize(m.node("Resize", [x, "", "", sizes], "resize", mode="linear"), 0.03, 0)


REFUSED = {
    relu_of_16_bits: ("function", "reads 'first' in 16 bits, which convolutions"),
    gate_of_16_bits: ("gate", "reads 'first' in 16 bits"),
    wide_function: ("function", "writes 'function' in 16 bits"),
    linear_resize: ("resize", "reads 'first' in 16 bits"),
}


@pytest.mark.parametrize("layer", REFUSED, ids=lambda layer: layer.__name__)
def test_what_has_no_form_for_16_bits_is_named(layer: Layer, tmp_path: Path) -> None:
    steps = explain(read_qdq(save(model_of(layer).build("logits", 4), tmp_path)))
    reasons = {step.node.output: step.result.reason for step in steps if isinstance(step.result, Refusal)}
    output, words = REFUSED[layer]
    assert output in reasons and re.search(words, reasons[output]), reasons


def test_sums_that_could_leave_int32_are_refused_unless_a_clip_limits_them(tmp_path: Path) -> None:
    def deep(m: Model, x: str) -> str:
        return wide(m, m.conv("deep", wide(m, m.conv("many", x, 8, 700)), 700, 8, kernel=3))

    def limited(m: Model, x: str) -> str:
        ends = [m.constant("low", -1.0), m.constant("high", 1.0)]
        return wide(m, m.conv("deep", wide(m, m.node("Clip", [m.conv("many", x, 8, 700), *ends], "clip")), 700, 8, 3))

    with pytest.raises(UsageError, match=r"deep.node.*: the accumulator of channel .* could leave int32"):
        lower(read_qdq(save(model_of(deep).build("logits", 4), tmp_path)))
    program = lower(read_qdq(save(model_of(limited).build("logits", 4), tmp_path)))
    assert next(op for op in program.operators if op.name == "deep.node").input.qparams.reach == 5000


def zero_point(m: Model, x: str) -> str:
    return wide(m, m.conv("second", x, 8, 8), zero_point=3)


def several_scales(m: Model, x: str) -> str:
    parameters = [m.constant("each.scale", np.full(8, 2e-4)), m.constant("each.zero_point", np.zeros(8), np.int16)]
    quantized = m.node("QuantizeLinear", [m.conv("second", x, 8, 8), *parameters], "each.q", axis=1)
    return m.node("DequantizeLinear", [quantized, *parameters], "each.dq", axis=1)


def wide_weight(m: Model, x: str) -> str:
    values = m.constant("weight", np.ones((8, 8, 1, 1)), np.int16)
    parameters = [m.constant("weight.scale", 0.01), m.constant("weight.zero_point", 0, np.int16)]
    weight = m.node("DequantizeLinear", [values, *parameters], "weight.dq")
    return m.quantize(m.node("Conv", [x, weight], "second", kernel_shape=[1, 1]), 0.03, 0)


BAD = {
    zero_point: "an activation of 16 bits has one scale, and a zero point of 0",
    several_scales: "an activation of 16 bits has one scale, and a zero point of 0",
    wide_weight: "quantizes a constant to 16 bits; weights are int8",
}


@pytest.mark.parametrize("layer", BAD, ids=lambda layer: layer.__name__)
def test_other_int16_is_refused(layer: Layer, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=BAD[layer]):
        read_qdq(save(model_of(layer).build("logits", 4), tmp_path))
