"""Ranges end where nothing that reads a tensor can tell values apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from calib.integer.functions import table_of
from calib.integer.qparams import QParams, dequantize, quantize
from calib.ptq.useful_range import useful_range
from calib.settings.policy import qparams_of_range
from repghost.graph.formulas import FORMULAS
from repghost.graph.functions import evaluate
from repghost.graph.operators import INPUT, Add, Function, Graph, Step

REACH = 24.0
FINER = {  # how many times finer steps become where a tensor lies in [-REACH, 4]
    "Sigmoid": 2.7, "Tanh": 4.5, "SiLU": 2.6, "GELU": 4.1, "Mish": 2.6, "Softplus": 3.1, "ELU": 3.2,
}  # fmt: skip


def graph_of(*formulas: str) -> Graph:
    functions = tuple(Function(name, INPUT, FORMULAS[name]) for name in formulas)
    return Graph((*functions, Add("sum", formulas[0], formulas[-1])), 3)


def covering(low: float, high: float) -> QParams:
    found = qparams_of_range(low, high, symmetric=False)
    assert found is not None
    return found


def test_the_input_of_a_hard_sigmoid_is_limited(graph: Graph) -> None:
    gate = next(op for op in graph.operators if isinstance(op, Function))
    assert useful_range(graph, gate.input, -10.0, 1.0) == (-3.0, 1.0)
    assert useful_range(graph, gate.input, -1.0, 7.0) == (-1.0, 3.0)
    assert useful_range(graph, "conv_stem", -10.0, 10.0) == (-10.0, 10.0)


def test_a_hard_swish_is_limited_below() -> None:
    assert useful_range(graph_of("HardSwish"), INPUT, -10.0, 9.0) == (-3.0, 9.0)


@pytest.mark.parametrize("name", FINER)
def test_steps_become_finer_and_the_result_no_worse(name: str) -> None:
    steps, wide = FORMULAS[name], covering(-REACH, 4.0)
    narrow = covering(*useful_range(graph_of(name), INPUT, -REACH, 4.0))
    assert wide.scale / narrow.scale >= FINER[name]
    x = np.linspace(-REACH, 4.0, 5001).astype(np.float32)
    real = evaluate(steps, torch.from_numpy(x)).numpy()
    output = covering(float(real.min()), float(real.max()))
    errors = {}
    for qparams in (wide, narrow):
        table = table_of(steps, qparams, output)
        made = dequantize(table[quantize(x, qparams).astype(int) + 128], output)
        errors[qparams] = np.abs(made - real)
    # Half a step at most for the cut, and half for the rounding of the result.
    assert errors[narrow][x < dequantize(np.int8([-128]), narrow)].max() <= output.scale * 1.01
    inside = x > -3
    assert np.square(errors[narrow][inside]).mean() < 0.8 * np.square(errors[wide][inside]).mean()


def test_both_ends_are_cut_for_a_sigmoid() -> None:
    low, high = useful_range(graph_of("Sigmoid"), INPUT, -50.0, 50.0)
    assert low == pytest.approx(-high)
    assert math.log(509) == pytest.approx(high, abs=100 / 4096)  # sigmoid(-x) is half of 1/255 there


def test_of_several_readers_the_one_that_sees_most_counts() -> None:
    alone = useful_range(graph_of("Sigmoid"), INPUT, -50.0, 50.0)
    both = useful_range(graph_of("Sigmoid", "SiLU"), INPUT, -50.0, 50.0)
    assert both[1] == 50.0 and both[0] <= alone[0]


@pytest.mark.parametrize("operator", ["Abs", "Neg", "Log"])
def test_nothing_is_cut_where_every_value_counts_or_is_not_finite(operator: str) -> None:
    graph = Graph((Function("function", INPUT, (Step(operator, (0,)),)),), 3)
    assert useful_range(graph, INPUT, -8.0, 8.0) == (-8.0, 8.0)


def test_the_range_of_a_constant_stays() -> None:
    graph = Graph((Function("function", INPUT, (Step("Sign", (0,)),)),), 3)
    assert useful_range(graph, INPUT, 0.5, 1.0) == (0.5, 1.0)


def test_a_range_without_extent_stays() -> None:
    assert useful_range(graph_of("SiLU"), INPUT, 0.0, 0.0) == (0.0, 0.0)
