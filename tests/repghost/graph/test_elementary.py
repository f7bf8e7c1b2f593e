"""exp and log against 40 digits, and to the bit."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import torch

from repghost.graph.elementary import exp, log
from repghost.graph.functions import sqrt

NUMBERS = np.random.default_rng(0).uniform(-1.0, 1.0, 200)
EXP = [
    "0x1.14f2b0fb9307fp-1010",
    "0x1.7822863549fcep-46",
    "0x1.78b56362cef38p-2",
    "0x1.cf46d99d52b3ap-1",
    "0x1.0000000000000p+0",
    "0x1.599058c8c1a96p+0",
    "0x1.5bf0a8b14576ap+1",
    "0x1.0c71922974cbfp+58",
]
LOG = [
    "-0x1.5963447f87fb5p+9",
    "-0x1.26bb1bbb55515p+1",
    "-0x1.6d3c324e13f4fp-2",
    "-0x1.5eb5c7907e4cap-2",
    "0x0.0p+0",
    "0x1.193ea7aad030bp+0",
    "0x1.7069e2aa2aa5bp+4",
]


def test_both_are_within_units_of_the_last_place() -> None:
    with localcontext() as context:
        context.prec = 40
        for x in (*NUMBERS, *(690.0 * NUMBERS), 0.0):
            power = float(exp(np.asarray([x]))[0])
            assert abs(Decimal(power) / Decimal(float(x)).exp() - 1) < Decimal(2) ** -51
            error = abs(Decimal(float(log(np.asarray([power]))[0])) - Decimal(power).ln())
            assert error <= Decimal(2) ** -51 * max(abs(Decimal(power).ln()), Decimal(2) ** -52)


def test_the_bits_are_those_of_every_machine() -> None:
    x = np.asarray([-700.0, -31.5, -1.0, -0.1, 0.0, 0.3, 1.0, 40.25])
    assert [value.hex() for value in exp(x)] == EXP
    assert [value.hex() for value in log(np.asarray([1e-300, 0.1, 0.7, 0.71, 1.0, 3.0, 1e10]))] == LOG


def test_what_is_too_small_for_exp_is_nearly_zero() -> None:
    assert 0.0 < exp(np.asarray([-1e9]))[0] < 1e-300


def test_a_square_root_is_the_nearest_float32_and_has_a_gradient() -> None:
    x = torch.rand(5000, generator=torch.Generator().manual_seed(0)) * 4
    wanted = np.sqrt(x.double().numpy()).astype(np.float32)  # 53 bits are enough to round to 24 but once
    assert np.array_equal(sqrt(x).numpy(), wanted)
    assert torch.autograd.gradcheck(sqrt, (x[:4].double().requires_grad_(),))
    assert sqrt(torch.tensor([-1.0, 0.0])).isnan().tolist() == [True, False]
