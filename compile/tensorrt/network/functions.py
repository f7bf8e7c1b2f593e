"""Whether a function can be computed in float16: its steps may leave it where its result does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from calib.integer.qparams import QParams
from repghost.graph.functions import STEPS, evaluate
from repghost.graph.operators import Step

POINTS = 1025
MARGIN = 4  # times the calibrated range: what an observer cut off is computed, too
CLOSE = 0.01  # of the largest result; a step rounds by up to 0.0005 of its own


def float16_suffices(steps: tuple[Step, ...], qparams: QParams | None) -> bool:
    """Return whether the steps give nearly the same in float16 as in float32.

    Args:
        steps: of a function.
        qparams: of what it reads, symmetric; None where nothing is known of it, and then they do.
    """
    if qparams is None:
        return True
    limit = min(MARGIN * 127 * qparams.scale, float(torch.finfo(torch.float16).max))
    x = _rounded(torch.linspace(-limit, limit, POINTS))
    exact = evaluate(steps, x)
    defined = torch.isfinite(exact)  # the root of a negative number is not
    half = evaluate(tuple(_with_rounded_constants(step) for step in steps), x, ROUNDED_STEPS)
    difference = (half - exact)[defined].abs()
    return bool((difference <= CLOSE * exact[defined].abs().max()).all()) if len(difference) else True


def _rounded(x: torch.Tensor) -> torch.Tensor:
    return x.half().float()


def _with_rounded_constants(step: Step) -> Step:
    operands = (
        operand if isinstance(operand, int) else float(torch.tensor(operand).half()) for operand in step.operands
    )
    return replace(step, operands=tuple(operands))


def _rounding(compute: Callable[..., Any]) -> Callable[..., torch.Tensor]:
    return lambda *operands, **attributes: _rounded(compute(*operands, **attributes))


ROUNDED_STEPS = {name: _rounding(compute) for name, compute in STEPS.items()}
