"""A quantized graph of any operators has the same integers in PyTorch and in the program of its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from calib.simulate.float32 import SimulatedNetwork
from repghost.graph.digest import graph_digest
from tests.support.layerwise import assert_within_a_step
from tests.support.quantized_graphs import IMAGES, PREPROCESS, assert_same_integers, integers_of, quantize
from tests.support.random_graphs import KINDS, Kind, graph_with, random_graph

EVERY_STEP = {"ranges_by_answers": True, "equalize": True, "bias_correction": True, "weight_range": "mse"}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_operator_has_the_integers_of_the_reference(kind: Kind, tmp_path: Path) -> None:
    for seed in range(6):
        assert_same_integers(*quantize(graph_with(kind, seed)), tmp_path)


@pytest.mark.parametrize("seed", range(16))
def test_random_graphs_have_the_integers_of_the_reference(seed: int, tmp_path: Path) -> None:
    settings = ({}, {"depthwise_accumulator": "int32"}, {"policy": "tensorrt"}, {"observer": "min_max"})[seed % 4]
    assert_same_integers(*quantize(random_graph(seed), settings), tmp_path)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_operator_is_within_a_step_of_its_real_value(kind: Kind) -> None:
    for seed in range(4):
        graph, spec = quantize(graph_with(kind, seed))
        assert_within_a_step(graph, spec, *integers_of(graph, spec))


@pytest.mark.parametrize("seed", range(4))
def test_the_simulation_is_close_to_the_integers(seed: int) -> None:
    graph, spec = quantize(random_graph(seed))
    scores = torch.from_numpy(integers_of(graph, spec)[1])
    simulated = SimulatedNetwork(graph, spec)(torch.from_numpy(PREPROCESS.normalize(IMAGES)))
    assert simulated.shape == scores.shape
    assert (simulated - scores).abs().max() <= 0.1 * scores.abs().max()  # a step more or less, some operators on


def quantized_by_threads(seed: int, settings: dict[str, Any]) -> list[object]:
    """Return everything that quantization decides, with one thread and with three."""
    threads, results = torch.get_num_threads(), list[object]()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            graph, spec = quantize(random_graph(seed), settings)
            results.append((graph_digest(graph), spec.to_dict()))
    finally:
        torch.set_num_threads(threads)
    return results


@pytest.mark.parametrize("seed", range(4))
def test_what_is_decided_does_not_depend_on_the_number_of_threads(seed: int, ranges_anew: None) -> None:
    one, three = quantized_by_threads(seed, EVERY_STEP)
    assert one == three


@pytest.mark.slow
def test_learned_weights_do_not_depend_on_the_number_of_threads(ranges_anew: None) -> None:
    one, three = quantized_by_threads(0, EVERY_STEP | {"learned_rounding": True})
    assert one == three
