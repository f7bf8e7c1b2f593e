"""Equalization leaves the float network as it is; bias correction brings the mean of every layer back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from calib.ptq.bias_correction import POSITIONS, correct_biases, trimmed_mean
from calib.ptq.equalize import LARGEST_FACTOR, Pair, channel_factors, equalize, find_pairs
from calib.settings.quantspec import QuantSpec
from calib.simulate.float32 import SimulatedNetwork, dequantized_weight
from repghost.graph.digest import graph_digest
from repghost.graph.formulas import FORMULAS
from repghost.graph.operators import (
    INPUT,
    AveragePool,
    ChannelSlopes,
    Classifier,
    Convolution,
    Function,
    Graph,
    MaxPool,
    Operator,
    Pad,
    Resize,
    ShuffleChannels,
    Slice,
)
from repghost.graph.run import run_float
from tests.support.layerwise import UNIT, float_error, linear
from tests.support.random_graphs import KINDS, Builder, Kind, random_graph
from tests.support.random_graphs import SIZE as RANDOM_SIZE


def test_pairs_are_those_with_one_reader(graph: Graph) -> None:
    pairs = find_pairs(graph)
    assert Pair("blocks.3.0.ghost2.primary", "blocks.3.0.ghost2.cheap") in pairs
    assert Pair("blocks.3.0.shortcut.depthwise", "blocks.3.0.shortcut.project") in pairs
    assert Pair("blocks.9.0", "conv_head") in pairs  # through the average pool
    firsts = {pair.first for pair in pairs}
    assert "conv_stem" not in firsts and "blocks.3.0.conv_dw" not in firsts  # a shortcut or a gate reads them too


def test_the_float_network_stays_the_same(
    graph: Graph, images: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the grids of products, which follow the largest number; powers of two round nothing else."""

    def powers_of_two(extremes: NDArray[np.float64], second: Convolution | Classifier) -> NDArray[np.float64]:
        return np.exp2(np.rint(np.log2(channel_factors(extremes, second))))

    monkeypatch.setattr("calib.ptq.equalize.channel_factors", powers_of_two)
    changed, x = equalize(graph, [images[:5], images[5:]]), torch.from_numpy(images)
    torch.testing.assert_close(run_float(graph, x), run_float(changed, x), rtol=1e-5, atol=4e-6)
    old = {op.name: op for op in graph.operators}
    assert sum(not np.array_equal(op.weight, old[op.name].weight)  # type: ignore[union-attr]
               for op in changed.operators if hasattr(op, "weight")) > 50  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_graphs_of_any_operators_stay_the_same(kind: Kind) -> None:
    x = random_float_images()
    for seed in range(4):
        graph = random_graph(seed, (kind, Builder.dense), 3)
        changed = equalize(graph, [x])
        found, real = (run_float(one, torch.from_numpy(x)) for one in (changed, graph))
        torch.testing.assert_close(found, real, rtol=1e-4, atol=1e-4 * float(real.abs().max()))
        assert bool(find_pairs(graph)) == (graph_digest(changed) != graph_digest(graph))


def random_float_images() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 1, (4, 3, RANDOM_SIZE, RANDOM_SIZE)).astype(np.float32)


@pytest.mark.parametrize(
    ("between", "found"),
    [
        (MaxPool("between", "first", (3, 3)), True),
        (AveragePool("between", "first", (3, 3), pads=(1, 1, 1, 1)), True),
        (ChannelSlopes("between", "first", np.float32([0.1, -0.2, 0.3, 2.0])), True),
        (Function("between", "first", FORMULAS["LeakyReLU"]), True),
        (Pad("between", "first", (1, 0, 0, 1)), True),
        (Resize("between", "first", (26, 26), "linear", "half_pixel"), True),
        (Function("between", "first", FORMULAS["SiLU"]), False),
        (ShuffleChannels("between", "first", 2), False),
        (Slice("between", "first", (1, 0, 0), (4, 13, 13)), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_pairs_are_found_through_what_factors_pass(between: Operator, found: bool) -> None:
    builder = Builder(0)
    builder.operators.append(Convolution("first", INPUT, builder.numbers(4, 3, 1, 1), builder.numbers(4)))
    builder.shapes["first"] = (4, RANDOM_SIZE, RANDOM_SIZE)
    second = builder.convolution(builder.append(between), 3)
    pairs = find_pairs(builder.graph())
    assert pairs == ((Pair("first", second),) if found else ())


def test_biases_are_divided_by_factors_within_their_limit(graph: Graph, images: NDArray[np.float32]) -> None:
    changed = equalize(graph, [images])
    old = {op.name: op for op in graph.operators}
    ratios = np.concatenate(
        [(op.bias / old[op.name].bias).ravel() for op in changed.operators if hasattr(op, "bias")]  # type: ignore[union-attr]
    )
    ratios = ratios[np.isfinite(ratios)]
    rounding = 2 * 2.0**-24  # of the quotient in `rescale` and of the one here
    assert ratios.min() >= 1 - rounding and 1.5 < ratios.max() <= LARGEST_FACTOR * (1 + rounding)


def test_nothing_to_see_changes_nothing(graph: Graph) -> None:
    assert all(a is b for a, b in zip(equalize(graph, []).operators, graph.operators, strict=True))


def test_corrected_biases_bring_the_mean_of_every_layer_back(
    graph: Graph, spec: QuantSpec, images: NDArray[np.float32]
) -> None:
    """What is left is rounding: of the corrected bias, and of both float32 sums that the correction compared.

    Leaving out the same share at both ends, a trimmed mean moves by no more than the value that moves the most.
    """
    corrected, x = correct_biases(graph, spec, images), torch.from_numpy(images)
    real: dict[str, torch.Tensor] = {}
    run_float(graph, x, real.__setitem__)
    quantized: dict[str, torch.Tensor] = {}
    SimulatedNetwork(corrected, spec)(x, quantized.__setitem__)
    left, changed = [], 0
    for before, after in zip(graph.operators, corrected.operators, strict=True):
        if not isinstance(before, Convolution | Classifier) or np.array_equal(before.bias, after.bias):  # type: ignore[union-attr]
            continue
        assert isinstance(after, Convolution | Classifier)
        changed += 1
        a, b = real[before.input], quantized[before.input]
        weight, rounded = torch.from_numpy(before.weight), dequantized_weight(before, spec.weight_scales[before.name])
        shift = at_positions(linear(before, weight, a) - linear(before, rounded, b))
        missing = trimmed_mean(shift).numpy()
        error = at_positions(float_error(before, weight, a) + float_error(before, rounded, b)).amax(0).numpy()
        error += UNIT * np.abs(after.bias)
        assert np.all(np.abs(before.bias.astype(np.float64) + missing - after.bias) <= error), before.name
        left.append(np.abs(missing).max() / error.max())
    # Layers whose corrected bias does not fit int16 keep theirs. What was missing is far above what rounding leaves.
    assert changed > 80 and np.median(left) > 100


def at_positions(y: torch.Tensor) -> torch.Tensor:
    """Return the values that the correction looks at, [N * positions, O]."""
    if y.dim() == 2:
        return y
    flat = y.flatten(2)
    return flat[:, :, :: max(1, flat.shape[2] // POSITIONS) | 1].permute(0, 2, 1).flatten(0, 1)


def test_one_image_in_twenty_that_blows_up_does_not_shift_the_others(
    graph: Graph, spec: QuantSpec, images: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scales are those of usual images; an image of 30 times their contrast is clipped by all of them."""
    mixed, x = np.concatenate([images, 30 * images[:1]]), torch.from_numpy(images)
    real, errors = run_float(graph, x), []
    for mean in (trimmed_mean, lambda values: values.mean(0)):
        monkeypatch.setattr("calib.ptq.bias_correction.trimmed_mean", mean)
        network = SimulatedNetwork(correct_biases(graph, spec, mixed), spec)
        errors.append(float((network(x) - real).square().mean()))
    assert errors[0] < errors[1] / 10  # a plain mean is 2,000 times as far off


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=10, max_size=60),
    st.lists(st.sampled_from([-1e30, -1e3, 0.0, 1e3, 1e30]), max_size=6),
)
def test_a_tenth_of_anything_moves_a_trimmed_mean_by_no_more_than_its_ranks(
    usual: list[float], other: list[float]
) -> None:
    """m more values move each rank by at most m: the one of rank j lies between those of ranks j - m and j."""
    count = len(usual) + len(other)
    left_out, m = int(0.1 * count), len(other)
    if m > left_out:
        return
    ordered = sorted(usual)
    low = np.mean(ordered[left_out - m : count - left_out - m])
    high = np.mean(ordered[left_out : count - left_out])
    found = trimmed_mean(torch.tensor([usual + other], dtype=torch.float64).T).item()
    rounding = count * 2.0**-52 * max(map(abs, usual))
    assert low - rounding <= found <= high + rounding


def test_a_trimmed_mean_leaves_out_a_tenth_at_each_end() -> None:
    values = torch.tensor([[1e9], [5.0], [4.0], [3.0], [2.0], [1.0], [0.0], [-1.0], [-2.0], [-1e9]]).double()
    assert trimmed_mean(values).item() == 1.5
    assert trimmed_mean(values[1:4]).item() == 4.0  # too few to leave any out
