"""Whole networks with layers in 16-bit activations by 8-bit weights: every build has the integers of PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from calib.integer.program import Program
from calib.integer.reference import run
from calib.ptq.apply import quantize_graph
from calib.qdq import writer as qdq
from calib.settings.config import config_from_dict
from calib.settings.wide import obstacle
from calib.simulate.exact import ExactNetwork
from compile.bundle.host_model import LoadedModel
from compile.frontend.qdq_file import read_qdq
from compile.passes import lower
from repghost.data.images.preprocess import Preprocess
from repghost.graph.operators import Graph
from repghost.graph.trace import graph_of
from repghost.network.fuse import fuse
from tests.support.lively_network import SIZE, lively_model
from tests.support.programs import random_images

PREPROCESS = Preprocess(SIZE, SIZE)
IMAGES = random_images(4, SIZE, SIZE, seed=6)


def wide_network(count: int) -> tuple[Graph, Program, np.ndarray]:
    """Return a RepGhostNet of which `count` layers read int16: its graph, program and exact scores."""
    graph = graph_of(fuse(lively_model(1)))
    operators = {op.name: op for op in graph.operators}
    able = [op.name for op in graph.operators if obstacle(graph, op, operators) is None]
    assert len(able) > 60
    layers = {name: {"activations": "int16"} for name in able[:: len(able) // count]}
    graph, spec = quantize_graph(graph, IMAGES, PREPROCESS, config_from_dict({"layers": layers}))
    model = qdq.build_qdq(graph, spec, SIZE)
    qdq.describe(model, qdq.Description("net", PREPROCESS.to_dict(), (), "", {}, {}), config_from_dict({}), spec)
    return graph, model, ExactNetwork(graph, spec)(torch.from_numpy(PREPROCESS.normalize(IMAGES))).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("count", [4, 30])
def test_a_repghostnet_with_layers_of_16_bits(
    count: int, tmp_path: Path, host_build: Callable[[Program], LoadedModel]
) -> None:
    _, model, scores = wide_network(count)
    (tmp_path / "net.qdq.onnx").write_bytes(qdq.serialize(model))
    program = lower(read_qdq(tmp_path / "net.qdq.onnx"))
    assert sum(any(x.element == "int16" for x in op.inputs) for op in program.operators) >= count
    np.testing.assert_array_equal(run(program, IMAGES), scores)
    np.testing.assert_array_equal(host_build(program).logits(IMAGES), scores)
