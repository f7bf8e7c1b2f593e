"""Float depthwise convolutions, with the phases and row tiles of the integer ones.

Nine or twenty-five products are few enough to be summed in the element that is stored, half precision too. Of larger
kernels float32 adds up the rows.
"""

from __future__ import annotations

from math import prod

from compile.ir import tir
from compile.ir.float_program import FloatDepthwiseConv2d
from compile.ir.memory_plan import AnyOperator
from compile.ir.tir import Expr
from compile.schedules.base import FLOAT_NAMES, Context, MaybeScheduled, Scheduled, clamp_floats
from compile.schedules.depthwise_tile import DepthwiseWriter, Parameters, Tap, pack_phases
from compile.schedules.phases import Phases, flat_phases, pixel_phases, row_tile
from compile.schedules.tiles import window_name


def schedule_float_depthwise(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a float depthwise convolution; None for anything else."""
    if not isinstance(operator, FloatDepthwiseConv2d):
        return None
    target = context.place(operator.output)
    phases = (flat_phases if operator.strides[1] == 1 else pixel_phases)(context.isa.float_lanes, target)
    rows = row_tile(operator.output.height, prod(operator.kernel)) if operator.strides == (1, 1) else 1
    writer = FloatDepthwiseWriter(operator, context, phases, rows)
    element = operator.output.element
    add = "" if operator.residual is None else "_add"
    return Scheduled(
        function=writer.write(),
        name=(
            f"rg_{FLOAT_NAMES[element]}_dwconv{window_name(operator)}{add}_r{rows}c{phases.lanes}"
            f"_c{operator.output.channels}__{context.isa.name}"
        ),
        offsets=writer.offsets,
        units=writer.units,
        constants=pack_phases(phases, [operator.bias.astype(element)], operator.weight.astype(element)),
    )


MOST_PRODUCTS = 25  # summed in float16


class FloatDepthwiseWriter(DepthwiseWriter[Parameters]):
    """Writes the kernel of one float depthwise convolution."""

    def __init__(self, operator: FloatDepthwiseConv2d, context: Context, phases: Phases, rows: int) -> None:
        super().__init__(operator, context, phases, rows, operator.residual)
        self.clamp, self.element = operator.clamp, operator.output.element
        self.constants = self.frame.constants(self.element)
        self.is_cut = self.element == "float16" and prod(self.taps) > MOST_PRODUCTS

    def parameters(self, phase: Expr) -> Parameters:
        """Load bias, then taps, of a phase."""
        lanes, vectors = self.phases.lanes, prod(self.taps) + 1
        at = phase * (lanes * vectors)
        bias, *taps = (
            self.kernel.bind(self.constants.load(at + index * lanes, lanes), "constant") for index in range(vectors)
        )
        return Parameters(tir.cast(bias, "float32") if self.is_cut else bias, taps)

    def accumulate(self, total: Expr, taps: list[Tap], last: bool) -> Expr:
        """Add the products of the waiting taps."""
        if not taps:
            return total
        if self.is_cut:
            row = sum((value * tap for value, tap in taps[1:]), start=taps[0][0] * taps[0][1])
            total = total + tir.cast(row, "float32")
        else:
            for value, tap in taps:
                total = total + value * tap
        taps.clear()
        return self.kernel.bind(total, "sum")

    def finish(self, total: Expr, residual: Expr | None, parameters: Parameters) -> Expr:
        """Return the sum with its residual, clamped."""
        total = tir.cast(total, self.element) if self.is_cut else total
        return clamp_floats(total if residual is None else total + residual, self.clamp)
