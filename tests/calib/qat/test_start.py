"""Training under quantization starts from calibration: before its first step it has the same integer program."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from calib.ptq.apply import quantize_graph
from calib.qat.loop import make_optimizer, training_step
from calib.qat.settings import QatSettings
from calib.qat.train_aware import QatPlan, build_network
from calib.quantize import Source, describe_source, write_model
from calib.settings.config import QuantConfig
from calib.settings.quantspec import QuantSpec
from repghost.graph.operators import Graph
from repghost.graph.trace import graph_of
from repghost.network.fuse import fuse
from tests.support.lively_network import CLASSES, lively_model
from tests.support.qat_command import BYTES, PREPROCESS

PLAIN = QuantConfig(ranges_by_answers=False)


def digest(quantized: tuple[Graph, QuantSpec]) -> str:
    description = describe_source("lively", BYTES, PREPROCESS, Source((), "", {}))
    return write_model(*quantized, PLAIN, description).digest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "changes"),
    [
        ("fused", {}),
        ("fused", {"equalize": True, "bias_correction": True}),
        ("reparam", {}),
        ("reparam", {"equalize": True}),  # branches have no place for it: they start from calibration without
    ],
)
def test_the_program_before_the_first_step_is_that_of_calibration(mode: str, changes: dict[str, bool]) -> None:
    model = lively_model()
    graph, config = graph_of(fuse(model)), replace(PLAIN, **changes)
    plan = QatPlan(config, QatSettings(mode=mode))
    start = quantize_graph(graph, BYTES, PREPROCESS, config)
    network = build_network(model, graph, start, BYTES, PREPROCESS, plan)
    expected = start if mode == "fused" else quantize_graph(graph, BYTES, PREPROCESS, PLAIN)
    assert digest(network.convert()) == digest(expected)


@pytest.mark.slow
def test_a_step_changes_it() -> None:
    model = lively_model()
    graph, settings = graph_of(fuse(model)), QatSettings(mode="fused", distillation=0.0, learning_rate=0.02)
    start = quantize_graph(graph, BYTES, PREPROCESS, PLAIN)
    network = build_network(model, graph, start, BYTES, PREPROCESS, QatPlan(PLAIN, settings)).train()
    inputs, labels = torch.from_numpy(PREPROCESS.normalize(BYTES)), torch.arange(len(BYTES)) % CLASSES
    training_step(network, None, make_optimizer(network, settings), inputs, labels, settings)
    assert digest(network.eval().convert()) != digest(start)
