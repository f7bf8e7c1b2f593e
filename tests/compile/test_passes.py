"""Each pass: a graph before, the nodes expected after. Each rule: what it makes, what it refuses and in which words."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from calib import program as ir
from calib.qparams import QParams
from calib.reference import run
from compile.frontend import read_qdq
from compile.graph import INPUT_TABLE, LOOKUP_TABLE, REQUANTIZE, Node, QdqGraph
from compile.passes import PASSES, explain, lower, simplify
from compile.passes.fold_constants import fold_constants
from compile.passes.fold_lookups import fold_lookups
from compile.passes.fold_quantization import fold_quantization
from compile.passes.fold_views import fold_views
from compile.passes.fold_weights import fold_weights
from compile.passes.fuse_activation import fuse_activation
from compile.passes.fuse_residual import fuse_residual
from compile.passes.plan import plan
from compile.passes.rules import Refusal
from compile.passes.verify import BrokenGraphError, verify
from repghost.errors import UsageError
from tests.compile.agreement import check_steps
from tests.compile.qdq_models import Model, mini_net, preprocess, save
from tests.programs import random_pictures

MAP = (1, 8, 4, 4)
P, Q = QParams(0.1, 3), QParams(0.2, -5)
CONSTANTS = {
    "s": np.float32(0.1), "z": np.int8(3), "s2": np.float32(0.2), "z2": np.int8(-5), "three": np.float32(3),
    "zero": np.float32(0), "six": np.float32(6), "scales": np.float32([0.1, 0.2]),
}  # fmt: skip


def graph(*nodes: Node, **changes: object) -> QdqGraph:
    """Return a graph whose tensors are all maps of one shape, unless `shapes` says otherwise."""
    tensors = {name for node in nodes for name in (*node.operands, node.output)} | {"input"}
    fields: dict = {
        "constants": CONSTANTS | changes.pop("constants", {}),
        "shapes": {name: MAP for name in tensors} | changes.pop("shapes", {}),
        "output": changes.pop("output", nodes[-1].output),
        **changes,
    }
    return QdqGraph(nodes=nodes, input="input", preprocess=preprocess(), digest="", **fields)


def n(operator: str, inputs: str, output: str, **attributes: object) -> Node:
    return Node(output, operator, tuple(inputs.split()), output, attributes)


def q(source: str, output: str, params: str = "s z") -> Node:
    return n("QuantizeLinear", f"{source} {params}", output)


def dq(source: str, output: str, params: str = "s z") -> Node:
    return n("DequantizeLinear", f"{source} {params}", output)


def written(graph: QdqGraph) -> list[str]:
    """Return nodes as text: operator, operands, output."""
    return [f"{node.operator} {' '.join(node.operands)} -> {node.output}" for node in graph.nodes]


# name, pass, graph before, nodes after
BEFORE_AND_AFTER: list[tuple[str, Callable[[QdqGraph], QdqGraph], QdqGraph, list[str]]] = [
    (
        "copies of constants vanish",
        fold_constants,
        graph(n("Identity", "three", "copy"), n("Add", "input copy", "y")),
        ["Add input copy -> y"],
    ),
    (
        "dequantized int8 constants become weights",
        fold_weights,
        graph(dq("w", "w.dq", "s z0"), n("Conv", "input w.dq", "y"),
              constants={"w": np.ones((2, 8, 1, 1), np.int8), "z0": np.int8(0)}),
        ["Conv input w.dq -> y"],
    ),
    (
        "asymmetric weights stay",
        fold_weights,
        graph(dq("w", "w.dq"), n("Conv", "input w.dq", "y"), constants={"w": np.ones((2, 8, 1, 1), np.int8)}),
        ["DequantizeLinear w s z -> w.dq", "Conv input w.dq -> y"],
    ),
    (
        "Q and DQ move into the tensors, the input becomes a table",
        fold_quantization,
        graph(q("input", "x.q"), dq("x.q", "x.dq"), n("Conv", "x.dq w", "y"), q("y", "y.q", "s2 z2"),
              dq("y.q", "y.dq", "s2 z2"), n("Gemm", "y.dq w", "logits"), constants={"w": np.float32(0)}),
        ["InputTable  -> input", "Conv input w -> y", "Gemm y w -> logits"],
    ),
    (
        "a copy with equal parameters vanishes",
        fold_quantization,
        graph(q("input", "x.q"), dq("x.q", "x.dq"), q("x.dq", "c.q"), dq("c.q", "c.dq"), n("Gemm", "c.dq w", "logits"),
              constants={"w": np.float32(0)}),
        ["InputTable  -> input", "Gemm input w -> logits"],
    ),
    (
        "another scale is a requantization",
        fold_quantization,
        graph(q("input", "x.q"), dq("x.q", "x.dq"), q("x.dq", "c.q", "s2 z2"), dq("c.q", "c.dq", "s2 z2"),
              n("Gemm", "c.dq w", "logits"), constants={"w": np.float32(0)}),
        ["InputTable  -> input", "Requantize input -> c.q", "Gemm c.q w -> logits"],
    ),
    (
        "a tensor that is also used in float keeps its Q",
        fold_quantization,
        graph(n("Relu", "input", "r"), q("r", "r.q"), dq("r.q", "r.dq"), n("Add", "r.dq r", "y")),
        ["Relu input -> r", "QuantizeLinear r s z -> r.q", "DequantizeLinear r.q s z -> r.dq", "Add r.dq r -> y"],
    ),
    (
        "an int8 tensor read without DQ keeps its Q",
        fold_quantization,
        graph(n("Conv", "input three", "r"), q("r", "r.q"), n("Relu", "r.q", "raw"), dq("raw", "y")),
        ["Conv input three -> r", "QuantizeLinear r s z -> r.q", "Relu r.q -> raw", "DequantizeLinear raw s z -> y"],
    ),
    (
        "a DQ with another scale stays",
        fold_quantization,
        graph(n("Conv", "input three", "r"), q("r", "r.q"), dq("r.q", "r.dq", "s2 z2"), n("Gemm", "r.dq three", "y")),
        ["Conv input three -> r", "DequantizeLinear r s2 z2 -> r.dq", "Gemm r.dq three -> y"],
    ),
    (
        "a view of a map of one pixel vanishes",
        fold_views,
        graph(n("Flatten", "x", "flat"), n("Gemm", "flat three", "y"), qparams={"x": P},
              shapes={"x": (1, 8, 1, 1), "flat": (1, 8)}),
        ["Gemm x three -> y"],
    ),
    (
        "a flattened map vanishes into Gemm",
        fold_views,
        graph(n("Flatten", "x", "flat"), n("Gemm", "flat three", "y"), qparams={"x": P}, shapes={"flat": (1, 128)}),
        ["Gemm x three -> y"],
    ),
    (
        "a flattened map that anything else reads stays",
        fold_views,
        graph(n("Flatten", "x", "flat"), n("Relu", "flat", "y"), qparams={"x": P, "y": P},
              shapes={"flat": (1, 128), "y": (1, 128)}),
        ["Flatten x -> flat", "Relu flat -> y"],
    ),
    (
        "a view of a float result gives its maker another output",
        fold_views,
        graph(n("Conv", "x three", "c"), n("Flatten", "c", "y"), qparams={"x": P},
              shapes={"c": (1, 8, 1, 1), "y": (1, 8)}),
        ["Conv x three -> y"],
    ),
    (
        "views in a row all vanish",
        fold_views,
        graph(n("Conv", "x three", "c"), n("Flatten", "c", "flat"), n("Dropout", "flat", "y"), qparams={"x": P},
              shapes={"c": (1, 8, 1, 1), "flat": (1, 8), "y": (1, 8)}),
        ["Conv x three -> y"],
    ),
    (
        "a view of the picture stays",
        fold_views,
        graph(n("Flatten", "input", "flat"), n("Gemm", "flat three", "y"), qparams={"flat": P},
              shapes={"flat": (1, 128)}),
        ["Flatten input -> flat", "Gemm flat three -> y"],
    ),
    (
        "a view that would mix up float readers stays",
        fold_views,
        graph(n("Conv", "x three", "c"), n("Flatten", "c", "y"), n("Add", "c c", "other"), n("Add", "y other", "z"),
              qparams={"x": P, "y": P}, shapes={"c": (1, 8, 1, 1), "y": (1, 8)}),
        ["Conv x three -> c", "Flatten c -> y", "Add c c -> other", "Add y other -> z"],
    ),
    (
        "Clip with one limit is a table",
        fold_lookups,
        graph(Node("y", "Clip", ("x", "", "six"), "y"), qparams={"x": P, "y": Q}),
        ["LookupTable x -> y"],
    ),
    (
        "Clip to a computed limit stays",
        fuse_activation,
        graph(n("Conv", "x three", "a"), n("Clip", "a x", "y"), qparams={"x": P, "y": Q}),
        ["Conv x three -> a", "Clip a x -> y"],
    ),
    (
        "hard-swish in four nodes is one table",
        fold_lookups,
        graph(n("Add", "x three", "a"), n("Clip", "a zero six", "b"), n("Mul", "x b", "c"), n("Div", "c six", "y"),
              qparams={"x": P, "y": Q}),
        ["LookupTable x -> y"],
    ),
    (
        "a function that other float nodes need is kept for them",
        fold_lookups,
        graph(n("Relu", "x", "a"), n("Sigmoid", "a", "b"), n("Conv", "a three", "y"), qparams={"x": P, "b": Q}),
        ["Relu x -> a", "Conv a three -> y"],
    ),
    (
        "a function of two tensors is no table",
        fold_lookups,
        graph(n("Mul", "x g", "y"), qparams={"x": P, "g": P, "y": Q}),
        ["Mul x g -> y"],
    ),
    (
        "Relu and Clip become bounds",
        fuse_activation,
        graph(n("Conv", "x three", "a"), n("Relu", "a", "b"), n("Clip", "b zero six", "y"), qparams={"x": P, "y": Q}),
        ["Conv x three -> y"],
    ),
    (
        "an activation of a tensor with two readers stays",
        fuse_activation,
        graph(n("Conv", "x three", "a"), n("Relu", "a", "b"), n("Add", "a b", "y"), qparams={"x": P, "y": Q}),
        ["Conv x three -> a", "Relu a -> b", "Add a b -> y"],
    ),
    (
        "Add becomes part of the convolution, at the place of the add",
        fuse_residual,
        graph(n("Conv", "x three", "a"), n("Conv", "x three", "r"), n("Add", "a r", "y"),
              qparams={"x": P, "r": P, "y": Q}),
        ["Conv x three -> r", "Conv x three r -> y"],
    ),
    (
        "either operand may be the convolution",
        fuse_residual,
        graph(n("Conv", "x three", "a"), n("Add", "x a", "y"), qparams={"x": P, "y": Q}),
        ["Conv x three x -> y"],
    ),
    (
        "an add of two int8 tensors stays",
        fuse_residual,
        graph(n("Conv", "x three", "a"), n("Add", "a x", "y"), qparams={"x": P, "a": P, "y": Q}),
        ["Conv x three -> a", "Add a x -> y"],
    ),
    (
        "a broadcast add stays",
        fuse_residual,
        graph(n("Conv", "x three", "a"), n("Add", "a r", "y"), qparams={"x": P, "r": P, "y": Q},
              shapes={"r": (1, 8, 1, 1)}),
        ["Conv x three -> a", "Add a r -> y"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("apply", "before", "expected"), [row[1:] for row in BEFORE_AND_AFTER], ids=[row[0] for row in BEFORE_AND_AFTER]
)
def test_before_and_after(apply: Callable[[QdqGraph], QdqGraph], before: QdqGraph, expected: list[str]) -> None:
    after = apply(before)
    assert written(after) == expected
    assert written(apply(after)) == expected  # a pass has nothing left to do after itself


def test_weights_keep_scales_and_axis() -> None:
    values = np.arange(-8, 8, dtype=np.int8).reshape(2, 8, 1, 1)
    before = graph(
        n("DequantizeLinear", "w scales", "w.dq", axis=-4), n("Conv", "input w.dq", "y"), constants={"w": values}
    )
    weight = fold_weights(before).weights["w.dq"]
    assert weight.axis == 0 and weight.scales.tolist() == CONSTANTS["scales"].tolist()
    np.testing.assert_array_equal(weight.values, values)


def test_constants_are_computed_as_onnx_does() -> None:
    bias = np.int32([2**31 - 1, -7])
    before = graph(
        n("DequantizeLinear", "b scales", "bias", axis=0),
        n("QuantizeLinear", "float scales zeros", "int8", axis=0),
        n("Conv", "input int8 bias", "y"),
        constants={"b": bias, "float": np.float32([[0.25, 99.0], [0.5, -99.0]]), "zeros": np.int8([0, 0])},
    )
    constants = fold_constants(before).constants
    assert constants["bias"].tolist() == [float(np.float32(0.1)) * (2**31 - 1), float(np.float32(0.2)) * -7]
    assert constants["int8"].tolist() == [[2, 127], [2, -128]]  # 0.25 / 0.1 and 0.5 / 0.2 are ties


def test_quantization_parameters_move_to_the_tensors() -> None:
    after = fold_quantization(graph(n("Conv", "input three", "y"), q("y", "y.q", "s2 z2"), dq("y.q", "o", "s2 z2"),
                                    n("Gemm", "o three", "logits")))  # fmt: skip
    assert dict(after.qparams) == {"y": Q}


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes", "function"),
    [
        ("Relu", "x", {}, lambda x: np.maximum(x, 0)),
        ("Clip", "x zero six", {}, lambda x: np.clip(x, 0, 6)),
        ("HardSigmoid", "x", {"alpha": 1 / 6}, lambda x: np.clip(x / 6 + 0.5, 0, 1)),
        ("HardSigmoid", "x", {}, lambda x: np.clip(x * 0.2 + 0.5, 0, 1)),
        ("HardSwish", "x", {}, lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
        ("Sigmoid", "x", {}, lambda x: 1 / (1 + np.exp(-x))),
        ("Tanh", "x", {}, np.tanh),
        ("LeakyRelu", "x", {"alpha": 0.1}, lambda x: np.where(x < 0, 0.1 * x, x)),
        ("Neg", "x", {}, np.negative),
        ("Abs", "x", {}, np.abs),
        ("Add", "three x", {}, lambda x: x + 3),
        ("Sub", "three x", {}, lambda x: 3 - x),
        ("Mul", "x x", {}, lambda x: x * x),
        ("Div", "x six", {}, lambda x: x / 6),
        (REQUANTIZE, "x", {}, lambda x: x),
    ],
)
def test_tables(operator: str, inputs: str, attributes: dict, function: Callable) -> None:
    after = fold_lookups(graph(n(operator, inputs, "y", **attributes), qparams={"x": P, "y": Q}))
    assert written(after) == ["LookupTable x -> y"]
    real = function((np.arange(-128, 128) - P.zero_point) * P.scale)
    exact = real / Q.scale + Q.zero_point
    # Half a step from rounding, and the rounding errors of float32 at a tie.
    assert np.abs(after.tables["y"] - np.clip(exact, -128, 127)).max() <= 0.5 + 1e-4


def test_a_function_that_is_not_finite_is_no_table() -> None:
    after = fold_lookups(graph(n("Div", "three x", "y"), qparams={"x": P, "y": Q}))
    assert written(after) == ["Div three x -> y"]


@pytest.mark.parametrize(
    ("activations", "bounds"),
    [
        (["Relu"], (0, math.inf)),
        (["Clip zero six"], (0, 6)),
        (["Clip zero"], (0, math.inf)),
        (["Relu", "Clip three six"], (3, 6)),
        (["Clip three six", "Clip zero three"], (3, 3)),
        (["Clip zero three", "Clip six"], (6, 6)),
    ],
)
def test_bounds(activations: list[str], bounds: tuple[float, float]) -> None:
    nodes = [n("Conv", "x three", "t0")]
    for index, text in enumerate(activations):
        operator, *limits = text.split()
        nodes.append(n(operator, " ".join([f"t{index}", *limits]), f"t{index + 1}"))
    after = fuse_activation(graph(*nodes, qparams={"x": P, nodes[-1].output: Q}))
    assert len(after.nodes) == 1 and after.nodes[0].bounds == bounds


def test_activation_before_the_add_is_not_moved_behind_it() -> None:
    before = graph(n("Conv", "x three", "a"), n("Relu", "a", "b"), n("Add", "b x", "y"), qparams={"x": P, "y": Q})
    assert written(fuse_residual(fuse_activation(before))) == ["Conv x three -> b", "Add b x -> y"]


def test_activation_after_the_add_is_the_bound_of_the_sum() -> None:
    before = graph(n("Conv", "x three", "a"), n("Add", "a x", "b"), n("Relu", "b", "y"), qparams={"x": P, "y": Q})
    (node,) = fuse_residual(fuse_activation(before)).nodes
    assert (node.residual, node.bounds, node.output) == ("x", (0, math.inf), "y")


BROKEN: list[tuple[str, QdqGraph, str]] = [
    ("reads the future", graph(n("Relu", "b", "a"), n("Relu", "input", "b")), "before anything writes"),
    ("writes twice", graph(n("Relu", "input", "a"), n("Abs", "input", "a")), "exists twice"),
    ("no output", graph(n("Relu", "input", "a"), output="b"), "nothing writes the output"),
    ("unknown shape", replace(graph(n("Relu", "input", "a")), shapes={"input": MAP}), "shape of 'a' is unknown"),
    ("no table", graph(n(LOOKUP_TABLE, "input", "a")), "has no table"),
    ("float residual", graph(Node("c", "Conv", ("input", "three"), "y", residual="input")), "is not int8"),
]


@pytest.mark.parametrize(("broken", "words"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_verifier(broken: QdqGraph, words: str) -> None:
    with pytest.raises(BrokenGraphError, match=words):
        verify(broken, "a test")


def test_pipeline_leaves_no_float_tensor(tmp_path: Path) -> None:
    graph = simplify(read_qdq(save(mini_net(), tmp_path)))
    assert {node.output for node in graph.nodes} - {"logits"} == set(graph.qparams)
    assert graph.nodes[0].operator == INPUT_TABLE
    assert len(PASSES) == 7


@pytest.mark.parametrize("int16", [True, False])
def test_mini_net_becomes_the_expected_program(tmp_path: Path, int16: bool) -> None:
    program = lower(read_qdq(save(mini_net(int16=int16), tmp_path)))
    kinds = [(type(op).__name__, type(getattr(op, "epilogue", None)).__name__) for op in program.operators]
    plain, residual = ("RequantizeQ15", "RequantizeQ15Add") if int16 else ("Requantize", "RequantizeAdd")
    assert kinds == [
        ("InputTable", "NoneType"), ("Conv2d", "Requantize"), ("Conv2d", "Requantize"), ("DepthwiseConv2d", plain),
        ("GlobalAveragePool", "Requantize"), ("Conv2d", "Requantize"), ("Conv2d", "Requantize"),
        ("Lookup", "NoneType"), ("Multiply", "Requantize"), ("Conv2d", "Requantize"), ("DepthwiseConv2d", residual),
        ("DepthwiseConv2d", plain), ("Conv2d", "Requantize"), ("GlobalAveragePool", "Requantize"),
        ("Conv2d", "Requantize"), ("Conv2d", "ToLogits"),
    ]  # fmt: skip
    assert (program.height, program.width, program.classes) == (16, 16, 7)


def test_layouts(tmp_path: Path) -> None:
    path = save(mini_net(), tmp_path)
    constants, program = read_qdq(path).constants, lower(read_qdq(path))
    by_name = {operator.output.name: operator for operator in program.operators}
    stem, depthwise, linear = by_name["stem.relu"], by_name["depthwise.relu"], by_name["logits"]
    assert isinstance(stem, ir.Conv2d) and isinstance(depthwise, ir.DepthwiseConv2d) and isinstance(linear, ir.Conv2d)
    np.testing.assert_array_equal(stem.weight, constants["stem.weight"].transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(depthwise.weight, constants["depthwise.weight"][:, 0])
    np.testing.assert_array_equal(linear.weight, constants["logits.weight"][:, None, None, :])
    assert all(op.weight.flags.c_contiguous for op in (stem, depthwise, linear))
    assert (stem.stride, stem.padding) == (2, 1)
    assert stem.epilogue.low == -128  # Relu: the zero point


def one_layer(*layers: Callable[[Model, str], str], channels: int = 8) -> Model:
    """Return a model: picture, one convolution, the given layers, mean, linear layer."""
    m = Model(8)
    x = m.quantize("input", 0.02, -3)
    x = m.quantize(m.conv("first", x, 3, 8), 0.03, 2)
    for layer in layers:
        x = layer(m, x)
    x = m.quantize(m.node("GlobalAveragePool", [x], "mean"), 0.02, 0)
    m.linear("logits", m.node("Flatten", [x], "flat"), channels, 4)
    return m


def lowered(m: Model, tmp_path: Path) -> ir.Program:
    return lower(read_qdq(save(m.build("logits", 4), tmp_path)))


def refusals(m: Model, tmp_path: Path) -> dict[str, str]:
    steps = explain(read_qdq(save(m.build("logits", 4), tmp_path)))
    return {step.node.output: step.result.reason for step in steps if isinstance(step.result, Refusal)}


def grouped(m: Model, x: str) -> str:
    return m.quantize(m.conv("grouped", x, 8, 8, groups=2), 0.03, 0)


def dilated(m: Model, x: str) -> str:
    y = m.conv("dilated", x, 8, 8, kernel=3)
    m.nodes[-1].attribute.append(helper.make_attribute("dilations", [2, 2]))
    return m.quantize(y, 0.03, 0)


def lopsided(m: Model, x: str) -> str:
    y = m.conv("lopsided", x, 8, 8, kernel=3)
    pads = next(item for item in m.nodes[-1].attribute if item.name == "pads")
    pads.ints[:] = [0, 0, 1, 1]
    return m.quantize(y, 0.03, 0)


def max_pool(m: Model, x: str) -> str:
    return m.quantize(m.node("MaxPool", [x], "max", kernel_shape=[2, 2], strides=[2, 2]), 0.03, 0)


def local_pool(m: Model, x: str) -> str:
    return m.quantize(m.node("AveragePool", [x], "local", kernel_shape=[2, 2], strides=[2, 2]), 0.03, 0)


def never_quantized(m: Model, x: str) -> str:
    return m.conv("float", x, 8, 8)


def float_relu(m: Model, x: str) -> str:
    return m.node("Relu", [x], "float")


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
    (grouped, "grouped", "2 groups of 4 channels"),
    (dilated, "dilated", "dilations|the shape"),
    (lopsided, "lopsided", "same padding on all four sides"),
    (max_pool, "max", "no integer rule for MaxPool"),
    (local_pool, "local", "mean over the whole height and width"),
    (never_quantized, "float", "stays float"),
    (float_relu, "float", "stays float|no integer rule"),
    (double_add, "sum", "in float"),
    (relu_before_add, "sum", "in float"),
    (square, "product", "one value per channel"),
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


def test_quantized_scores_are_refused(tmp_path: Path) -> None:
    m = one_layer()
    scores = m.quantize("logits", 0.1, 0)
    steps = explain(read_qdq(save(m.build(scores, 4), tmp_path)))
    reasons = [step.result.reason for step in steps if isinstance(step.result, Refusal)]
    assert any("scores are quantized" in reason for reason in reasons)


def test_activation_after_the_scores_is_refused(tmp_path: Path) -> None:
    m = one_layer()
    m.node("Softmax", ["logits"], "probabilities")
    steps = explain(read_qdq(save(m.build("probabilities", 4), tmp_path)))
    assert [step.node.operator for step in steps if isinstance(step.result, Refusal)] == ["Gemm", "Softmax"]


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
]


@pytest.mark.parametrize(("layer", "kinds"), ACCEPTED, ids=[row[0].__name__ for row in ACCEPTED])
def test_other_networks_lower_and_agree(tmp_path: Path, layer: Callable[[Model, str], str], kinds: list[type]) -> None:
    model = one_layer(layer)
    program = lowered(model, tmp_path)
    assert [type(operator) for operator in program.operators[2:-2]] == kinds
    check_steps(model.build("logits", 4), program, random_pictures(4, 8, 8), preprocess(8))


def test_gemm_over_a_whole_map_reads_it_in_the_files_order(tmp_path: Path) -> None:
    """Flatten is NCHW in the file and the program is NHWC; a swapped order would be far off."""
    m = Model(4)
    x = m.quantize(m.conv("first", m.quantize("input", 0.02, -3), 3, 5, stride=2), 0.03, 2)
    m.linear("logits", m.node("Flatten", [x], "flat"), 5 * 2 * 2, 4)
    model = m.build("logits", 4)
    program = lower(read_qdq(save(model, tmp_path)))
    assert program.operators[-1].weight.shape == (4, 2, 2, 5)
    check_steps(model, program, random_pictures(4, 4, 4), preprocess(4))


def test_gemm_without_transposition(tmp_path: Path) -> None:
    model = mini_net()
    expected = run(lower(read_qdq(save(model, tmp_path))), random_pictures(3, 16, 16))
    for tensor in model.graph.initializer:
        if tensor.name == "logits.weight":
            values = np.frombuffer(tensor.raw_data, np.int8).reshape(7, 20).T
            tensor.raw_data = values.tobytes()
            tensor.dims[:] = [20, 7]
    for node in model.graph.node:
        if node.name in ("logits.node", "logits.weight.dq.node"):
            node.attribute[0].i = {"logits.node": 0, "logits.weight.dq.node": 1}[node.name]
    result = run(lower(read_qdq(save(model, tmp_path))), random_pictures(3, 16, 16))
    np.testing.assert_array_equal(result, expected)


def test_plan_names_a_quantize_that_is_left() -> None:
    before = fold_quantization(
        graph(n("Conv", "input three", "r"), q("r", "r.q"), n("Relu", "r.q", "raw"), dq("raw", "y"))
    )
    reasons = [step.result.reason for step in plan(before) if isinstance(step.result, Refusal)]
    assert any("without a DequantizeLinear" in reason for reason in reasons)
