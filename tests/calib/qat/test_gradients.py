"""The gradients of fake-quantization: against differences of its values, and against PyTorch's learnable one.

Rounding has no useful derivative, so the gradients are straight-through: the slope of the staircase is taken as 1 where
it is not clipped. What can be measured on the values themselves, without assuming that slope:
- Scaling x and s together by e^t changes no integer, so y(t) = e^t y is smooth, and its derivative by t is what both
  gradients have to give together: <dx, x> + d(log s).
- One whole step of x inside the range moves y by one whole step: a slope of 1. Outside, nothing moves y: a slope of 0.
- Clipped values are s * bound, smooth in s alone.
Inputs are whole eighths of a step, at least an eighth away from every edge between two integers, so differences never
cross one. PyTorch's gradients are float32 only; with eighths, a power of two as scale and whole numbers as dy, every
product and every sum of them is below 2**24 eighths and so exact in float32, whatever the order of the additions.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from calib.integer.qparams import WEIGHT_MAX
from calib.simulate.fake_quantize import fake_quantize, fake_quantize_weight, weight_steps

EPSILON = 2.0**-52  # of float64
STEP = 2.0**-14  # of a central difference: 300 * STEP stays below an eighth
SCALE = 2.0**-5
BOUNDS = [(-128, 127), (0, 255), (-5, 250), (-127, 127)]  # q - z: symmetric, behind a ReLU, affine, narrow


def values(low: int, high: int, seed: int = 0) -> torch.Tensor:
    """Return float64 [2, 3, 8, 8]: x / SCALE lies inside the bounds, below and above, away from every edge."""
    generator = torch.Generator().manual_seed(seed)
    v = eighths(low - 40, high + 41, (2, 3, 8, 8), generator)
    for bound in (low, high):  # at a bound the two sides of `low < v < high` meet
        v = torch.where(v == bound, v + 0.25, v)
    return v * SCALE


def eighths(low: int, high: int, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Return whole numbers in [low, high) and up to three eighths beside them, float64."""
    whole = torch.randint(low, high, shape, generator=generator)
    return whole.double() + torch.randint(-3, 4, shape, generator=generator).double() / 8


def log_scale() -> torch.Tensor:
    return torch.tensor(math.log(SCALE), dtype=torch.float64, requires_grad=True)


def direction(shape: torch.Size) -> torch.Tensor:
    """Return what the loss weighs each value with, whole numbers, so that dy is not the same everywhere."""
    return torch.randint(-4, 5, shape, generator=torch.Generator().manual_seed(1)).double()


def central_difference(loss: Callable[[float], torch.Tensor]) -> float:
    return float((loss(STEP) - loss(-STEP)) / (2 * STEP))


def tolerance(terms: torch.Tensor) -> float:
    """Return how far the difference quotient of sum(terms) * e^t can be from its derivative sum(terms).

    sinh(h) / h - 1 < h**2 / 5, and both ends of the difference carry the rounding of their N terms.
    """
    size = float(terms.abs().sum())
    return size * (STEP**2 / 5 + 2 * terms.numel() * EPSILON / STEP)


@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_both_gradients_together_are_the_derivative_along_a_common_factor(low: int, high: int) -> None:
    x, s, c = values(low, high).requires_grad_(), log_scale(), direction(torch.Size((2, 3, 8, 8)))
    y = fake_quantize(x, s, low, high)
    (c * y).sum().backward()
    assert x.grad is not None and s.grad is not None
    with torch.no_grad():
        measured = central_difference(lambda t: (c * fake_quantize(x * math.exp(t), s + t, low, high)).sum())
        terms = (c * y).detach()
        assert abs(float((x.grad * x).sum() + s.grad) - measured) <= tolerance(terms)
        assert float(terms.abs().sum()) > 1e3 * tolerance(terms)


@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_the_slope_is_that_of_one_whole_step(low: int, high: int) -> None:
    x, s = values(low, high).requires_grad_(), log_scale()
    fake_quantize(x, s, low, high).sum().backward()
    with torch.no_grad():
        v = x / SCALE
        # Where a step to each side stays inside, or where both stay outside, the values have one slope.
        smooth = ((v > low + 1) & (v < high - 1)) | (v < low - 1.5) | (v > high + 1.5)
        ends = [fake_quantize(x + sign * SCALE, s, low, high) for sign in (1, -1)]
        slope = (ends[0] - ends[1]) / (2 * SCALE)
        assert x.grad is not None and int(smooth.sum()) > 200 and bool((slope[smooth] == 0).any())
        # exp(log(s)) is s up to (|log s| + 1) * EPSILON, which y carries 255 times at most.
        assert float((slope - x.grad)[smooth].abs().max()) <= 255 * (abs(math.log(SCALE)) + 2) * EPSILON


@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_clipped_values_follow_the_scale_alone(low: int, high: int) -> None:
    x, s = values(low, high), log_scale()
    v = x / SCALE
    x = x[(v < low - 1) | (v > high + 1)].reshape(1, 1, 1, -1)
    c = direction(x.shape)
    y = fake_quantize(x, s, low, high)
    (c * y).sum().backward()
    measured = central_difference(lambda t: (c * fake_quantize(x, s.detach() + t, low, high)).sum())
    assert s.grad is not None and x.numel() > 20
    assert abs(float(s.grad) - measured) <= tolerance((c * y).detach())


def learnable(
    x: torch.Tensor, low: int, high: int, zero_point: int, c: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return y, dx and ds of PyTorch's fake-quantize for the loss <c, y>, exact in float32, as float64.

    Its backward pass adds 0.5 to the zero point and truncates, which moves a negative one up by 1 (PyTorch 2.14). So
    the integers count from 0, as in uint8; low and high from the zero point are the same.
    """
    x, s, z = x.float().requires_grad_(), torch.tensor([SCALE], requires_grad=True), torch.tensor([float(zero_point)])
    y = torch._fake_quantize_learnable_per_tensor_affine(x, s, z, low + zero_point, high + zero_point, 1.0)
    (c.float() * y).sum().backward()
    assert x.grad is not None and s.grad is not None
    return y.detach().double(), x.grad.double(), s.grad[0].double()


def ours(x: torch.Tensor, low: int, high: int, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x, s = x.detach().clone().requires_grad_(), log_scale()
    y = fake_quantize(x, s, low, high)
    (c * y).sum().backward()
    assert x.grad is not None and s.grad is not None
    return y.detach(), x.grad, s.grad / SCALE  # d(log s) = s * ds


@pytest.mark.parametrize(("low", "high", "zero_point"), [(-128, 127, 0), (0, 255, 0), (-5, 250, 5)])
def test_values_and_gradients_are_those_of_pytorch_but_on_the_last_half_step(
    low: int, high: int, zero_point: int
) -> None:
    x = values(low, high)
    v = x / SCALE
    x = torch.where(((v > low - 0.5) & (v < low)) | ((v > high) & (v < high + 0.5)), x * 0 + 3.25 * SCALE, x)
    c = direction(x.shape)
    y, dx, ds = ours(x, low, high, c)
    expected_y, expected_dx, expected_ds = learnable(x, low, high, zero_point, c)
    relative = (abs(math.log(SCALE)) + 4) * EPSILON  # of s, which ours computes as exp(log(s)), and of three roundings
    torch.testing.assert_close(y, expected_y, rtol=relative, atol=0.0)
    assert torch.equal(dx, expected_dx)
    # <dy, y> and <dx, x> are summed apart, each of N terms; their difference is divided by s.
    bound = float(((c * y).abs().sum() + (dx * x).abs().sum()) / SCALE)
    assert abs(float(ds - expected_ds)) <= bound * (x.numel() * EPSILON + relative)


@pytest.mark.parametrize(
    ("low", "high", "v"), [(0, 255, -0.375), (0, 255, 0.0), (-128, 127, 127.375), (-128, 127, -128.25)]
)
def test_values_that_are_clipped_by_less_than_half_a_step_have_no_gradient(low: int, high: int, v: float) -> None:
    """The difference by design: PyTorch asks whether the integer lies in the range, we whether the value does.

    Behind a ReLU the bound is 0, and what lies below it has to have the ReLU's gradient, which is 0, also at 0.
    The scale then gets the gradient of a clipped value, `bound`, in place of the rounding error, `bound - v`.
    """
    x, c = torch.full((1, 1, 1, 1), v * SCALE, dtype=torch.float64), torch.ones(1, 1, 1, 1, dtype=torch.float64)
    bound = low if abs(v - low) < 1 else high
    y, dx, ds = ours(x, low, high, c)
    expected_y, expected_dx, expected_ds = learnable(x, low, high, 0, c)
    assert float(y) == pytest.approx(float(expected_y), rel=8 * EPSILON)
    assert float(dx) == 0.0 and float(expected_dx) == 1.0
    assert float(ds) == pytest.approx(bound, rel=16 * EPSILON)
    assert float(expected_ds) == bound - v


def weights() -> tuple[torch.Tensor, torch.Tensor]:
    """Return float64 [6, 2, 3, 3] and a scale for each of the 6 channels; some are clipped by a step or more."""
    v = eighths(-150, 151, (6, 2, 3, 3), torch.Generator().manual_seed(2))
    v = torch.where((v.abs() >= WEIGHT_MAX) & (v.abs() < WEIGHT_MAX + 0.5), v - v.sign(), v)
    scales = 2.0 ** -torch.arange(4, 10).double()
    return v * scales.reshape(-1, 1, 1, 1), scales


def test_weight_gradients_are_those_of_pytorch_per_channel() -> None:
    """To the bit: every number of both computations is exact in float32."""
    w, scales = (values.float() for values in weights())
    c, zeros = direction(w.shape).float(), torch.zeros(6)
    results = []
    for function in (
        fake_quantize_weight,
        lambda w, s: torch._fake_quantize_learnable_per_channel_affine(w, s, zeros, 0, -WEIGHT_MAX, WEIGHT_MAX, 1.0),
    ):
        weight, scale = w.clone().requires_grad_(), scales.clone().requires_grad_()
        y = function(weight, scale)
        (c * y).sum().backward()
        assert weight.grad is not None and scale.grad is not None
        results.append((y.detach(), weight.grad, scale.grad))
    for found, expected in zip(*results, strict=True):
        assert torch.equal(found, expected)
    dw = results[0][1]
    assert bool((dw == 0)[c != 0].any()) and bool((dw != 0).any())


def test_a_weight_clipped_by_less_than_half_a_step_has_no_gradient() -> None:
    """The same difference by design: at 127.25 steps PyTorch passes the gradient of a weight that we clip."""
    weight = torch.tensor([[127.25]], requires_grad=True)
    scale = torch.ones(1, requires_grad=True)
    fake_quantize_weight(weight, scale).sum().backward()
    assert weight.grad is not None and scale.grad is not None
    assert float(weight.grad) == 0.0 and float(scale.grad) == 127.0
    weight.grad = scale.grad = None
    torch._fake_quantize_learnable_per_channel_affine(
        weight, scale, torch.zeros(1), 0, -WEIGHT_MAX, WEIGHT_MAX, 1.0
    ).sum().backward()
    assert float(weight.grad) == 1.0 and float(scale.grad) == -0.25  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [None, 600.0])
def test_weight_gradients_together_are_the_derivative_along_a_common_factor(limit: float | None) -> None:
    """Also where the sums of magnitudes are limited: a common factor leaves every integer where it is.

    No two weights are rounded by the same amount, so which of them give steps does not hang on the factor's rounding.
    """
    w, scales = weights()
    w = w + (torch.arange(w.numel()).reshape(w.shape) * 2.0**-11) * scales.reshape(-1, 1, 1, 1)
    limits = None if limit is None else torch.full((6,), limit, dtype=torch.float64)
    c = direction(w.shape)
    weight, scale = w.clone().requires_grad_(), scales.clone().requires_grad_()
    y = fake_quantize_weight(weight, scale, limits)
    (c * y).sum().backward()
    assert weight.grad is not None and scale.grad is not None
    limited = weight_steps(w, scales, limits) != weight_steps(w, scales, None)
    assert bool(limited.any()) == (limit is not None)
    measured = central_difference(
        lambda t: (c * fake_quantize_weight(w * math.exp(t), scales * math.exp(t), limits)).sum()
    )
    together = float((weight.grad * w).sum() + (scale.grad * scales).sum())
    assert abs(together - measured) <= tolerance((c * y).detach())
