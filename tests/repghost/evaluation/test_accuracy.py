from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError
from repghost.evaluation.accuracy import accuracy, paired_difference, predict


def test_accuracy_counts() -> None:
    result = accuracy(np.asarray([0, 1, 2, 3]), np.asarray([0, 1, 2, 0]))
    assert (result.top1, result.correct, result.pictures) == (0.75, 3, 4)
    assert result.low < 0.75 < result.high


@pytest.mark.parametrize(
    ("correct", "count", "low", "high"),
    [  # Wilson's score interval, computed from its formula with 50 digits
        (0, 10, 0.0, 0.27753280),
        (10, 10, 0.72246720, 1.0),
        (5, 10, 0.23659309, 0.76340691),
        (9400, 10000, 0.93517421, 0.94448787),
    ],
)
def test_accuracy_interval_is_wilsons(correct: int, count: int, low: float, high: float) -> None:
    predictions = np.arange(count) < correct
    result = accuracy(predictions.astype(int), np.ones(count, int))
    assert result.low == pytest.approx(low, abs=1e-8)
    assert result.high == pytest.approx(high, abs=1e-8)


def test_paired_difference_counts_each_cell() -> None:
    labels = np.zeros(10, int)
    before = np.asarray([0, 0, 0, 0, 0, 0, 1, 1, 1, 2])
    after_ = np.asarray([0, 0, 0, 0, 1, 1, 0, 1, 2, 2])
    result = paired_difference(before, after_, labels)
    assert (result.only_before, result.only_after, result.agreeing, result.pictures) == (2, 1, 6, 10)
    assert result.difference == pytest.approx(-0.1)
    won, lost, total = 1.5, 2.5, 12
    half = 1.959963984540054 * math.sqrt(won + lost - (won - lost) ** 2 / total) / total
    assert result.low == pytest.approx((won - lost) / total - half)
    assert result.high == pytest.approx((won - lost) / total + half)


def test_equal_answers_still_leave_doubt() -> None:
    predictions = np.arange(1000) % 10
    result = paired_difference(predictions, predictions, predictions)
    assert result.difference == 0
    assert -0.004 < result.low < 0 < result.high < 0.004


def test_paired_interval_is_narrower_than_two_separate_ones() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 10, 5000)
    before = np.where(random.random(5000) < 0.9, labels, (labels + 1) % 10)
    after_ = np.where(random.random(5000) < 0.98, before, (labels + 2) % 10)
    paired = paired_difference(before, after_, labels)
    separate = accuracy(before, labels).high - accuracy(after_, labels).low
    assert paired.high - paired.low < separate - (accuracy(before, labels).low - accuracy(after_, labels).high)


def test_paired_interval_covers_the_truth_about_95_percent_of_the_time() -> None:
    random = np.random.default_rng(1)
    lost, won, count, runs = 0.02, 0.01, 1000, 2000
    covered = 0
    for _ in range(runs):
        kind = random.choice(3, count, p=[lost, won, 1 - lost - won])
        labels = np.zeros(count, int)
        result = paired_difference((kind == 1).astype(int), (kind == 0).astype(int), labels)
        covered += result.low <= won - lost <= result.high
    assert 0.93 < covered / runs < 0.975


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=60))
def test_paired_difference_agrees_with_accuracy_and_swaps(rows: list[tuple[int, int, int]]) -> None:
    before, after_, labels = np.asarray(rows).T
    forward, backward = paired_difference(before, after_, labels), paired_difference(after_, before, labels)
    assert forward.difference == pytest.approx(accuracy(after_, labels).top1 - accuracy(before, labels).top1)
    assert (forward.low, forward.high) == pytest.approx((-backward.high, -backward.low))
    assert -1 <= forward.low <= forward.high <= 1


@pytest.mark.parametrize(
    ("predictions", "labels"),
    [
        (np.zeros(0, int), np.zeros(0, int)),
        (np.zeros(3, int), np.zeros(4, int)),
        (np.zeros((2, 2), int), np.zeros((2, 2), int)),
    ],
)
def test_vectors_that_do_not_fit_are_refused(predictions: Any, labels: Any) -> None:
    with pytest.raises(UsageError, match="one answer for each"):
        accuracy(predictions, labels)
    with pytest.raises(UsageError, match="one answer for each"):
        paired_difference(labels, predictions, labels)


def test_predict_does_not_depend_on_the_batch_and_restores_the_mode() -> None:
    import torch

    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.BatchNorm2d(3), torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(48, 5)
    )
    images = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 3), np.uint8)
    preprocess = Preprocess(size=4, resize=4)
    statistics = model[0].running_mean.clone()
    whole, parts = predict(model, images, preprocess, 7), predict(model, images, preprocess, 2)
    assert whole.shape == (7, 5)
    assert np.allclose(whole, parts, atol=1e-6)
    assert model.training
    assert torch.equal(model[0].running_mean, statistics)
    model.eval()
    with torch.inference_mode():
        assert np.allclose(model(torch.from_numpy(preprocess.normalize(images))).numpy(), whole, atol=1e-6)


def test_dictionaries_are_json_ready() -> None:
    import json

    predictions = np.asarray([0, 1])
    assert json.loads(json.dumps(accuracy(predictions, predictions).to_dict()))["pictures"] == 2
    assert json.loads(json.dumps(paired_difference(predictions, predictions, predictions).to_dict()))["agreeing"] == 2
