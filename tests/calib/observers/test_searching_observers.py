"""Moving average, entropy and mean square error against brute force on the values themselves."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from calib.integer.qparams import dequantize, quantize
from calib.observers import OBSERVERS, TensorStatistics, make_observer
from calib.observers.base import AVERAGE_SHARE
from calib.observers.entropy import divergence
from calib.observers.search import SMALLEST
from calib.settings.policy import qparams_of_range


def observed(*batches: NDArray[np.float32]) -> TensorStatistics:
    statistics = TensorStatistics("t")
    for batch in batches:
        statistics.update(np.asarray(batch, np.float32))
    return statistics


def tensors() -> dict[str, NDArray[np.float32]]:
    generator = np.random.default_rng(1)
    heavy = generator.standard_t(df=3, size=40_000)
    return {
        "two-sided": heavy * 0.7 + 0.3,
        "behind a ReLU": np.maximum(heavy, 0.0),
        "negative": -np.abs(heavy) - 0.1,
        "uniform": generator.uniform(-1, 3, 40_000),
        "one outlier": np.append(generator.normal(size=40_000), 400.0),
    }


TENSORS = {name: values.astype(np.float32) for name, values in tensors().items()}


def square_error(values: NDArray[np.float32], low: float, high: float, symmetric: bool) -> float:
    qparams = qparams_of_range(low, high, symmetric)
    assert qparams is not None
    return float(np.square(dequantize(quantize(values, qparams), qparams).astype(np.float64) - values).mean())


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("name", TENSORS)
def test_mse_is_as_good_as_the_best_of_every_pair_of_ends(name: str, symmetric: bool) -> None:
    values = TENSORS[name][::8] if name != "one outlier" else TENSORS[name][-5000:]
    least, most = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if symmetric:
        ends = max(-least, most) * np.geomspace(SMALLEST, 1.0, 400)
        best = min(square_error(values, -end, end, True) for end in ends)
    else:
        shares = np.geomspace(0.02, 1.0, 24)
        lows = least * shares if least < 0 else [0.0]
        highs = most * shares if most > 0 else [0.0]
        best = min(square_error(values, low, high, False) for low in lows for high in highs)
    low, high = make_observer("mse", 99.0).find_range(observed(values), symmetric)
    assert square_error(values, low, high, symmetric) <= 1.05 * best
    if name == "uniform":
        assert (high - low) > 0.93 * (most - least)  # nothing is gained by clipping


def brute_divergence(values: NDArray[np.float32], edges: NDArray[np.float64], low: float, high: float) -> float:
    """The definition, bin by bin in plain Python."""
    counts = np.histogram(values[values != 0], edges)[0]
    centres = (edges[:-1] + edges[1:]) / 2
    inside = [i for i in range(len(counts)) if low <= centres[i] < high]
    reference = {i: float(counts[i]) for i in inside}
    reference[inside[0]] += counts[: inside[0]].sum()
    reference[inside[-1]] += counts[inside[-1] + 1 :].sum()
    kept = {}
    for level in range(256):
        members = [i for i in inside if min(int((centres[i] - low) / (high - low) * 256), 255) == level]
        filled = [i for i in members if counts[i]]
        for i in filled:
            kept[i] = sum(counts[j] for j in filled) / len(filled)
    p_total, q_total = sum(reference.values()), sum(kept.values())
    result = 0.0
    for i in inside:
        if reference[i]:
            p, q = reference[i] / p_total, max(kept.get(i, 0.0) / q_total, 1e-6 / len(inside))
            result += p * np.log(p / q)
    return result


@pytest.mark.parametrize("share", [0.1, 0.4, 0.83, 1.0])
@pytest.mark.parametrize("name", ["two-sided", "behind a ReLU"])
def test_divergence_is_its_definition(name: str, share: float) -> None:
    values = TENSORS[name]
    edges = np.linspace(values.min(), values.max(), 1201)
    counts = np.histogram(values[values != 0], edges)[0].astype(np.float64)
    low, high = float(values.min()) * share, float(values.max()) * share
    actual = divergence((edges[:-1] + edges[1:]) / 2, counts, low, high)
    assert actual == pytest.approx(brute_divergence(values, edges, low, high), rel=1e-9)


def test_entropy_clips_a_lone_outlier_and_mse_knows_what_that_costs() -> None:
    low, high = make_observer("entropy", 99.0).find_range(observed(TENSORS["one outlier"]), False)
    assert high < 100.0 and low < -2.0
    low, high = make_observer("mse", 99.0).find_range(observed(TENSORS["one outlier"]), False)
    assert high > 350.0  # clipping 400 to 100 costs 300**2 / 40001 = 2.2, steps of 1.6 cost 0.2


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("name", ["entropy", "mse"])
def test_a_useful_range_a_hundredth_of_the_extreme_is_found(name: str, sign: float, symmetric: bool) -> None:
    useful = np.abs(np.random.default_rng(2).normal(size=300_000)).astype(np.float32)
    statistics = observed(sign * np.append(useful, np.float32(400.0))[None])
    statistics.histogram[statistics.histogram > 1] *= 1000  # 3 * 10**8 useful values, and one
    low, high = make_observer(name, 99.0).find_range(statistics, symmetric)
    assert 2.0 < max(-low, high) < 8.0


@pytest.mark.parametrize(("symmetric", "steps"), [(False, 255), (True, 127)])
def test_mse_weighs_a_lone_outlier_as_the_formula_does(symmetric: bool, steps: int) -> None:
    """The error (400 - c)**2 + n * (c / steps)**2 / 12 is least at c = 400 / (1 + n / (12 * steps**2))."""
    useful = np.abs(np.random.default_rng(2).normal(size=1_000_000)).astype(np.float32)
    statistics = observed(np.append(useful, np.float32(400.0))[None])
    _, high = make_observer("mse", 99.0).find_range(statistics, symmetric)
    assert high == pytest.approx(400.0 / (1 + len(useful) / (12 * steps**2)), rel=0.1)


@pytest.mark.parametrize("name", ["entropy", "mse"])
def test_zeros_do_not_matter(name: str) -> None:
    values = TENSORS["two-sided"]
    low, high = make_observer(name, 99.0).find_range(observed(values), False)
    with_zeros = observed(np.concatenate([values, np.zeros(1_000_000, np.float32)]))
    assert make_observer(name, 99.0).find_range(with_zeros, False) == (low, high)


@pytest.mark.parametrize("name", OBSERVERS)
@pytest.mark.parametrize("values", [[5.0], [-5.0], [1e-38], [0.0, 3.0], [-1e30, 1e30], [2.5] * 9])
@pytest.mark.parametrize("symmetric", [False, True])
def test_few_or_equal_values_give_a_range_around_them(name: str, values: list[float], symmetric: bool) -> None:
    low, high = make_observer(name, 99.99).find_range(observed(np.asarray([values], np.float32)), symmetric)
    assert np.isfinite([low, high]).all() and low <= high
    assert max(abs(low), abs(high)) >= 0.04 * max(abs(value) for value in values)


def test_moving_average_is_the_recurrence_over_images_however_they_are_batched() -> None:
    images = np.random.default_rng(0).normal(size=(7, 3, 4, 4)).astype(np.float32)
    low, high = float(images[0].min()), float(images[0].max())
    for image in images[1:]:
        low += AVERAGE_SHARE * (float(image.min()) - low)
        high += AVERAGE_SHARE * (float(image.max()) - high)
    for batches in ([images], [images[:2], images[2:]], [images[i : i + 1] for i in range(7)]):
        statistics = observed(*batches)
        assert make_observer("moving_average", 99.0).find_range(statistics, False) == pytest.approx((low, high))
        extreme = max(-low, high)
        assert make_observer("moving_average", 99.0).find_range(statistics, True) == pytest.approx((-extreme, extreme))
