"""Canonical layers against PyTorch's, and that no order of a sum changes a bit of them."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch.nn import functional as F

from repghost.graph import canonical
from repghost.graph.canonical import average, classify, convolve, exact_sum, gated, multiply, on_grid

# (groups, outputs, kernel, stride)
SHAPES = [(1, 8, 3, 2), (1, 8, 1, 1), (6, 6, 3, 1), (6, 6, 5, 2), (6, 6, 3, 2)]


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return float32 numbers over seven orders of magnitude."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator) * 10.0 ** (7 * torch.rand(shape, generator=generator) - 6)


@pytest.mark.parametrize(("groups", "outputs", "kernel", "stride"), SHAPES)
def test_a_convolution_and_its_gradients_are_pytorchs(groups: int, outputs: int, kernel: int, stride: int) -> None:
    generator = torch.Generator().manual_seed(1)
    shapes = ((3, 6, 9, 9), (outputs, 6 // groups, kernel, kernel), (outputs,))
    x, weight, bias = (torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes)
    found = convolve(x, weight, bias, (stride, stride), (kernel // 2,) * 4, groups=groups)
    expected = F.conv2d(x, weight, bias, stride, kernel // 2, groups=groups)
    direction = torch.randn(expected.shape, generator=generator)
    torch.testing.assert_close(found, expected)
    gradients = (torch.autograd.grad(y, (x, weight, bias), direction) for y in (found, expected))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_the_other_layers_are_pytorchs() -> None:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(2, 4, 5, 5, generator=generator)
    gate, weight, bias = (torch.randn(shape, generator=generator) for shape in ((2, 4, 1, 1), (3, 4), (3,)))
    torch.testing.assert_close(average(x), x.mean((2, 3), keepdim=True))
    torch.testing.assert_close(gated(x, gate), x * gate)
    torch.testing.assert_close(classify(gate, weight, bias), F.linear(gate.flatten(1), weight, bias))


def test_no_order_of_a_sum_changes_a_bit() -> None:
    a, b = numbers(5, 1000), numbers(1000, 7, seed=1)
    product = multiply(a, b)
    for seed in range(8):
        order = torch.randperm(1000, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(multiply(a[:, order], b[order]), product)
        assert torch.equal(exact_sum(b[order], (0,)), exact_sum(b, (0,)))
    assert any(  # what it is for: float32 does change
        not torch.equal(a[:, order] @ b[order], a @ b)
        for order in (torch.randperm(1000, generator=torch.Generator().manual_seed(seed)) for seed in range(8))
    )


def test_a_sum_on_the_grid_is_the_exact_one() -> None:
    x = numbers(4097)
    exact = sum(map(Fraction, on_grid(x, 40).tolist()))
    assert exact_sum(x, (0,)).item() == torch.tensor(float(exact)).item()
    assert float(exact) == pytest.approx(x.double().sum().item(), rel=1e-9)


@pytest.mark.parametrize("bits", [1, 17, 24, 60])
def test_the_grid_is_a_power_of_two_and_near(bits: int) -> None:
    x = torch.cat([numbers(300).clamp(-4.0, 4.0), torch.tensor([3.0, -4.0, 0.0])])
    unit = 2.0 ** (3 - min(bits, 50))  # 4 is below 2**3
    found = on_grid(x, bits)
    assert torch.equal(found / unit, (found / unit).round())
    assert (found - x.double()).abs().max() <= unit / 2
    rows = on_grid(torch.stack([x, x * 2.0**-30]), bits, axis=1)
    assert torch.equal(rows[0], found) and torch.equal(rows[1], found * 2.0**-30)


def test_zeros_and_nothing_have_a_grid_and_what_is_not_finite_stays_so() -> None:
    assert torch.equal(on_grid(torch.zeros(3), 24), torch.zeros(3, dtype=torch.float64))
    assert on_grid(torch.zeros(0, 3), 24).shape == (0, 3)
    assert not multiply(torch.tensor([[1.0, float("nan")]]), torch.ones(2, 1)).isfinite().any()
    assert not multiply(torch.tensor([[1.0, float("inf")]]), torch.ones(2, 1)).isfinite().any()


def test_parts_of_a_batch_have_the_bits_they_have_alone() -> None:
    alone = [numbers(3, 6, 9, 9, seed=seed) * 1000.0**seed for seed in range(3)]
    layers: list[Callable[[torch.Tensor, int], torch.Tensor]] = [
        average,
        lambda x, parts: classify(x, numbers(5, 6 * 9 * 9, seed=8), None, parts),
        *(_layer(*shape) for shape in (*SHAPES, (2, 4, 3, 1))),
    ]
    with torch.no_grad():
        for layer in layers:
            assert torch.equal(layer(torch.cat(alone), 3), torch.cat([layer(part, 1) for part in alone]))
        dense = layers[2]
        assert not torch.equal(dense(torch.cat(alone), 3), dense(torch.cat(alone), 1))  # one grid for all is coarser


def _layer(groups: int, outputs: int, kernel: int, stride: int) -> Callable[[torch.Tensor, int], torch.Tensor]:
    weight = numbers(outputs, 6 // groups, kernel, kernel, seed=7)
    return lambda x, parts: convolve(x, weight, None, (stride, stride), (kernel // 2,) * 4, (1, 1), groups, parts)


@pytest.mark.parametrize(("groups", "outputs", "kernel", "stride"), SHAPES)
def test_blocks_change_no_bit(
    groups: int, outputs: int, kernel: int, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, weight, bias = torch.randn(6, 6, 9, 8), torch.randn(outputs, 6 // groups, kernel, kernel), torch.randn(outputs)

    def computed(parts: int) -> torch.Tensor:
        return convolve(x, weight, bias, (stride, stride), (kernel // 2,) * 4, groups=groups, parts=parts)

    with torch.no_grad():
        whole = [computed(parts) for parts in (1, 3)]
        monkeypatch.setattr(canonical, "BLOCK", 7)
        monkeypatch.setattr(canonical, "FEWEST_COLUMNS", 5)
        assert all(torch.equal(computed(parts), y) for parts, y in zip((1, 3), whole, strict=True))
        assert convolve(x[:0], weight, bias, groups=groups).shape[0] == 0
    assert torch.equal(computed(1), whole[0])  # with gradients, where nothing is cut


def test_parts_have_no_gradients() -> None:
    with pytest.raises(AssertionError):
        multiply(torch.ones(2, 2), torch.ones(2, 4), parts=2)
