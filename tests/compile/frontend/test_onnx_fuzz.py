"""Any field of an ONNX file changed: a network that lowers, or an error with a sentence."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compile.frontend.qdq_file import read_qdq
from compile.passes import lower
from compile.subject.from_qdq_file import labels_of
from repghost.errors import RepGhostError
from tests.support.odd_values import change_message
from tests.support.qdq_models import mini_net, save

QUICK = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@QUICK
@given(st.integers(0, 2**32 - 1))
def test_a_changed_file_is_read_or_refused(tmp_path: Path, seed: int) -> None:
    model, rng = mini_net(), random.Random(seed)
    for _ in range(rng.randint(1, 3)):
        parts = [model, model.graph, *model.graph.node, *model.graph.initializer, *model.graph.value_info]
        change_message(rng.choice(parts), rng)
    try:
        graph = read_qdq(save(model, tmp_path))
        lower(graph)
        labels_of(graph, graph.shapes[graph.output][1])
    except RepGhostError as error:
        assert str(error)


def test_a_constant_needs_a_value(tmp_path: Path) -> None:
    model = mini_net()
    model.graph.node.add(op_type="Constant", output=["c"])
    with pytest.raises(RepGhostError, match="needs one value"):
        read_qdq(save(model, tmp_path))
