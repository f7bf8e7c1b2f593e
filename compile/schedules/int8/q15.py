"""The epilogues of an int16 accumulator as vectors, see `requantize_q15` of `calib.integer.qparams`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calib.integer.program import DepthwiseConv2d
from calib.integer.qparams import INT8_MIN, INT16_MAX, Q15_ADD_SHIFT, Q15_SHIFT, RESIDUAL_SHIFT, accumulator_range
from calib.integer.values import RequantizeQ15, RequantizeQ15Add
from compile.intrin import InstructionSet
from compile.ir import tir
from compile.ir.tir import Expr


@dataclass(frozen=True)
class Residual:
    """What an epilogue adds: an int8 vector and the factor it is multiplied by."""

    values: Expr
    factor: Expr


def requantize_q15(
    isa: InstructionSet,
    total: Expr,
    multiplier: Expr,
    offset: Expr,
    epilogue: RequantizeQ15 | RequantizeQ15Add,
    residual: Residual | None,
    offset_first: bool = False,
) -> Expr:
    """Return one int8 vector.

    Args:
        isa: the instruction set.
        total: int16 sums.
        multiplier: int16, M of each lane.
        offset: int16, o of each lane.
        epilogue: gives the bounds.
        residual: of an epilogue with an add.
        offset_first: whether products are added to the offset, see `adds_in_any_order`.
    """
    if offset_first:
        value = isa.add_product_q15(offset, total, multiplier)
        if residual is None:
            value = isa.narrow_to_int8(value)
        else:
            value = isa.add_product_q15(value, *_residual(residual, value))
            value = isa.shift_and_narrow(value, Q15_ADD_SHIFT)
        return isa.clamp_int8(value, epilogue.low, epilogue.high)
    value = isa.multiply_q15(total, multiplier)
    if residual is None:
        value = isa.narrow_to_int8(isa.add_saturating(value, offset))
    else:
        value = isa.add_product_q15(value, *_residual(residual, value))
        value = isa.shift_and_narrow(isa.add_saturating(value, offset), Q15_ADD_SHIFT)
    return isa.clamp_int8(value, epilogue.low, epilogue.high)


def _residual(residual: Residual, value: Expr) -> tuple[Expr, Expr]:
    """Return the factors of the product that an epilogue adds to a value."""
    shifted = tir.shift_left(tir.cast(residual.values, "int16"), RESIDUAL_SHIFT)
    return shifted, tir.splat(residual.factor, tir.dtype_of(value))


def adds_in_any_order(operator: DepthwiseConv2d) -> bool:
    """Tell whether no sum of a layer's epilogue leaves int16, whatever is added first.

    Without a residual there is one sum, which has no order.
    """
    epilogue = operator.epilogue
    if isinstance(epilogue, RequantizeQ15):
        return True
    assert isinstance(epilogue, RequantizeQ15Add)
    qparams = operator.input.qparams
    acc = np.maximum(*np.abs(accumulator_range(operator.weight, operator.bias, qparams.low, qparams.high)))
    product = (acc.astype(np.int64) * epilogue.multiplier >> Q15_SHIFT) + 1
    residual = (-INT8_MIN << RESIDUAL_SHIFT) * epilogue.residual_factor >> Q15_SHIFT
    return bool((product + np.abs(epilogue.offset.astype(np.int64))).max() + residual + 1 <= INT16_MAX)
