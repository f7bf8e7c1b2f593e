"""The loop over a graph's operators: what it shows, what it drops, and that every table has every kernel."""

from __future__ import annotations

import weakref
from typing import get_args

import pytest
import torch
from torch.nn import functional as F

from repghost.graph.operators import INPUT, Classifier, Convolution, Graph, Operator
from repghost.graph.run import FLOAT, Kernels, convolve, float_kernels, followed_by, run, run_operator
from repghost.graph.trace import graph_of
from repghost.network.fuse import fuse
from tests.support.lively_network import lively_model, random_images


@pytest.fixture(scope="module")
def graph() -> Graph:
    return graph_of(fuse(lively_model()))


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return torch.from_numpy(random_images(2))


def test_every_operator_has_a_float_kernel() -> None:
    assert set(FLOAT) == set(get_args(Operator))


def test_a_value_is_dropped_after_its_last_reader(graph: Graph) -> None:
    class Value:
        """A value without content, whose end can be seen."""

    alive: dict[str, weakref.ref[Value]] = {}
    readers = {name: {op.name for op in graph.operators if name in op.inputs} for name in graph.names()}
    made: list[str] = []

    def observe(name: str, value: Value) -> None:
        made.append(name)
        alive[name] = weakref.ref(value)
        finished = set(made[:-1])  # the operator that made this one has not dropped its inputs yet
        earlier = made[1:-1]  # the caller holds the input
        assert [alive[one]() is None for one in earlier] == [readers[one] <= finished for one in earlier]

    kernels: Kernels[Value] = dict.fromkeys(FLOAT, lambda op, *inputs: Value())
    assert isinstance(run(graph, kernels, Value(), observe), Value)
    assert tuple(made) == graph.names()


def test_given_values_are_read_and_kept(graph: Graph, x: torch.Tensor) -> None:
    class Tail:
        """Everything behind the first operator."""

        operators = graph.operators[1:]
        input, output = graph.operators[0].name, graph.output

    values: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        expected = run(graph, FLOAT, x, values.__setitem__)
        names = list(values)
        assert torch.equal(run(Tail(), FLOAT, values[Tail.input], given=values), expected)
    assert list(values) == names


def test_other_weights_and_biases_take_the_place_of_a_layers_own(graph: Graph, x: torch.Tensor) -> None:
    op = graph.operators[0]
    assert isinstance(op, Convolution | Classifier)
    kernels = float_kernels({op.name: torch.zeros(op.weight.shape)}, {op.name: torch.full((len(op.bias),), 2.0)})
    assert torch.equal(run_operator(op, kernels, {INPUT: x}).unique(), torch.tensor([2.0]))


def test_what_follows_a_kernel_sees_the_operator_and_its_value(graph: Graph, x: torch.Tensor) -> None:
    seen: list[str] = []

    def change(op: Operator, value: torch.Tensor) -> torch.Tensor:
        seen.append(op.name)
        return value + 1

    op = graph.operators[0]
    with torch.no_grad():
        changed = run_operator(op, followed_by(FLOAT, change), {INPUT: x})
        assert torch.equal(changed, run_operator(op, FLOAT, {INPUT: x}) + 1)
    assert seen == [op.name]


@pytest.mark.parametrize("side", [1, 2])
@pytest.mark.parametrize("groups", [1, 4])
def test_a_convolution_of_one_position_is_the_same_convolution(side: int, groups: int) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(3, 8, side, side), torch.randn(12, 8 // groups, 1, 1), torch.randn(12)
    op = Convolution("head", INPUT, weight.numpy(), bias.numpy(), (2, 2), groups=groups)
    expected = F.conv2d(x.double(), weight.double(), bias.double(), (2, 2), groups=groups).float()
    torch.testing.assert_close(convolve(op, x, weight, bias), expected)
