from __future__ import annotations

from collections import Counter

import pytest
import torch

from repghost.errors import UsageError
from repghost.graph.operators import INPUT, Convolution
from repghost.graph.run import run_float
from repghost.graph.trace import graph_of
from repghost.network.fuse import fuse
from tests.support.lively_network import lively_model, random_images

FORMS = [{}, {"shortcut": False}, {"enable_se": False}, {"branches": "none"}, {"branches": "both"}, {"in_chans": 1}]


@pytest.mark.parametrize("options", FORMS, ids=str)
def test_the_graph_computes_what_the_network_computes(options: dict[str, object]) -> None:
    model = fuse(lively_model(1, **options))
    images = torch.from_numpy(random_images(2))[:, : model.spec.in_chans].contiguous()
    with torch.no_grad():
        torch.testing.assert_close(run_float(graph_of(model), images), model(images), rtol=1e-5, atol=4e-6)


def test_operators_come_after_what_they_read_and_have_stable_names() -> None:
    graph = graph_of(fuse(lively_model()))
    known = {INPUT}
    for operator in graph.operators:
        assert known.issuperset(operator.inputs)
        known.add(operator.name)
    assert len(known) == len(graph.operators) + 1
    assert {"conv_stem", "blocks.3.0.ghost1.primary", "blocks.3.0.se.gate", "blocks.9.0", "classifier"} <= known
    kinds = Counter(type(operator).__name__ for operator in graph.operators)
    assert kinds == Counter(Convolution=95, Add=16, GlobalAveragePool=8, Function=7, Multiply=7, Classifier=1)
    depthwise = [op for op in graph.operators if isinstance(op, Convolution) and op.is_depthwise]
    assert Counter(op.weight.shape[2] for op in depthwise) == {3: 37, 5: 4}


def test_every_tensor_is_shown_once() -> None:
    graph = graph_of(fuse(lively_model()))
    seen: list[str] = []
    run_float(graph, torch.from_numpy(random_images(1)), lambda name, value: seen.append(name))
    assert tuple(seen) == graph.names()


def test_a_network_with_batch_norms_is_refused() -> None:
    with pytest.raises(UsageError, match=r"112 batch norms.*fuse"):
        graph_of(lively_model())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_layer(value: float) -> None:
    model = fuse(lively_model())
    with torch.no_grad():
        model.blocks[3][0].ghost1.cheap_operation.weight[0, 0, 0, 0] = value
    with pytest.raises(UsageError, match=r"'blocks.3.0.ghost1.cheap': 1 of 180 weight values"):
        graph_of(model)
