"""Equalization changes no float answer; bias correction brings mean outputs back."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from calib.ptq.bias_correction import correct_biases, trimmed_mean
from calib.ptq.calibrate import calibrate
from calib.ptq.equalize import LARGEST_FACTOR, Pair, equalize, find_pairs
from calib.settings.config import QuantConfig
from calib.simulate.exact import ExactNetwork
from calib.simulate.float32 import SimulatedNetwork
from repghost.graph.operators import Graph
from repghost.graph.run import run_float


def test_pairs_are_those_with_one_reader(graph: Graph) -> None:
    pairs = find_pairs(graph)
    assert Pair("blocks.3.0.ghost2.primary", "blocks.3.0.ghost2.cheap") in pairs
    assert Pair("blocks.3.0.shortcut.depthwise", "blocks.3.0.shortcut.project") in pairs
    assert Pair("blocks.9.0", "conv_head") in pairs  # through the average pool
    firsts = {pair.first for pair in pairs}
    assert "conv_stem" not in firsts and "blocks.3.0.conv_dw" not in firsts  # a shortcut or a gate reads them too


def test_the_float_network_stays_the_same(graph: Graph, images: NDArray[np.float32]) -> None:
    changed, x = equalize(graph, [images[:5], images[5:]]), torch.from_numpy(images)
    before, after = run_float(graph, x), run_float(changed, x)
    assert (before - after).abs().max() < 1e-4 * before.abs().max()
    old = {op.name: op for op in graph.operators}
    ratios = np.concatenate(
        [(op.bias / old[op.name].bias).ravel() for op in changed.operators if hasattr(op, "bias")]  # type: ignore[union-attr]
    )
    ratios = ratios[np.isfinite(ratios)]
    assert ratios.min() > 0.99 and 1.5 < ratios.max() <= 1.01 * LARGEST_FACTOR


def test_nothing_to_see_changes_nothing(graph: Graph) -> None:
    assert all(a is b for a, b in zip(equalize(graph, []).operators, graph.operators, strict=True))


def test_corrected_biases_bring_the_mean_logits_back(graph: Graph, images: NDArray[np.float32]) -> None:
    coarse = calibrate(graph, [images], QuantConfig())
    x = torch.from_numpy(images)
    real = run_float(graph, x)
    corrected = correct_biases(graph, coarse, images)
    for kind, left in ((SimulatedNetwork, 0.1), (ExactNetwork, 0.6)):  # the integers round on their way, too
        before, after = (trimmed_mean((kind(g, coarse)(x) - real).double()).abs().max() for g in (graph, corrected))
        assert after < left * before


def test_one_image_in_twenty_that_blows_up_does_not_shift_the_others(graph: Graph, images: NDArray[np.float32]) -> None:
    """The scales are those of usual images; an image of 30 times their contrast is clipped by all of them."""
    spec = calibrate(graph, [images], QuantConfig())
    usual = correct_biases(graph, spec, images)
    mixed = correct_biases(graph, spec, np.concatenate([images, 30 * images[:1]]))
    x = torch.from_numpy(images)
    real = run_float(graph, x)
    errors = [float((ExactNetwork(g, spec)(x) - real).square().mean()) for g in (usual, mixed)]
    assert errors[1] < 1.5 * errors[0]


def test_a_trimmed_mean_leaves_out_a_tenth_at_each_end() -> None:
    values = torch.tensor([[1e9], [5.0], [4.0], [3.0], [2.0], [1.0], [0.0], [-1.0], [-2.0], [-1e9]]).double()
    assert trimmed_mean(values).item() == 1.5
    assert trimmed_mean(values[1:4]).item() == 4.0  # too few to leave any out
