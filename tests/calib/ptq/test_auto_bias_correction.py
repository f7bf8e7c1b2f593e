"""Bias correction "auto": compared on other images, kept only where predictions are nearer to float."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from calib.ptq import auto_bias_correction
from calib.ptq.apply import quantize_graph
from calib.ptq.auto_bias_correction import FEWEST, KEPT, correct_where_nearer, images_used
from calib.ptq.bias_correction import correct_biases
from calib.settings.config import QuantConfig
from calib.simulate.float32 import SimulatedNetwork
from repghost.graph.run import run_float
from tests.support.quantized_graphs import PREPROCESS, quantize
from tests.support.random_graphs import Builder, random_graph

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (2 * FEWEST, PREPROCESS.height, PREPROCESS.width, 3)).astype(np.uint8)
X = PREPROCESS.normalize(IMAGES)


def divergence(real: torch.Tensor, other: torch.Tensor) -> float:
    p, q = (torch.log_softmax(logits.double(), 1) for logits in (real, other))
    return float((p.exp() * (p - q)).sum(1).mean())


def test_corrected_biases_are_kept_only_where_other_images_are_nearer_to_float() -> None:
    kept = 0
    for seed in range(8):
        graph, spec = quantize(random_graph(seed, (Builder.dense, Builder.depthwise), 4))
        found, note = correct_where_nearer(graph, spec, X)
        corrected = correct_biases(graph, spec, X[:FEWEST])
        others = torch.from_numpy(X[FEWEST:])
        real = run_float(graph, others)
        before, after = (divergence(real, SimulatedNetwork(it, spec)(others)) for it in (graph, corrected))
        assert (found is graph) == (note is None) == (after >= KEPT * before)
        if note is not None:
            kept += 1
            assert f"from {before:.4f} to {after:.4f}" in note
            for ours, theirs in zip(found.layers(), corrected.layers(), strict=True):
                np.testing.assert_array_equal(ours.bias, theirs.bias)
    assert 0 < kept < 8


def test_few_images_judge_nothing_and_many_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, spec = quantize(random_graph(0, (Builder.dense,), 2))
    read: list[int] = []

    def corrected(graph: object, spec: object, images: np.ndarray) -> object:
        read.append(len(images))
        return graph

    monkeypatch.setattr(auto_bias_correction, "correct_biases", corrected)
    assert correct_where_nearer(graph, spec, X[: FEWEST - 1]) == (graph, None)
    assert read == []
    for images in (FEWEST, FEWEST + 1, 2 * FEWEST):
        correct_where_nearer(graph, spec, X[:images])
    assert read == [FEWEST // 2, FEWEST // 2, FEWEST]
    assert images_used(224 * 224) == 61 and images_used(32 * 32) == 96 and images_used(4096 * 4096) == FEWEST


def test_the_default_of_the_policy_for_cpus_keeps_what_helps_and_says_it() -> None:
    graph = random_graph(1, (Builder.dense, Builder.depthwise), 4)
    plain = quantize_graph(graph, IMAGES, PREPROCESS, QuantConfig(bias_correction=False))
    found, spec = quantize_graph(graph, IMAGES, PREPROCESS, QuantConfig())
    expected, note = correct_where_nearer(*plain, X)
    assert spec.notes == (*plain[1].notes, *([note] if note else []))
    for ours, theirs in zip(found.layers(), expected.layers(), strict=True):
        np.testing.assert_array_equal(ours.bias, theirs.bias)
