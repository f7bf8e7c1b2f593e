"""The definition of a light detector's boxes, against torchvision and by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import batched_nms

from repghost.detection.boxes import BoxRule, Level, decode, exponential, find_boxes, probabilities
from repghost.errors import UsageError

RULE = BoxRule(3, (Level(4, 6, ((0.2, 0.3), (0.5, 0.25))), Level(2, 3, ((0.8, 0.9),))), 0.2, 0.45, 400, 200)


def numbers(seed: int, spread: float = 2.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, spread, RULE.numbers).astype(np.float32)


def test_the_exponential_is_that_of_float64() -> None:
    x = np.concatenate([np.linspace(-690, 9, 5001), [0.0, -1e-300, -800.0]])
    expected = np.exp(x)
    assert np.abs(exponential(x)[:-1] / expected[:-1] - 1).max() < 4e-16
    assert exponential(x)[-1] == 0.0


def test_probabilities_are_a_softmax() -> None:
    scores = numbers(0)[:48].reshape(12, 4)
    expected = torch.softmax(torch.from_numpy(scores).double(), 1).numpy()
    assert np.abs(probabilities(scores) - expected).max() < 1e-15
    scores[3, 1] = np.nan
    assert not probabilities(scores)[3].any()


def test_moves_are_decoded_as_torchvision_does() -> None:
    grid, moves = RULE.grid(), np.random.default_rng(1).normal(0, 2, (RULE.anchors, 4)).astype(np.float32)
    corners = np.concatenate([grid[:, :2] - grid[:, 2:] / 2, grid[:, :2] + grid[:, 2:] / 2], 1)
    coder = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))
    expected = coder.decode_single(torch.from_numpy(moves).double(), torch.from_numpy(corners)).clamp(0, 1).numpy()
    assert np.abs(decode(moves, grid) - expected).max() < 1e-6


def test_each_class_is_thinned_out_as_torchvision_does() -> None:
    values = numbers(2)
    split = RULE.anchors * 4
    shares = probabilities(values[:split].reshape(-1, 4))
    boxes = torch.from_numpy(decode(values[split:].reshape(-1, 4), RULE.grid()))
    anchors, labels = np.nonzero(shares[:, 1:] > RULE.score)
    scores = torch.from_numpy(shares[anchors, labels + 1])
    kept = batched_nms(boxes[anchors], scores, torch.from_numpy(labels), RULE.overlap)
    found = find_boxes(RULE, values)
    assert len(found) > 10
    assert list(zip(found.anchors, found.labels, strict=True)) == [(anchors[k], labels[k] + 1) for k in kept]


def test_a_box_by_hand() -> None:
    rule = BoxRule(1, (Level(1, 2, ((0.25, 0.5),)),), 0.5)
    values = np.asarray([9, 0, 0, 9, *[0] * 4, 2.0, 0, 5 * math.log(2), 0], np.float32)
    found = find_boxes(rule, values)
    assert found.labels.tolist() == [1] and found.scores[0] == pytest.approx(1 / (1 + math.exp(-9)))
    # The second anchor's centre (0.75, 0.5) moves right by 0.2 of 0.25, and it becomes twice as wide: it is cut at 1.
    assert found.boxes[0] == pytest.approx([0.55, 0.25, 1.0, 0.75], abs=1e-7)
    assert found.on(200, 100)[0] == pytest.approx([110, 25, 200, 75], abs=1e-4)


def test_no_more_boxes_come_out_than_allowed() -> None:
    rule = replace(RULE, score=0.0, overlap=1.0, candidates=7, detections=5)
    assert len(find_boxes(rule, numbers(3))) == 5
    assert len(find_boxes(replace(rule, score=0.999), numbers(3))) == 0


def test_a_rule_is_read_back() -> None:
    assert BoxRule.from_dict(RULE.to_dict()) == RULE
    assert RULE.shapes() == ((4, 6, 8), (2, 3, 4), (4, 6, 8), (2, 3, 4))
    assert sum(math.prod(shape) for shape in RULE.shapes()) == RULE.numbers


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"classes": 0},
        {"classes": "3"},
        {"levels": []},
        {"levels": [{"rows": 0, "columns": 1, "anchors": [[1, 1]]}]},
        {"levels": [{"rows": 1, "columns": 1, "anchors": [[0, 1]]}]},
        {"levels": [{"rows": 1, "columns": 1, "anchors": [[1, 1, 1]]}]},
        {"levels": [{"rows": 4096, "columns": 4096, "anchors": [[1, 1]]}]},
        {"score": 1.0},
        {"overlap": 0.0},
        {"overlap": float("nan")},
        {"candidates": 10**9},
        {"more": 1},
    ],
)
def test_a_damaged_rule_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        BoxRule.from_dict({**RULE.to_dict(), **change})
