"""Small networks with one unusual layer each: what lowers agrees with ONNX Runtime, what cannot is named."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from calib.integer import program as ir
from calib.integer.program import Dequantize
from calib.integer.reference import run
from compile.frontend.qdq_file import read_qdq
from compile.passes import explain, lower
from compile.passes.rules import Refusal
from repghost.errors import UsageError
from tests.support.agreement import check_steps
from tests.support.one_layer import one_layer, softmax
from tests.support.programs import random_images
from tests.support.qdq_models import Model, mini_net, preprocess, save


def lowered(m: Model, tmp_path: Path) -> ir.Program:
    return lower(read_qdq(save(m.build("logits", 4), tmp_path)))


def refusals(m: Model, tmp_path: Path) -> dict[str, str]:
    steps = explain(read_qdq(save(m.build("logits", 4), tmp_path)))
    return {step.node.output: step.result.reason for step in steps if isinstance(step.result, Refusal)}


def lopsided(m: Model, x: str) -> str:
    y = m.conv("lopsided", x, 8, 8, kernel=3)
    pads = next(item for item in m.nodes[-1].attribute if item.name == "pads")
    pads.ints[:] = [0, 1, 2, 1]
    return m.quantize(y, 0.03, 0)


def max_pool(m: Model, x: str) -> str:
    return m.quantize(m.node("MaxPool", [x], "max", kernel_shape=[2, 2], strides=[2, 2]), 0.03, 0)


def never_quantized(m: Model, x: str) -> str:
    return m.conv("float", x, 8, 8)


def float_relu(m: Model, x: str) -> str:
    return m.node("Relu", [x], "float")


def float_relu_before_a_layer(m: Model, x: str) -> str:
    return m.quantize(m.conv("after", float_relu(m, x), 8, 8), 0.03, 0)


def double_add(m: Model, x: str) -> str:
    return m.quantize(m.node("Add", [m.conv("a", x, 8, 8), m.conv("b", x, 8, 8)], "sum"), 0.05, 0)


def relu_before_add(m: Model, x: str) -> str:
    return m.quantize(m.node("Add", [m.node("Relu", [m.conv("a", x, 8, 8)], "relu"), x], "sum"), 0.05, 0)


def square(m: Model, x: str) -> str:
    other = m.quantize(m.conv("other", x, 8, 8), 0.03, 0)
    return m.quantize(m.node("Mul", [x, other], "product"), 0.03, 0)


def minus_128(m: Model, x: str) -> str:
    y = m.conv("wide", x, 8, 8)
    m.initializers["wide.weight"] = m.initializers["wide.weight"].copy()
    m.initializers["wide.weight"][0, 0] = -128
    return m.quantize(y, 0.03, 0)


def scales_on_inputs(m: Model, x: str) -> str:
    y = m.conv("turned", x, 8, 8)
    next(node for node in m.nodes if node.output[0] == "turned.weight.dq").attribute[0].i = 1
    return m.quantize(y, 0.03, 0)


def far_scales(m: Model, x: str) -> str:
    return m.quantize(m.conv("far", x, 8, 8), 1e-30, 0)


REFUSED: list[tuple[Callable[[Model, str], str], str, str]] = [
    (softmax, "soft", "no integer rule for Softmax"),
    (never_quantized, "float", "stays float"),
    (float_relu_before_a_layer, "float", "stays float|no integer rule"),
    (double_add, "sum", "in float"),
    (relu_before_add, "sum", "in float"),
    (minus_128, "wide", "-128; symmetric weights"),
    (scales_on_inputs, "turned", "axis 1"),
    (far_scales, "far", "steps of its output|ratio"),
]


@pytest.mark.parametrize(("layer", "output", "words"), REFUSED, ids=[row[0].__name__ for row in REFUSED])
def test_what_cannot_be_integer_is_named(
    tmp_path: Path, layer: Callable[[Model, str], str], output: str, words: str
) -> None:
    model = one_layer(layer)
    reasons = refusals(model, tmp_path)
    assert output in reasons and re.search(words, reasons[output]), reasons
    with pytest.raises(UsageError, match="cannot be computed in integers") as caught:
        lowered(model, tmp_path)
    assert f"{output}.node" in str(caught.value) and "repghost explain" in str(caught.value)


def test_max_pool_of_another_scale_is_a_table_and_a_pool(tmp_path: Path) -> None:
    kinds = [type(operator).__name__ for operator in lowered(one_layer(max_pool), tmp_path).operators]
    assert kinds[kinds.index("Lookup") + 1] == "MaxPool"


def test_quantized_scores_are_dequantized(tmp_path: Path) -> None:
    m = one_layer()
    scores = m.quantize("logits", 0.1, 0)
    steps = explain(read_qdq(save(m.build(scores, 4), tmp_path)))
    assert isinstance(steps[-1].result, Dequantize) and steps[-1].result.input.qparams.scale == np.float32(0.1)


def test_a_view_of_quantized_scores_is_their_dequantization(tmp_path: Path) -> None:
    m = Model(8)
    x = m.quantize(m.conv("first", m.quantize("input", 0.02, -3), 3, 4), 0.03, 2)
    m.node("Flatten", [m.quantize(m.node("GlobalAveragePool", [x], "mean"), 0.02, 1)], "logits")
    model = m.build("logits", 4)
    program = lower(read_qdq(save(model, tmp_path)))
    assert isinstance(program.operators[-1], Dequantize)
    check_steps(model, program, random_images(3, 8, 8), preprocess(8))


def test_activation_after_the_scores_is_refused(tmp_path: Path) -> None:
    m = one_layer()
    m.node("Sigmoid", ["logits"], "probabilities")
    steps = explain(read_qdq(save(m.build("probabilities", 4), tmp_path)))
    assert [step.node.operator for step in steps if isinstance(step.result, Refusal)] == ["Gemm", "Sigmoid"]


def exact_add(m: Model, x: str) -> str:
    y = m.quantize(m.conv("a", x, 8, 8), 0.03, 1)
    return m.quantize(m.node("Relu", [m.node("Add", [x, y], "sum")], "relu"), 0.05, -100)


def relu6(m: Model, x: str) -> str:
    limits = [m.constant("low", 0.0), m.constant("high", 6.0)]
    return m.quantize(m.node("Clip", [m.conv("a", x, 8, 8), *limits], "relu6"), 0.05, -128)


def hard_swish(m: Model, x: str) -> str:
    inner = m.node("Clip", [m.node("Add", [x, m.constant("3", 3.0)], "plus3"), m.constant("0", 0.0),
                            m.constant("6", 6.0)], "clip")  # fmt: skip
    return m.quantize(m.node("Div", [m.node("Mul", [x, inner], "times"), m.constant("6b", 6.0)], "swish"), 0.03, -50)


def reduce_mean_gate(m: Model, x: str) -> str:
    g = m.quantize(m.node("ReduceMean", [x], "squeeze", axes=[2, 3], keepdims=1), 0.02, 1)
    g = m.quantize(m.node("Sigmoid", [m.quantize(m.conv("fc", g, 8, 8), 0.03, 0)], "gate"), 1 / 255, -128)
    return m.quantize(m.node("Mul", [g, x], "scaled"), 0.03, 2)


def per_tensor_weight(m: Model, x: str) -> str:
    y = m.conv("a", x, 8, 8)
    m.initializers["a.weight.scale"] = np.float32(0.01)
    m.initializers["a.weight.zero_point"] = np.int8(0)
    return m.quantize(y, 0.05, 0)


def int32_bias(m: Model, x: str) -> str:
    y = m.conv("a", x, 8, 8)
    m.initializers["a.bias"] = np.arange(-4, 4, dtype=np.int32) * 1000
    scale = m.constant("bias.scale", m.scales[x] * m.initializers["a.weight.scale"])
    conv = m.nodes.pop()
    m.node("DequantizeLinear", ["a.bias", scale], "a.bias.dq", axis=0)
    conv.input[2] = "a.bias.dq"
    m.nodes.append(conv)
    return m.quantize(y, 0.05, 0)


def no_bias(m: Model, x: str) -> str:
    y = m.conv("a", x, 8, 8, kernel=3)
    del m.nodes[-1].input[2]
    return m.quantize(y, 0.08, 0)


def average_pool(m: Model, x: str) -> str:
    return m.quantize(m.node("AveragePool", [x], "all", kernel_shape=[8, 8]), 0.02, 3)


def requantized(m: Model, x: str) -> str:
    return m.quantize(x, 0.05, 9)


def residual_dense(m: Model, x: str) -> str:
    return m.quantize(m.node("Relu", [m.node("Add", [x, m.conv("a", x, 8, 8, kernel=3)], "sum")], "relu"), 0.08, -128)


ACCEPTED: list[tuple[Callable[[Model, str], str], list[type]]] = [
    (exact_add, [ir.Conv2d, ir.Add]),
    (relu6, [ir.Conv2d]),
    (hard_swish, [ir.Lookup]),
    (reduce_mean_gate, [ir.GlobalAveragePool, ir.Conv2d, ir.Lookup, ir.Multiply]),
    (per_tensor_weight, [ir.Conv2d]),
    (int32_bias, [ir.Conv2d]),
    (no_bias, [ir.Conv2d]),
    (average_pool, [ir.GlobalAveragePool]),
    (requantized, [ir.Lookup]),
    (residual_dense, [ir.Conv2d]),
    (float_relu, [ir.Lookup]),
    (lopsided, [ir.Conv2d]),
    (square, [ir.Conv2d, ir.Multiply]),
]


@pytest.mark.parametrize(("layer", "kinds"), ACCEPTED, ids=[row[0].__name__ for row in ACCEPTED])
def test_other_networks_lower_and_agree(tmp_path: Path, layer: Callable[[Model, str], str], kinds: list[type]) -> None:
    model = one_layer(layer)
    program = lowered(model, tmp_path)
    assert [type(operator) for operator in program.operators[2:-2]] == kinds
    check_steps(model.build("logits", 4), program, random_images(4, 8, 8), preprocess(8))


def test_gemm_over_a_whole_map_reads_it_in_the_files_order(tmp_path: Path) -> None:
    """Flatten is NCHW in the file and the program is NHWC; a swapped order would be far off."""
    m = Model(4)
    x = m.quantize(m.conv("first", m.quantize("input", 0.02, -3), 3, 5, stride=2), 0.03, 2)
    m.linear("logits", m.node("Flatten", [x], "flat"), 5 * 2 * 2, 4)
    model = m.build("logits", 4)
    program = lower(read_qdq(save(model, tmp_path)))
    assert program.operators[-1].weight.shape == (4, 2, 2, 5)
    check_steps(model, program, random_images(4, 4, 4), preprocess(4))


def test_gemm_without_transposition(tmp_path: Path) -> None:
    model = mini_net()
    expected = run(lower(read_qdq(save(model, tmp_path))), random_images(3, 16, 16))
    for tensor in model.graph.initializer:
        if tensor.name == "logits.weight":
            values = np.frombuffer(tensor.raw_data, np.int8).reshape(7, 20).T
            tensor.raw_data = values.tobytes()
            tensor.dims[:] = [20, 7]
    for node in model.graph.node:
        if node.name in ("logits.node", "logits.weight.dq.node"):
            node.attribute[0].i = {"logits.node": 0, "logits.weight.dq.node": 1}[node.name]
    result = run(lower(read_qdq(save(model, tmp_path))), random_images(3, 16, 16))
    np.testing.assert_array_equal(result, expected)
