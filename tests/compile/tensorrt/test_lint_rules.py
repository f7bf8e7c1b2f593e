"""Rules about operators without weights: files whose Q/DQ pairs stand where they should not."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from calib.integer.qparams import QParams
from calib.ptq.calibrate import calibrate
from calib.settings.config import LayerSettings, QuantConfig
from calib.settings.quantspec import QuantSpec
from compile.tensorrt.jetpack import JETPACKS
from compile.tensorrt.lint.check import lint_graph
from compile.tensorrt.lint.graph import index_graph
from compile.tensorrt.network.placement import PlacementOptions, QdqPlacement, place
from compile.tensorrt.network.writer import FileForm, write_onnx
from repghost.graph.formulas import FORMULAS
from repghost.graph.operators import (
    INPUT,
    RELU,
    UNBOUNDED,
    Add,
    AveragePool,
    Clamp,
    Concat,
    Convolution,
    Function,
    Graph,
    MaxPool,
    Operator,
)

SIZE = 6
IMAGES = np.random.default_rng(0).normal(0, 1, (2, 3, SIZE, SIZE)).astype(np.float32)


def layer(name: str, x: str, clamp: Clamp = RELU, inputs: int = 3) -> Convolution:
    weight = np.random.default_rng(1).normal(0, 0.5, (3, inputs, 1, 1)).astype(np.float32)
    return Convolution(name, x, weight, np.zeros(3, np.float32), clamp=clamp)


JOINED = (layer("a", INPUT), layer("b", "a"), Concat("op", ("a", "b")), layer("z", "op", inputs=6))
POOLED = (layer("a", INPUT), AveragePool("op", "a", (2, 2)), layer("z", "op"))
ADDED = (layer("a", INPUT), layer("b", "a", UNBOUNDED), Add("op", "b", "a", RELU), layer("z", "op"))
BETWEEN = (layer("a", INPUT), layer("b", "a"), Add("op", "b", "a", RELU), layer("z", "op"))
FUNCTION_TOO = (*BETWEEN[:3], Function("f", "op", FORMULAS["SiLU"]), layer("z", "f"))


def written(
    operators: tuple[Operator, ...], taken: tuple[str, ...] = (), added: tuple[str, ...] = ()
) -> onnx.ModelProto:
    """Return a file whose operator "op" reads some tensors in float, or quantized, against the placement."""
    graph = Graph(operators, 3)
    spec = calibrate(graph, [IMAGES], QuantConfig("tensorrt", LayerSettings(observer="min_max")))
    spec = QuantSpec({name: QParams(0.1, 0) for name in graph.names()} | dict(spec.activations), spec.weight_scales)
    good = place(graph, PlacementOptions(), spec)
    reads = good.quantized_reads - {("op", name) for name in taken} | {("op", name) for name in added}
    placement = QdqPlacement(good.layers, reads, good.layer_names)
    return write_onnx(graph, spec, placement, SIZE, FileForm(17), {})


def breaches(model: onnx.ModelProto) -> list[tuple[str, str]]:
    return [(breach.rule, breach.node) for breach in lint_graph(index_graph(model), JETPACKS["5"]).breaches]


@pytest.mark.parametrize("operators", [JOINED, POOLED, ADDED, BETWEEN, FUNCTION_TOO])
def test_what_the_placement_gives_is_clean(operators: tuple[Operator, ...]) -> None:
    assert breaches(written(operators)) == []


POOLED_FOR_A_FUNCTION = (*POOLED[:2], Function("f", "op", FORMULAS["SiLU"]), layer("z", "f"))


@pytest.mark.parametrize(
    ("operators", "taken", "added", "rule"),
    [
        (JOINED, ("a",), (), "concat"),
        (FUNCTION_TOO, (), ("a", "b"), "int8-result"),
        (POOLED_FOR_A_FUNCTION, (), ("a",), "int8-result"),
        (ADDED, ("a",), (), "residual"),
        (ADDED, (), ("b",), "residual"),
    ],
)
def test_a_pair_too_many_or_too_few_is_named(
    operators: tuple[Operator, ...], taken: tuple[str, ...], added: tuple[str, ...], rule: str
) -> None:
    assert breaches(written(operators, taken, added)) == [(rule, "op")]


def test_a_convolution_that_others_read_takes_no_sum() -> None:
    """Its result is kept for them, so that both operands of the sum may be int8, and neither has to be."""
    shared = (*ADDED[:3], layer("c", "b"), Add("op2", "op", "c"), layer("z", "op2"))
    assert breaches(written(shared, taken=("a", "b"))) == []
    assert breaches(written(shared, added=("a", "b"))) == []


def test_operators_that_tensorrt_does_not_have_are_named() -> None:
    pooled = written((layer("a", INPUT), MaxPool("op", "a", (2, 2), dilations=(1, 2)), layer("z", "op")))
    assert breaches(pooled) == [("operator", "op")]
    model = written(POOLED)
    node = onnx.helper.make_node("DynamicQuantizeLinear", ["a"], ["q", "s", "n"], name="dynamic")
    model.graph.node.insert(len(model.graph.node), node)
    assert breaches(model) == [("operator", "dynamic")]


def test_functions_that_dla_does_not_have_are_named() -> None:
    model = written((layer("a", INPUT), Function("op", "a", FORMULAS["HardSwish"]), layer("z", "op")))
    result = lint_graph(index_graph(model), JETPACKS["5"], int8=False, dla=True)
    assert [(breach.rule, breach.node) for breach in result.breaches][1:] == [("dla-operator", "op")]
