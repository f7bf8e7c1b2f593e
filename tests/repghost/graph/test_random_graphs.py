"""The interpreter of a float graph and ONNX Runtime on the same graph as a file compute the same tensors."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from repghost.exporters.onnx import graph_onnx
from repghost.exporters.onnx_writer import OnnxGraph
from repghost.graph import canonical
from repghost.graph.operators import INPUT, Graph, Pair, Resize
from repghost.graph.run import run_float
from repghost.graph.shapes import shapes_of
from tests.support.random_graphs import KINDS, RESIZES, SIZE, Kind, graph_with, random_graph

TOLERANCE = 1e-5  # of a tensor's largest value; sums of some hundred float32 numbers
OBLONG = (SIZE, SIZE - 4)
SIDES = (1, 2, 3, 7, 10, 16, 22)


def session_of(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def assert_same_tensors(graph: Graph, size: Pair) -> None:
    model = graph_onnx(graph, size, "network")
    inside = [op.name for op in graph.operators[:-1]]
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inside)
    images = np.random.default_rng(0).normal(0, 1, (1, 3, *size)).astype(np.float32)
    scores, *tensors = session_of(model).run(None, {INPUT: images})
    found: dict[str, torch.Tensor] = {}
    actual = run_float(graph, torch.from_numpy(images), found.__setitem__)
    assert actual.shape == scores.shape
    for name, expected in zip((graph.output, *inside), (scores, *tensors), strict=True):
        allowed = TOLERANCE * max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(found[name].numpy().reshape(expected.shape), expected, 0, allowed, err_msg=name)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_operator_equals_onnx_runtime(kind: Kind) -> None:
    for seed in range(4):
        assert_same_tensors(graph_with(kind, seed, OBLONG), OBLONG)


@pytest.mark.parametrize("seed", range(12))
def test_random_graphs_equal_onnx_runtime(seed: int) -> None:
    assert_same_tensors(random_graph(seed), (SIZE, SIZE))


def unclear(places: np.ndarray) -> np.ndarray:
    """Return where a place lies so near a boundary of rounding that float32, which ONNX Runtime takes, errs."""
    return np.abs(2 * places - np.rint(2 * places)) < 1e-4


@pytest.mark.parametrize("kind", RESIZES, ids="-".join)
def test_maps_of_any_size_are_resized_as_onnx_runtime_does(kind: tuple[str, str, str]) -> None:
    compared = 0
    for source in SIDES:
        for side in SIDES:
            op = Resize("resize", INPUT, (side, 1), *kind)
            file = OnnxGraph(shapes_of(Graph((op,), 1), (source, 1)))
            file.weightless(op, (INPUT,))
            ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in (INPUT, op.name)]
            body = helper.make_graph(file.nodes, "resize", ends[:1], ends[1:], file.initializers)
            model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
            x = np.square(np.arange(source, dtype=np.float32)).reshape(1, 1, source, 1)
            (expected,) = session_of(model).run(None, {INPUT: x})
            actual = canonical.resize(torch.from_numpy(x), op.size, *kind).numpy()
            places = canonical.source_places(side, source, op.coordinates)
            clear = ~unclear(places) if op.mode == "nearest" else np.full(side, True)
            compared += int(clear.sum())
            np.testing.assert_allclose(actual[0, 0, clear], expected[0, 0, clear], 0, 1e-3)
    assert compared > 100


def test_a_place_between_two_pixels_is_rounded_as_it_is_said() -> None:
    x = torch.arange(7.0).reshape(1, 1, 7, 1)
    middle = canonical.resize(x, (1, 1), "nearest", "half_pixel", "floor")
    assert middle.item() == 3.0  # (0 + 1/2) * 7 - 1/2
    pairs = canonical.resize(torch.arange(14.0).reshape(1, 1, 14, 1), (2, 1), "nearest", "asymmetric", "floor")
    assert pairs.flatten().tolist() == [0.0, 7.0]
