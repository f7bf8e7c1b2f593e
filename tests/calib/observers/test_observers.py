from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from calib.observers import OBSERVERS, TensorStatistics, find_observer, make_observer
from calib.observers.base import BINS
from repghost.errors import UsageError


def observed(*batches: NDArray[np.float32]) -> TensorStatistics:
    statistics = TensorStatistics("t")
    for batch in batches:
        statistics.update(np.asarray(batch, np.float32))
    return statistics


@pytest.fixture
def values() -> NDArray[np.float32]:
    generator = np.random.default_rng(3)
    return (generator.standard_t(df=4, size=200_000) * 1.7 + 0.4).astype(np.float32)


@pytest.mark.parametrize("name", OBSERVERS)
@pytest.mark.parametrize("symmetric", [False, True])
def test_every_range_lies_inside_the_extremes(name: str, symmetric: bool, values: NDArray[np.float32]) -> None:
    low, high = make_observer(name, 99.9).find_range(observed(values.reshape(200, 1000)), symmetric)
    assert low < high
    if symmetric:
        assert low == -high and high <= np.abs(values).max()
    else:
        assert values.min() <= low and high <= values.max()


def test_min_max_covers_everything(values: NDArray[np.float32]) -> None:
    assert make_observer("min_max", 99.0).find_range(observed(values), False) == (values.min(), values.max())
    largest = float(np.abs(values).max())
    assert make_observer("min_max", 99.0).find_range(observed(values), True) == (-largest, largest)


@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.9, 99.99])
def test_percentile_agrees_with_sorting_to_a_few_bins(percentile: float, values: NDArray[np.float32]) -> None:
    statistics = observed(values)
    width = 2 * statistics.limit / BINS
    low, high = make_observer("percentile", percentile).find_range(statistics, False)
    assert_between_neighbours(low, values, 100 - percentile, width)
    assert_between_neighbours(high, values, percentile, width)
    _, magnitude = make_observer("percentile", percentile).find_range(statistics, True)
    assert_between_neighbours(magnitude, np.abs(values), percentile, width)


def assert_between_neighbours(value: float, values: NDArray[np.float32], percentile: float, width: float) -> None:
    """In the sparse tails neighbouring values are further apart than a bin, and anything between them is right."""
    ordered, place = np.sort(values), percentile / 100 * len(values)
    below, above = (ordered[int(np.clip(place + step, 0, len(values) - 1))] for step in (-1.5, 1.5))
    assert below - 2 * width <= value <= above + 2 * width


def test_percentile_100_is_min_max(values: NDArray[np.float32]) -> None:
    assert make_observer("percentile", 100.0).find_range(observed(values), False) == (values.min(), values.max())


@settings(max_examples=50, deadline=None)
@given(st.permutations(range(6)), st.integers(0, 10_000))
def test_order_and_batching_change_nothing(order: list[int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    batches = [generator.normal(size=100).astype(np.float32) * 10.0 ** generator.integers(-3, 4) for _ in range(6)]
    together, apart = observed(np.concatenate(batches)), observed(*(batches[i] for i in order))
    assert together.limit == apart.limit
    np.testing.assert_array_equal(together.histogram, apart.histogram)
    assert (together.minimum, together.maximum, together.count) == (apart.minimum, apart.maximum, apart.count)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**100), max_value=2.0**100),
        min_size=1,
    )
)
def test_every_value_is_counted_once(numbers: list[float]) -> None:
    values = np.asarray(numbers, np.float32)
    statistics = observed(values)
    assert statistics.histogram.sum() == statistics.count == len(numbers)
    for fraction in (0.0, 0.3, 1.0):
        assert values.min() <= statistics.quantile(fraction) <= values.max()
    if statistics.limit:
        places = np.floor(values * np.float32(BINS / 2 / statistics.limit)).astype(int) + BINS // 2
        np.testing.assert_array_equal(statistics.histogram, np.bincount(places.clip(max=BINS - 1), minlength=BINS))
    assert statistics.zeros == numbers.count(0.0)


@pytest.mark.parametrize("images", [1, 3])
def test_statistics_do_not_depend_on_what_lies_innermost_in_memory(images: int) -> None:
    values = np.random.default_rng(0).normal(size=(images, 2, 5, 4)).astype(np.float32)
    first, last = TensorStatistics("t"), TensorStatistics("t")
    first.update(values)
    last.update(np.moveaxis(np.moveaxis(values, 0, -1).copy(), -1, 0))
    np.testing.assert_array_equal(first.histogram, last.histogram)
    assert (first.average_minimum, first.average_maximum) == (last.average_minimum, last.average_maximum)
    assert (first.minimum, first.maximum) == (values.min(), values.max()) == (last.minimum, last.maximum)


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_tensor_that_is_nearly_always_zero_keeps_its_extremes(symmetric: bool) -> None:
    sparse = np.zeros(100_000, np.float32)
    sparse[:2] = [5.0, 3.0]
    low, high = make_observer("percentile", 99.99).find_range(observed(sparse), symmetric)
    assert (low, high) == (-5.0 if symmetric else 0.0, 5.0)


def test_zeros_stay_zeros_when_the_range_grows() -> None:
    statistics = observed(np.zeros(10), np.asarray([3.0]), np.zeros(5))
    assert statistics.histogram.sum() == 16
    assert statistics.histogram[BINS // 2] == 15


def test_constant_zero_has_an_empty_range() -> None:
    for name in OBSERVERS:
        assert make_observer(name, 99.9).find_range(observed(np.zeros(100)), False) == (0.0, 0.0)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_by_name(wrong: float) -> None:
    with pytest.raises(UsageError, match=r"'t'.*NaN or infinite"):
        observed(np.asarray([1.0, wrong], np.float32))


def test_unknown_observer_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UsageError, match="Did you mean 'percentile'"):
        find_observer("percentil")
