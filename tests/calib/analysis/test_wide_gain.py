"""What a layer gains by 16 bits, against running the whole network again, and what it is estimated to cost."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from calib.analysis.wide_cost import added_shares
from calib.analysis.wide_gain import candidates, measure_wide_gains
from calib.integer.qparams import WIDEST
from calib.ptq.calibrate import choose_spec, collect_statistics
from calib.settings.config import QuantConfig, config_from_dict
from calib.settings.policy import wide_qparams
from calib.settings.quantspec import QuantSpec
from calib.settings.wide import widened
from calib.simulate.float32 import dequantized_weight, through_int8
from repghost.graph.operators import INPUT, Graph, MaxPool
from repghost.graph.run import float_kernels, run_float, run_operator
from tests.calib.simulate.test_wide_graphs import residual_graph

SIZE = (13, 13)


@pytest.fixture(scope="module")
def network() -> Graph:
    return residual_graph()


@pytest.fixture(scope="module")
def batch() -> np.ndarray:
    return np.random.default_rng(5).normal(size=(8, 3, *SIZE)).astype(np.float32)


def divergence(real: torch.Tensor, other: torch.Tensor) -> float:
    p, q = real.double().softmax(1), other.double().softmax(1)
    return float((p * (p / q).log()).sum(1).mean())


def simulated(network: Graph, spec: QuantSpec, batch: np.ndarray, name: str = "") -> float:
    """Return the divergence of the network where one layer reads 16 bits and everything else is int8."""
    kernels = float_kernels({op.name: dequantized_weight(op, spec.weight_scales[op.name]) for op in network.layers()})
    images = torch.from_numpy(batch)
    real, narrow = {INPUT: images}, {INPUT: through_int8(images, spec.activations[INPUT])}
    for op in network.operators:
        read = dict(narrow)
        for tensor in op.inputs if op.name == name else ():
            if tensor in spec.activations:
                low, high = float(real[tensor].min()), float(real[tensor].max())
                read[tensor] = through_int8(real[tensor], wide_qparams(low, high, WIDEST))
        value = run_operator(op, kernels, read)
        real[op.name] = run_operator(op, kernels, real) if isinstance(op, MaxPool) else value
        narrow[op.name] = through_int8(value, spec.activations.get(op.name))
    return divergence(run_float(network, images), narrow[network.output].flatten(1))


@pytest.mark.parametrize("name", ["first", "sum", "deep", "mean", "scores"])
def test_a_gain_is_what_the_whole_network_gains(name: str, network: Graph, batch: np.ndarray) -> None:
    spec = choose_spec(network, collect_statistics(network, [batch]), QuantConfig())
    assert candidates(network, spec) == ("first", "second", "sum", "deep", "mean", "scores")
    base, gains = measure_wide_gains(network, spec, [batch], [name])
    assert base == pytest.approx(simulated(network, spec, batch), rel=1e-6)
    assert gains[name] == pytest.approx(base - simulated(network, spec, batch, name), abs=1e-6 * base)


def test_what_reads_the_picture_or_reads_16_bits_is_no_candidate(network: Graph, batch: np.ndarray) -> None:
    config = config_from_dict({"layers": {"first": {"activations": "int16"}}})
    graph = widened(network, config)
    spec = choose_spec(graph, collect_statistics(network, [batch]), config)
    assert candidates(graph, spec) == ("second", "deep", "mean", "scores")


def test_the_estimate_grows_with_what_is_chosen(network: Graph) -> None:
    one, two = added_shares(network, SIZE, ["first"]), added_shares(network, SIZE, ["first", "deep"])
    assert 0 < one < two < 3
    assert added_shares(network, SIZE, []) == 0
    # Its input is copied for the add, which the chosen add spares.
    assert added_shares(network, SIZE, ["first", "sum"]) < one + 1
