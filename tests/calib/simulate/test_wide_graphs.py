"""Layers in 16-bit activations by 8-bit weights: the same integers in PyTorch and in the program of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calib.qdq.writer import build_qdq
from calib.settings.wide import obstacle
from repghost.graph.operators import (
    INPUT,
    RELU,
    UNBOUNDED,
    Add,
    Clamp,
    Classifier,
    Convolution,
    GlobalAveragePool,
    Graph,
    MaxPool,
    Narrow,
)
from tests.support.agreement import check_steps
from tests.support.quantized_graphs import IMAGES, PREPROCESS, assert_same_integers, program_of, quantize
from tests.support.random_graphs import KINDS, SIZE, Kind, graph_with, random_graph

ALL = {"activations": "int16"}


def some_layers(graph: Graph, seed: int) -> dict[str, Any]:
    """Return settings that choose about a third of the layers that can be."""
    operators = {op.name: op for op in graph.operators}
    able = [op.name for op in graph.operators if obstacle(graph, op, operators) is None]
    names = np.random.default_rng(seed).permutation(able)[: max(1, len(able) // 3)]
    return {"layers": {str(name): {"activations": "int16"} for name in names}}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_operator_beside_layers_of_16_bits(kind: Kind, tmp_path: Path) -> None:
    for seed in range(4):
        graph, spec = quantize(graph_with(kind, seed), ALL)
        assert any(params.is_wide for params in spec.activations.values())
        assert_same_integers(graph, spec, tmp_path)


@pytest.mark.parametrize("seed", range(12))
def test_random_layers_of_random_graphs(seed: int, tmp_path: Path) -> None:
    given = random_graph(seed)
    graph, spec = quantize(given, some_layers(given, seed))
    assert any(params.is_wide for params in spec.activations.values())
    assert_same_integers(graph, spec, tmp_path)


def residual_graph(channels: int = 8) -> Graph:
    """Return a network whose first map a layer reads, and an add; behind it a max pool, a deep layer and scores."""
    rng = np.random.default_rng(3)

    def convolution(name: str, source: str, outputs: int, inputs: int, side: int, clamp: Clamp) -> Convolution:
        weight = rng.normal(0, 1 / (side * np.sqrt(inputs)), (outputs, inputs, side, side)).astype(np.float32)
        bias = rng.normal(0, 0.1, outputs).astype(np.float32)
        return Convolution(name, source, weight, bias, pads=(side // 2,) * 4, clamp=clamp)

    return Graph(
        (
            convolution("stem", INPUT, channels, 3, 3, RELU),
            convolution("first", "stem", channels, channels, 1, RELU),
            convolution("second", "first", channels, channels, 3, UNBOUNDED),
            Add("sum", "second", "stem"),
            MaxPool("pool", "sum", (2, 2), (2, 2)),
            convolution("deep", "pool", 4, channels, 3, RELU),
            GlobalAveragePool("mean", "deep"),
            Classifier("scores", "mean", *(rng.normal(0, 1, shape).astype(np.float32) for shape in ((5, 4), (5,)))),
        ),
        3,
    )


def chosen(*names: str) -> dict[str, Any]:
    return {"layers": {name: {"activations": "int16"} for name in names}}


def test_who_does_not_read_16_bits_reads_a_copy(tmp_path: Path) -> None:
    graph, spec = quantize(residual_graph(), chosen("first"))
    assert [op.name for op in graph.operators][:3] == ["stem", "stem.int8", "first"]
    assert graph.operators[1] == Narrow("stem.int8", "stem")
    assert {name for name, params in spec.activations.items() if params.is_wide} == {"stem"}
    assert spec.activations["stem.int8"] == quantize(residual_graph())[1].activations["stem"]
    assert next(op for op in graph.operators if isinstance(op, Add)).other == "stem.int8"
    assert_same_integers(graph, spec, tmp_path)


def test_what_only_moves_numbers_moves_16_bits(tmp_path: Path) -> None:
    graph, spec = quantize(residual_graph(), chosen("deep"))
    wide = {name for name, params in spec.activations.items() if params.is_wide}
    assert wide == {"sum", "pool"} and spec.activations["sum"] == spec.activations["pool"]
    assert_same_integers(graph, spec, tmp_path)


def test_a_deep_layer_costs_bits(tmp_path: Path) -> None:
    """Sums of 9 * 400 products of up to 127 would leave int32 from 16 bits."""
    graph, spec = quantize(residual_graph(400), chosen("deep"))
    reach = spec.activations["pool"].reach
    assert reach is not None and 2**13 < reach < 2**15
    (note,) = (note for note in spec.notes if note.startswith("deep:"))
    assert "of 16 bits, so that no sum leaves int32; the largest sums of this layer are of 3600 products" in note
    assert_same_integers(graph, spec, tmp_path)  # the file says how far it reaches


@pytest.mark.parametrize("names", [("sum",), ("second",), ("mean",), ("scores",), ("sum", "first", "second", "scores")])
def test_each_kind_of_layer_can_be_chosen(names: tuple[str, ...], tmp_path: Path) -> None:
    graph, spec = quantize(residual_graph(), chosen(*names))
    assert_same_integers(graph, spec, tmp_path)


@pytest.mark.parametrize("names", [("first",), ("deep", "mean"), ("sum", "first", "second", "deep", "scores")])
def test_onnx_runtime_agrees_with_the_file(names: tuple[str, ...], tmp_path: Path) -> None:
    """ONNX Runtime takes int16 from opset 21 on; layer by layer it makes the program's integers, one or two apart."""
    graph, spec = quantize(residual_graph(), chosen(*names))
    model = build_qdq(graph, spec, SIZE)
    assert model.opset_import[0].version == 21 and model.ir_version == 10
    check_steps(model, program_of(graph, spec, tmp_path), IMAGES, PREPROCESS)


def test_a_file_without_16_bits_keeps_its_opset() -> None:
    assert build_qdq(*quantize(residual_graph()), SIZE).opset_import[0].version == 17
