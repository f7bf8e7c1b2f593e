"""Which tensors of a network have a Q/DQ pair, operator by operator."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from calib.ptq.calibrate import calibrate
from calib.settings.config import LayerSettings, QuantConfig
from compile.tensorrt.network.placement import (
    RULES,
    Kind,
    PlacementOptions,
    QdqPlacement,
    check_operators,
    float_placement,
    place,
)
from repghost.errors import UsageError
from repghost.graph.formulas import FORMULAS
from repghost.graph.operators import (
    INPUT,
    RELU,
    UNBOUNDED,
    Add,
    AveragePool,
    ChannelSlopes,
    Clamp,
    Classifier,
    Concat,
    Convolution,
    Function,
    GlobalAveragePool,
    Graph,
    MaxPool,
    Multiply,
    Narrow,
    Operator,
    Pad,
    Resize,
    ShuffleChannels,
    Slice,
    Subtract,
)

CHANNELS, SIZE = 4, 6
CONFIG = QuantConfig("tensorrt", LayerSettings(observer="min_max"))
IMAGES = np.random.default_rng(0).normal(0, 1, (2, CHANNELS, SIZE, SIZE)).astype(np.float32)
SILU, SIGMOID = FORMULAS["SiLU"], FORMULAS["Sigmoid"]


def layer(name: str, x: str, clamp: Clamp = RELU, outputs: int = CHANNELS, inputs: int = CHANNELS) -> Convolution:
    """A convolution of 1x1."""
    rng = np.random.default_rng(len(name))
    weight = rng.normal(0, 0.5, (outputs, inputs, 1, 1)).astype(np.float32)
    return Convolution(name, x, weight, rng.normal(0, 0.1, outputs).astype(np.float32), clamp=clamp)


def graph(*operators: Operator, channels: int = CHANNELS) -> Graph:
    """A convolution "a", some operators, and a convolution "z" of `channels` that reads the last of them."""
    last = operators[-1].name
    return Graph((layer("a", INPUT), *operators, layer("z", last, inputs=channels)), CHANNELS)


def read_quantized(operators: Graph, name: str, options: PlacementOptions | None = None) -> set[str]:
    """Return what an operator reads through a Q/DQ pair, the same with scales and without."""
    options = options or PlacementOptions("int8")
    placements = [place(operators, options, spec) for spec in (None, calibrate(operators, [IMAGES], CONFIG))]
    found = [{tensor for reader, tensor in it.quantized_reads if reader == name} for it in placements]
    assert found[0] == found[1]
    return found[0]


def in_between(op: Operator, channels: int = CHANNELS) -> Graph:
    return graph(op, channels=channels)


def read_in_float_too(op: Operator) -> Graph:
    """Its result is read by an int8 layer and by a function."""
    return graph(op, layer("b", op.name), Function("f", op.name, SILU), Add("sum", "b", "f"))


def behind_a_function(op: Operator) -> Graph:
    return graph(Function("a.silu", "a", SILU), replace(op, input="a.silu"))


MOVERS: list[Operator] = [
    MaxPool("op", "a", (3, 3), pads=(1, 1, 1, 1)),
    Slice("op", "a", (0, 0, 0), (CHANNELS, SIZE, SIZE - 1)),
    ShuffleChannels("op", "a", 2),
    Pad("op", "a", (0, 1, 1, 0)),
]
POOL = AveragePool("op", "a", (2, 2))
# Neither before nor behind an int8 layer does one of these read int8.
STAYING: list[Operator] = [
    Function("op", "a", SILU),
    ChannelSlopes("op", "a", np.full(CHANNELS, 0.1, np.float32)),
    GlobalAveragePool("op", "a"),
    Resize("op", "a", (12, 12)),
    Resize("op", "a", (12, 12), "linear", "half_pixel"),
    Multiply("op", "a", "a"),
    Subtract("op", "a", "a"),
]


def kind_of(value: object) -> str:
    return type(value).__name__


def test_each_operator_has_a_rule_with_its_source() -> None:
    assert set(RULES) == set(get_args(Operator)) - {Narrow}  # of 16 bits, which TensorRT has none of
    assert all(rule.source for rule in RULES.values())
    assert {kind for kind in Kind} == {rule.kind for rule in RULES.values()}


@pytest.mark.parametrize("op", MOVERS, ids=kind_of)
def test_what_moves_numbers_is_int8_where_its_result_is(op: Operator) -> None:
    assert RULES[type(op)].kind is Kind.COMMUTES
    assert read_quantized(in_between(op), "op") == {"a"}
    assert read_quantized(behind_a_function(op), "op") == {"a.silu"}  # as TensorRT moves Q before it
    assert read_quantized(read_in_float_too(op), "op") == set()


def test_an_average_pool_is_int8_between_int8_layers() -> None:
    assert read_quantized(in_between(POOL), "op") == {"a"}
    assert read_quantized(behind_a_function(POOL), "op") == set()  # the mean of rounded numbers is another
    assert read_quantized(read_in_float_too(POOL), "op") == set()
    moved = graph(MaxPool("max", "a", (2, 2)), replace(POOL, input="max"))
    assert read_quantized(moved, "op") == {"max"}


@pytest.mark.parametrize("op", STAYING, ids=kind_of)
def test_others_stay_float_between_int8_layers(op: Operator) -> None:
    assert RULES[type(op)].kind is Kind.STAYS
    assert read_quantized(in_between(op), "op") == set()


def test_a_concat_is_int8_as_a_whole() -> None:
    parts = (layer("b", "a"), layer("c", "a"), MaxPool("m", "a", (1, 1)))
    joined = (*parts, Concat("op", ("b", "c", "m")))
    assert read_quantized(graph(*joined, channels=12), "op") == {"b", "c", "m"}
    assert read_quantized(graph(*joined, channels=12), "m") == {"a"}
    twice = graph(*joined, layer("d", "op", inputs=12), Function("f", "op", SILU), layer("e", "f", inputs=12))
    assert read_quantized(graph(*twice.operators[1:-1], Add("sum", "d", "e")), "op") == set()


@pytest.mark.parametrize("turned", [False, True], ids=["first operand", "second operand"])
def test_what_is_added_to_an_int8_convolution_is_quantized(turned: bool) -> None:
    def added(host: str, other: str) -> Add:
        return Add("op", *((other, host) if turned else (host, other)))

    plain = layer("b", "a", UNBOUNDED)
    assert read_quantized(graph(plain, added("b", "a")), "op") == {"a"}
    silu = graph(Function("f", "a", SILU), plain, added("b", "f"))
    assert read_quantized(silu, "op") == {"f"}
    # A clamp before the sum parts them: the sum is an operator of its own, int8 on both sides.
    assert read_quantized(graph(layer("b", "a"), added("b", "a")), "op") == {"a", "b"}
    # A function between them leaves it in float.
    after = graph(plain, Function("f", "b", SILU), added("f", "a"))
    assert read_quantized(after, "op") == set()


def test_a_float_convolution_takes_no_int8_sum() -> None:
    rng = np.random.default_rng(1)
    depthwise = Convolution(
        "b", "a", rng.normal(0, 1, (CHANNELS, 1, 1, 1)).astype(np.float32), np.zeros(CHANNELS, np.float32),
        groups=CHANNELS,
    )  # fmt: skip
    network = graph(depthwise, Add("op", "b", "a"))
    assert read_quantized(network, "op") == {"a"}
    assert read_quantized(network, "op", PlacementOptions("int8", "float")) == set()
    hosts = graph(depthwise, layer("c", "a", UNBOUNDED), Add("op", "b", "c"))
    assert read_quantized(hosts, "op", PlacementOptions("int8", "float")) == {"c"}


def test_a_convolution_is_float_where_its_sum_was_left_so() -> None:
    """TensorRT would not fuse a float sum into it."""
    network = graph(Function("f", "a", SILU), layer("b", "a", UNBOUNDED), Add("op", "b", "f"))
    left = replace(CONFIG, layers=(("op", None),))
    placement = place(network, PlacementOptions(), calibrate(network, [IMAGES], left))
    assert placement.layers == {"a", "z"} and placement.tensors == {INPUT, "op"}


@pytest.mark.parametrize("gate", ["HardSigmoid", "Sigmoid", "Tanh"])
@pytest.mark.parametrize("turned", [False, True], ids=["gate second", "gate first"])
def test_squeeze_and_excitation_is_found_with_any_gate(gate: str, turned: bool) -> None:
    parts = (
        GlobalAveragePool("pool", "a"), layer("reduce", "pool"), ChannelSlopes("slopes", "reduce", np.ones(4, "f4")),
        layer("expand", "slopes", UNBOUNDED), Function("gate", "expand", FORMULAS[gate]),
    )  # fmt: skip
    network = graph(*parts, Multiply("op", *(("gate", "a") if turned else ("a", "gate"))))
    for options, layers in (
        (PlacementOptions(), {"a", "z"}),
        (PlacementOptions("int8"), {"a", "reduce", "expand", "z"}),
    ):
        assert place(network, options).layers == layers


def test_a_function_of_pooled_features_is_no_gate() -> None:
    """x * hard_sigmoid(x) behind the last pool, written as a product."""
    parts = GlobalAveragePool("pool", "a"), layer("head", "pool", UNBOUNDED), Function("f", "head", SIGMOID)
    network = graph(*parts, Multiply("op", "head", "f"))
    assert place(network, PlacementOptions()).layers == {"a", "head", "z"}


def test_every_geometry_of_a_convolution_is_int8() -> None:
    rng = np.random.default_rng(2)
    strange = Convolution(
        "op", "a", rng.normal(0, 0.3, (6, 2, 2, 3)).astype(np.float32), np.zeros(6, np.float32),
        strides=(2, 1), pads=(0, 1, 2, 3), dilations=(1, 2), groups=2, clamp=(-1.0, math.inf),
    )  # fmt: skip
    network = graph(strange, channels=6)
    assert read_quantized(network, "op") == {"a"}
    assert place(network, PlacementOptions()).layer_types() == {"a": "int8", "op": "int8", "z": "int8"}
    assert float_placement(network) == QdqPlacement(frozenset(), frozenset(), ("a", "op", "z"))


def test_a_classifier_is_a_layer() -> None:
    scores = Classifier("scores", "pool", np.ones((3, CHANNELS), np.float32), np.zeros(3, np.float32))
    network = Graph((layer("a", INPUT), GlobalAveragePool("pool", "a"), scores), CHANNELS)
    assert read_quantized(network, "scores") == {"pool"}


def test_a_max_pool_with_dilations_is_refused_by_name() -> None:
    check_operators(in_between(MOVERS[0]))
    with pytest.raises(UsageError, match=r"'op' is a max pool with dilations \(1, 2\)"):
        check_operators(in_between(MaxPool("op", "a", (2, 2), dilations=(1, 2))))
