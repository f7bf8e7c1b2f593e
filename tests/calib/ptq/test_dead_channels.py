"""Channels that training left for dead: folded batch norms make their weights, or their biases, as large as they like.

What a network computes with them is planned, and its file lowers: no accumulator leaves its type.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from calib.simulate.exact import ExactNetwork
from repghost.graph.operators import INPUT, RELU, Add, Convolution, Graph
from repghost.graph.run import run_float
from tests.support.quantized_graphs import IMAGES, PREPROCESS, assert_same_integers, quantize
from tests.support.random_graphs import Builder

DEAD = 2  # the channel
HUGE = 1e7


def network(groups: int, residual: bool) -> Graph:
    """Return a first layer, a layer that reads its channels (with an add as its epilogue or not), and a classifier."""
    builder = Builder(0)
    first = builder.convolution(INPUT, 6, (3, 3), clamp=RELU)
    second = builder.convolution(first, 6, (3, 3), groups=groups)
    builder.x = builder.append(Add("add", second, builder.convolution(INPUT, 6))) if residual else second
    builder.end_with_classifier()
    return builder.graph()


def changed(graph: Graph, layer: str, **arrays: np.ndarray) -> Graph:
    operators = tuple(replace(op, **arrays) if op.name == layer else op for op in graph.operators)  # type: ignore[arg-type]
    return replace(graph, operators=operators)


def layer_of(graph: Graph, index: int) -> Convolution:
    op = graph.operators[index]
    assert isinstance(op, Convolution)
    return op


def assert_close(graph: Graph) -> None:
    """Assert that the integers say what the float network says."""
    quantized, spec = quantize(graph)
    x = torch.from_numpy(PREPROCESS.normalize(IMAGES))
    real, exact = run_float(graph, x), ExactNetwork(quantized, spec)(x)
    assert (exact - real).abs().max() < 0.1 * (real.max() - real.min())


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("groups", [1, 6])
@pytest.mark.parametrize(("weight", "bias"), [(1e-20, 3.0), (1e-38, 0.0), (0.0, 0.0), (0.0, -40.0), (1e-30, 1e-30)])
def test_weights_that_a_bias_dwarfs(weight: float, bias: float, groups: int, residual: bool, tmp_path: Path) -> None:
    graph = network(groups, residual)
    for index in (0, 1):
        layer = layer_of(graph, index)
        weights, biases = layer.weight.copy(), layer.bias.copy()
        weights[DEAD] *= weight
        biases[DEAD] = bias
        graph = changed(graph, layer.name, weight=weights, bias=biases)
    assert_same_integers(*quantize(graph), tmp_path)
    assert_close(graph)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("groups", [1, 6])
@pytest.mark.parametrize("size", [1e3, HUGE, 1e30])
def test_weights_of_a_channel_that_is_always_zero(size: float, groups: int, residual: bool, tmp_path: Path) -> None:
    graph = network(groups, residual)
    first, second = layer_of(graph, 0), layer_of(graph, 1)
    biases, weights = first.bias.copy(), second.weight.copy()
    biases[DEAD] = -100.0  # behind it is a ReLU
    weights[DEAD if groups > 1 else 3, 0 if groups > 1 else DEAD] *= np.float32(size)
    graph = changed(changed(graph, first.name, bias=biases), second.name, weight=weights)
    assert_same_integers(*quantize(graph), tmp_path)
    if groups > 1:  # a dense channel's other weights vanish beside such a one
        assert_close(graph)
