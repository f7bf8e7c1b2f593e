"""Float depthwise convolutions, with the phases and row tiles of the integer ones.

Nine or twenty-five products are few enough to be summed in the element that is stored, half precision too.
"""

from __future__ import annotations

import numpy as np

from compile.ir import tir
from compile.ir.float_program import FloatDepthwiseConv2d
from compile.ir.memory_plan import AnyOperator
from compile.ir.tir import Expr, Kernel
from compile.schedules.base import FLOAT_NAMES, Context, KernelFrame, MaybeScheduled, Scheduled
from compile.schedules.phases import Phases, flat_phases, phase_runs, pixel_phases, row_tile


def schedule_float_depthwise(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a float depthwise convolution; None for anything else."""
    if not isinstance(operator, FloatDepthwiseConv2d):
        return None
    target = context.place(operator.output)
    phases = (flat_phases if operator.stride == 1 else pixel_phases)(context.isa.float_lanes, target)
    rows = row_tile(operator.output.height) if operator.stride == 1 else 1
    writer = _Writer(operator, context, phases, rows)
    kernel, add = operator.weight.shape[1], "" if operator.residual is None else "_add"
    return Scheduled(
        function=writer.function(),
        name=(
            f"rg_{FLOAT_NAMES[writer.element]}_dwconv{kernel}x{kernel}s{operator.stride}{add}_r{rows}c{phases.lanes}"
            f"_c{operator.output.channels}__{context.isa.name}"
        ),
        offsets=writer.offsets(),
        units=-(-operator.output.height // rows),
        constants=pack_phases(operator, phases),
    )


def pack_phases(operator: FloatDepthwiseConv2d, phases: Phases) -> bytes:
    """Return bias, then taps, of each phase; padded channels are zero."""
    channels = operator.output.channels
    parts = []
    for phase in phases.channels:
        index, keep = np.minimum(phase, channels - 1), phase < channels
        taps = operator.weight[index].reshape(len(phase), -1).T
        parts += [np.where(keep, operator.bias[index], 0), np.where(keep, taps, 0).reshape(-1)]
    return np.concatenate(parts).astype(operator.output.element).tobytes()


class _Writer:
    """Writes the kernel of one depthwise convolution."""

    def __init__(self, operator: FloatDepthwiseConv2d, context: Context, phases: Phases, rows: int) -> None:
        self.operator, self.isa, self.phases, self.rows = operator, context.isa, phases, rows
        self.size, self.element = operator.weight.shape[1], operator.output.element
        self.source, self.target = context.place(operator.input), context.place(operator.output)
        self.residual = None if operator.residual is None else context.place(operator.residual)

    def offsets(self) -> tuple[int, ...]:
        """Return where input, output and residual are."""
        places = [self.source, self.target, self.residual]
        return tuple(place.offset for place in places if place is not None)

    def function(self) -> Expr:
        """Return the kernel: row tiles, phases, vectors along the row."""
        frame = KernelFrame(self.operator.name, len(self.offsets()), element=self.element)
        kernel, height = frame.kernel, self.operator.output.height
        self.x, self.y, self.r = frame.tensors[0], frame.tensors[1], frame.tensors[-1]
        constants = frame.constants(self.element)
        lanes, taps = self.phases.lanes, self.size**2
        with kernel.loop(frame.end - frame.begin, frame.begin, "unit") as unit:
            row = unit * self.rows
            if height % self.rows:
                row = tir.minimum(row, tir.const(height - self.rows))
            for first, step, count in phase_runs(self.phases.starts):
                with kernel.loop(count, name="phase") as number:
                    at = (first + number) * (lanes * (taps + 1))
                    vectors = [
                        kernel.bind(constants.load(at + index * lanes, lanes), "constant") for index in range(taps + 1)
                    ]
                    start = self.phases.starts[first] + number * step
                    with kernel.loop(self.phases.count, name="column") as column:
                        self._column(kernel, row, start, self.phases.along(column), vectors[0], vectors[1:])
        return kernel.finish()

    def _column(self, kernel: Kernel, row: Expr, start: Expr, along: Expr, bias: Expr, taps: list[Expr]) -> None:
        """Emit `rows` times `pixels` output vectors; each input vector is loaded once."""
        stride, size, place = self.operator.stride, self.size, self.source
        first = place.origin - self.operator.padding * (place.pitch + place.pixel)
        base = kernel.bind(row * (stride * place.pitch) + along * stride + start + first, "base")
        sums = {(y, x): bias for y in range(self.rows) for x in range(self.phases.pixels)}
        for input_row in range((self.rows - 1) * stride + size):
            inputs = [
                kernel.bind(self.x.load(base + (input_row * place.pitch + d * place.pixel), self.phases.lanes), "x")
                for d in range((self.phases.pixels - 1) * stride + size)
            ]
            for (y, x), total in sums.items():
                kernel_row = input_row - y * stride
                if 0 <= kernel_row < size:
                    row_taps = taps[kernel_row * size : (kernel_row + 1) * size]
                    for value, tap in zip(inputs[x * stride : x * stride + size], row_taps, strict=True):
                        total = total + value * tap
                    sums[y, x] = kernel.bind(total, "sum")
                if kernel_row == size - 1:
                    self._finish(kernel, row + y, start + along + x * self.target.pixel, sums[y, x])

    def _finish(self, kernel: Kernel, row: Expr, along: Expr, value: Expr) -> None:
        if self.residual is not None:
            place = self.residual
            value = value + self.r.load(row * place.pitch + along + place.origin, self.phases.lanes)
        if self.operator.relu:
            value = tir.maximum(value, tir.splat(0.0, tir.dtype_of(value)))
        kernel.store(self.y, row * self.target.pitch + along + self.target.origin, value)
