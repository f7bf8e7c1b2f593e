"""A graph as a module, and as a file."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx.reference import ReferenceEvaluator

from repghost.exporters.onnx import graph_onnx
from repghost.graph.digest import graph_digest
from repghost.graph.formulas import FORMULAS
from repghost.graph.module import GraphModule
from repghost.graph.operators import (
    INPUT,
    Add,
    Concat,
    Convolution,
    Function,
    GlobalAveragePool,
    Graph,
    MaxPool,
    Resize,
    ShuffleChannels,
    Slice,
)
from repghost.graph.run import run_float


def small_graph() -> Graph:
    """Return a network of 2 classes for images of 9 by 11 pixels."""
    values = np.random.default_rng(0)

    def weight(*shape: int) -> np.ndarray:
        return values.normal(0, 0.3, shape).astype(np.float32)

    return Graph(
        (
            Convolution("stem", INPUT, weight(8, 3, 3, 2), weight(8), (2, 1), (1, 0, 1, 1), clamp=(0.0, 6.0)),
            Function("silu", "stem", FORMULAS["SiLU"]),
            Convolution("groups", "silu", weight(8, 4, 1, 1), weight(8), groups=2),
            Add("add", "silu", "groups", (0.0, 2.0)),
            ShuffleChannels("shuffle", "add", 4),
            Slice("part", "shuffle", (2, 0, 0), (6, 5, 11)),
            MaxPool("pool", "part", (3, 3), (2, 2), (1, 1, 1, 1)),
            Resize("up", "pool", (5, 11)),
            Concat("both", ("up", "add")),
            Convolution("scores", "both", weight(2, 12, 1, 1), weight(2)),
            GlobalAveragePool("mean", "scores"),
        ),
        3,
        (9, 11),
    )


def test_the_module_and_the_file_compute_what_the_interpreter_computes() -> None:
    graph = small_graph()
    x = torch.from_numpy(np.random.default_rng(1).normal(size=(1, 3, 9, 11)).astype(np.float32))
    expected = run_float(graph, x).flatten(1).numpy()
    np.testing.assert_allclose(GraphModule(graph)(x).detach().numpy(), expected, atol=1e-5)
    file = onnx.load_from_string(graph_onnx(graph, (9, 11), "small").SerializeToString())
    (written,) = ReferenceEvaluator(file).run(None, {INPUT: x.numpy()})
    np.testing.assert_allclose(written, expected, atol=1e-5)


def test_every_weight_has_a_gradient() -> None:
    module = GraphModule(small_graph())
    module(torch.ones(2, 3, 9, 11)).sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_the_digest_depends_on_weights_and_operators() -> None:
    one, other = small_graph(), small_graph()
    assert graph_digest(one) == graph_digest(other)
    layer = other.operators[0]
    assert isinstance(layer, Convolution)
    layer.weight[0, 0, 0, 0] += 1
    assert graph_digest(one) != graph_digest(other)
    assert graph_digest(one) != graph_digest(Graph(one.operators[:-1], 3, (9, 11)))
