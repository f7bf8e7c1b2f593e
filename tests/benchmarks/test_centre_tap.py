from __future__ import annotations

import numpy as np
import pytest

from benchmarks.centre_tap import centre_tap, centre_taps
from repghost.graph.operators import Convolution, Graph


def test_a_known_kernel_gives_known_numbers() -> None:
    weight = np.full((4, 3, 3), 0.33, np.float32)
    weight[:, 1, 1] = 0.99
    row = centre_tap("layer", weight)
    assert row.ratio == pytest.approx(3.0, rel=1e-6)
    assert row.steps == pytest.approx(127 / 3, rel=1e-4)
    # The sum of all magnitudes is 3.63, and 257 steps are left to it.
    assert row.int16_steps == pytest.approx(0.33 / (3.63 * 255 / 65535), rel=1e-4)
    others = 8 * 0.33**2 / (8 * (0.33 - 42 * 0.99 / 127) ** 2)
    assert row.other_noise_db == pytest.approx(10 * np.log10(others), abs=0.01)


def test_dead_channels_do_not_count() -> None:
    weight = np.random.default_rng(0).normal(size=(5, 3, 3)).astype(np.float32)
    dead = np.concatenate([weight, np.zeros((3, 3, 3), np.float32)])
    assert centre_tap("a", weight) == centre_tap("a", dead)


def test_every_depthwise_layer_of_three_by_three_has_a_row(graph: Graph) -> None:
    rows = centre_taps(graph)
    expected = [op.name for op in graph.operators if isinstance(op, Convolution) and op.is_depthwise]
    assert {row.layer for row in rows} <= set(expected) and len(rows) > len(expected) / 2
    # An identity branch stands beside most of these kernels, also with random weights.
    assert np.median([row.ratio for row in rows]) > 1.0
