"""The epilogues of an int16 accumulator as vectors, see `requantize_q15` of `calib.integer.qparams`."""

from __future__ import annotations

from dataclasses import dataclass

from calib.integer.qparams import Q15_ADD_SHIFT, RESIDUAL_SHIFT
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
) -> Expr:
    """Return one int8 vector.

    Args:
        isa: the instruction set.
        total: int16 sums.
        multiplier: int16, M of each lane.
        offset: int16, o of each lane.
        epilogue: gives the bounds.
        residual: of an epilogue with an add.
    """
    value = isa.multiply_q15(total, multiplier)
    if residual is None:
        value = isa.narrow_to_int8(isa.add_saturating(value, offset))
    else:
        shifted = tir.shift_left(tir.cast(residual.values, "int16"), RESIDUAL_SHIFT)
        factor = tir.splat(residual.factor, tir.dtype_of(value))
        value = isa.add_product_q15(value, shifted, factor)
        value = isa.shift_and_narrow(isa.add_saturating(value, offset), Q15_ADD_SHIFT)
    return isa.clamp_int8(value, epilogue.low, epilogue.high)
