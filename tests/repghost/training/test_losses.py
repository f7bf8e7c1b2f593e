"""The loss with a teacher against its formula in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from repghost.training.losses import as_teacher, distance, distilled

LABELS = np.array([0, 3, 2, 2, 1, 0])
RANDOM = np.random.default_rng(0)
STUDENT, TEACHER = RANDOM.normal(0, 2, (2, 6, 4))
INPUTS = torch.zeros(6, 1)


def log_softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def cross_entropy(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    return float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())


def plain(inputs: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(logits, targets)


def teacher(inputs: torch.Tensor) -> torch.Tensor:
    assert not torch.is_grad_enabled()
    return torch.from_numpy(TEACHER)


def loss_of(alpha: float, temperature: float, kind: str) -> float:
    loss = distilled(plain, teacher, alpha, temperature, kind)
    return float(loss(INPUTS, torch.from_numpy(STUDENT), torch.from_numpy(LABELS)))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_soft_distillation_is_hintons(alpha: float, temperature: float) -> None:
    given, aim = log_softmax(STUDENT / temperature), log_softmax(TEACHER / temperature)
    divergence = float((np.exp(aim) * (aim - given)).sum(1).mean())
    expected = (1 - alpha) * cross_entropy(STUDENT, LABELS) + alpha * temperature**2 * divergence
    assert loss_of(alpha, temperature, "soft") == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_hard_distillation_is_deits(alpha: float) -> None:
    expected = (1 - alpha) * cross_entropy(STUDENT, LABELS) + alpha * cross_entropy(STUDENT, TEACHER.argmax(1))
    assert loss_of(alpha, 5.0, "hard") == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_the_mean_is_that_of_the_images(kind: str) -> None:
    student, aim = torch.from_numpy(STUDENT), torch.from_numpy(TEACHER)
    each = distance(student, aim, 2.0, kind, each=True)
    assert each.shape == (6,)
    assert float(each.mean()) == pytest.approx(float(distance(student, aim, 2.0, kind)), rel=1e-12)


def test_half_precision_is_computed_in_float32() -> None:
    student, aim = (torch.from_numpy(values).bfloat16() for values in (STUDENT, TEACHER))
    for kind in ("soft", "hard"):
        found = distance(student, aim, 1.0, kind)
        assert found.dtype == torch.float32
        assert torch.equal(found, distance(student.float(), aim.float(), 1.0, kind))


def test_without_a_teacher_or_a_share_the_loss_is_the_same_function() -> None:
    assert distilled(plain, None, 0.5, 1.0) is plain and distilled(plain, teacher, 0.0, 1.0) is plain


def test_gradients_reach_the_student_alone() -> None:
    student = torch.from_numpy(STUDENT.copy()).requires_grad_()
    weights = torch.nn.Linear(1, 4)
    loss = distilled(plain, weights, 0.5, 1.0)
    loss(INPUTS, student, torch.from_numpy(LABELS)).backward()
    assert student.grad is not None and weights.weight.grad is None


def test_a_teacher_is_in_evaluation_mode_and_learns_nothing() -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)).train()
    found = as_teacher(module, torch.device("cpu"))
    assert not any(part.training for part in found.modules())
    assert not any(parameter.requires_grad for parameter in found.parameters())
