"""Depthwise convolutions, any kernel size and stride, accumulated exactly in int16 (Q15 epilogues) or in int32.

Stride 1 treats a row of NHWC pixels as one run of bytes: the tap at column offset d of byte i is byte i + d * pixel,
so a vector may start anywhere and channel counts that are no multiple of the vector waste nothing. The weights repeat
with the least common multiple of pixel and vector; one *phase* is a vector at a fixed place in that period. Down a
column of `rows` output rows each input row is loaded once and used for every output row it touches.

A larger stride keeps one vector of channels and walks over the pixels; there a phase is a chunk of the channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.integer.program import (
    DepthwiseConv2d,
    Requantize,
    RequantizeAdd,
    RequantizeQ15,
    RequantizeQ15Add,
    Tensor,
)
from compile.intrin import InstructionSet
from compile.ir import tir
from compile.ir.memory_plan import AnyOperator
from compile.ir.tir import Expr, Kernel
from compile.schedules.base import Context, KernelFrame, MaybeScheduled, Scheduled, add_scalars, requantize_add
from compile.schedules.int8.q15 import Residual, requantize_q15
from compile.schedules.phases import Phases, flat_phases, phase_runs, pixel_phases, row_tile


def schedule_depthwise(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a depthwise convolution; None for anything else."""
    if not isinstance(operator, DepthwiseConv2d):
        return None
    isa = context.isa
    target = context.place(operator.output)
    if operator.stride == 1:
        phases = flat_phases(isa.lanes8, target)
    else:
        phases = pixel_phases(isa.lanes8, target, isa.product_lanes16)
    rows = row_tile(operator.output.height) if operator.stride == 1 else 1
    writer = _Writer(operator, context, phases, rows)
    return Scheduled(
        function=writer.function(),
        name=depthwise_name(operator, phases, rows, isa),
        offsets=writer.offsets(),
        scalars=writer.scalars(),
        units=-(-operator.output.height // rows),
        constants=pack_phases(operator, phases),
    )


def depthwise_name(operator: DepthwiseConv2d, phases: Phases, rows: int, isa: InstructionSet) -> str:
    """Return e.g. rg_qs8_dwconv3x3s1_q15_r7c16_c120__neon."""
    kernel = operator.weight.shape[1]
    epilogue = {
        Requantize: "", RequantizeAdd: "_add", RequantizeQ15: "_q15", RequantizeQ15Add: "_q15_add"
    }[type(operator.epilogue)]  # fmt: skip
    return (
        f"rg_qs8_dwconv{kernel}x{kernel}s{operator.stride}{epilogue}_r{rows}c{phases.lanes}"
        f"_c{operator.output.channels}__{isa.name}"
    )


def is_int16(operator: DepthwiseConv2d) -> bool:
    """Tell whether the accumulator is int16."""
    return isinstance(operator.epilogue, RequantizeQ15 | RequantizeQ15Add)


def phase_bytes(operator: DepthwiseConv2d, lanes: int) -> int:
    """Return the constants of one phase: start value, multiplier and offset or float multiplier, then the taps."""
    taps = operator.weight.shape[1] * operator.weight.shape[2]
    return lanes * (taps + (6 if is_int16(operator) else 8))


def pack_phases(operator: DepthwiseConv2d, phases: Phases) -> bytes:
    """Return the constants of each phase in the order the kernel reads them; padded channels are zero."""
    epilogue, channels = operator.epilogue, operator.output.channels
    valid = phases.channels < channels
    index = np.minimum(phases.channels, channels - 1)
    parts: list[bytes] = []
    for phase, keep in zip(index, valid, strict=True):
        if isinstance(epilogue, RequantizeQ15 | RequantizeQ15Add):
            columns: list[NDArray[Any]] = [operator.bias.astype(np.int16), epilogue.multiplier, epilogue.offset]
        else:
            assert isinstance(epilogue, Requantize | RequantizeAdd)
            columns = [operator.bias, epilogue.multiplier]
        parts += [np.where(keep, column[phase], 0).astype(column.dtype).tobytes() for column in columns]
        parts.append(np.where(keep, operator.weight[phase].reshape(len(phase), -1).T, 0).astype(np.int8).tobytes())
    return b"".join(parts)


class _Writer:
    """Writes the kernel of one depthwise convolution."""

    def __init__(self, operator: DepthwiseConv2d, context: Context, phases: Phases, rows: int) -> None:
        self.operator, self.isa, self.phases, self.rows = operator, context.isa, phases, rows
        self.kernel_size = operator.weight.shape[1]
        self.source, self.target = context.place(operator.input), context.place(operator.output)
        residual = residual_of(operator)
        self.residual = None if residual is None else context.place(residual)
        self.int16 = is_int16(operator)

    def offsets(self) -> tuple[int, ...]:
        """Return where the tensors of `function` are: input, output, residual."""
        places = [self.source, self.target, self.residual]
        return tuple(place.offset for place in places if place is not None)

    def scalars(self) -> tuple[int, ...]:
        """Return the zero points and the residual's factor; an int16 epilogue has its zero point in the offsets."""
        epilogue = self.operator.epilogue
        if isinstance(epilogue, RequantizeAdd):
            return add_scalars(epilogue)
        if isinstance(epilogue, RequantizeQ15Add):
            return (epilogue.residual_factor,)
        return (epilogue.zero_point,) if isinstance(epilogue, Requantize) else ()

    def function(self) -> Expr:
        """Return the kernel: row tiles, phases, vectors along the row."""
        frame = KernelFrame(self.operator.name, len(self.offsets()), len(self.scalars()))
        self.values = frame.scalars
        kernel = frame.kernel
        self.x, self.y, self.r = frame.tensors[0], frame.tensors[1], frame.tensors[-1]
        self.taps = frame.weights
        self.views = {element: frame.constants(element) for element in ("int16", "int32", "float32")}
        height = self.operator.output.height
        with kernel.loop(frame.end - frame.begin, frame.begin, "unit") as unit:
            row = unit * self.rows
            if height % self.rows:  # the last unit overlaps its neighbour and computes some rows twice
                row = tir.minimum(row, tir.const(height - self.rows))
            for first, step, count in phase_runs(self.phases.starts):
                with kernel.loop(count, name="phase") as number:
                    constants = (first + number) * phase_bytes(self.operator, self.phases.lanes)
                    self._phase(kernel, row, self.phases.starts[first] + number * step, constants)
        return kernel.finish()

    def _phase(self, kernel: Kernel, row: Expr, start: Expr, constants: Expr) -> None:
        """Emit one phase: its constants stay in registers while the vectors along the row are computed."""
        parameters = self._parameters(kernel, constants)
        with kernel.loop(self.phases.count, name="column") as column:
            self._column(kernel, row, start, self.phases.along(column), parameters)

    def _parameters(self, kernel: Kernel, constants: Expr) -> _Parameters:
        lanes = self.phases.lanes

        def load(element: str, at: int) -> Expr:
            width = 2 if element == "int16" else 4
            return kernel.bind(self.views[element].load(tir.floordiv(constants, width) + at, lanes), "constant")

        if self.int16:
            vectors = (load("int16", 0), load("int16", lanes), load("int16", 2 * lanes))
        else:
            vectors = (load("int32", 0), load("float32", lanes), None)
        head = phase_bytes(self.operator, lanes) - lanes * self.kernel_size**2
        weights = [
            kernel.bind(self.taps.load(constants + (head + tap * lanes), lanes), "tap")
            for tap in range(self.kernel_size**2)
        ]
        return _Parameters(*vectors, weights)

    def _column(self, kernel: Kernel, row: Expr, start: Expr, along: Expr, parameters: _Parameters) -> None:
        """Emit `rows` times `pixels` output vectors; each is finished as soon as the last input row it reads is."""
        stride, size, place = self.operator.stride, self.kernel_size, self.source
        first = place.origin - self.operator.padding * (place.pitch + place.pixel)
        base = kernel.bind(row * (stride * place.pitch) + along * stride + start + first, "base")
        outputs = [(y, x) for y in range(self.rows) for x in range(self.phases.pixels)]
        sums = {output: parameters.start for output in outputs}
        taps: dict[tuple[int, int], list[tuple[Expr, Expr]]] = {output: [] for output in outputs}
        for input_row in range((self.rows - 1) * stride + size):
            inputs = [
                self._input(kernel, base + (input_row * place.pitch + column * place.pixel))
                for column in range((self.phases.pixels - 1) * stride + size)
            ]
            for output in outputs:
                kernel_row, left = input_row - output[0] * stride, output[1] * stride
                if 0 <= kernel_row < size:
                    weights = parameters.weights[kernel_row * size : (kernel_row + 1) * size]
                    taps[output] += zip(inputs[left : left + size], weights, strict=True)
                    sums[output] = self._accumulate(kernel, sums[output], taps[output])
                if kernel_row == size - 1:
                    total = self._accumulate(kernel, sums[output], taps[output], last=True)
                    place_y = start + along + output[1] * self.target.pixel
                    self._finish(kernel, row + output[0], place_y, total, parameters)

    def _input(self, kernel: Kernel, at: Expr) -> Expr:
        return kernel.bind(tir.cast(self.x.load(at, self.phases.lanes), "int16"), "x")

    def _accumulate(self, kernel: Kernel, total: Expr, taps: list[tuple[Expr, Expr]], last: bool = False) -> Expr:
        """Add the waiting taps; int32 sums take them in pairs, because two products still fit int16."""
        if self.int16:
            for x, w in taps:
                total = total + x * tir.cast(w, "int16")
            taps.clear()
        while len(taps) >= 2 or (last and taps):
            pair = [x * tir.cast(w, "int16") for x, w in taps[:2]]
            total = total + tir.cast(pair[0] if len(pair) == 1 else pair[0] + pair[1], "int32")
            del taps[:2]
        return kernel.bind(total, "sum")

    def _finish(self, kernel: Kernel, row: Expr, along: Expr, total: Expr, parameters: _Parameters) -> None:
        epilogue = self.operator.epilogue
        if isinstance(epilogue, RequantizeQ15 | RequantizeQ15Add):
            value = self._q15(row, along, total, parameters)
        else:
            value = self._int32(row, along, total, parameters)
        kernel.store(self.y, row * self.target.pitch + along + self.target.origin, value)

    def _q15(self, row: Expr, along: Expr, total: Expr, parameters: _Parameters) -> Expr:
        """Return the epilogue of an int16 accumulator."""
        epilogue = self.operator.epilogue
        assert isinstance(epilogue, RequantizeQ15 | RequantizeQ15Add)
        residual = None if self.residual is None else Residual(self._residual_at(row, along), self.values[0])
        return requantize_q15(self.isa, total, parameters.multiplier, parameters.offset, epilogue, residual)

    def _int32(self, row: Expr, along: Expr, total: Expr, parameters: _Parameters) -> Expr:
        """Return the epilogue of an int32 accumulator, see `calib.integer.qparams.requantize` and `requantize_add`."""
        epilogue = self.operator.epilogue
        width = self.isa.vector_widths(self.phases.lanes)[0]
        acc, scale = tir.split(total, width), tir.split(parameters.multiplier, width)
        if isinstance(epilogue, RequantizeAdd):
            return requantize_add(self.isa, acc, scale, self._residual_at(row, along), epilogue, self.values)
        assert isinstance(epilogue, Requantize)
        return self.isa.requantize(acc, scale, self.values[0], epilogue.low, epilogue.high)

    def _residual_at(self, row: Expr, along: Expr) -> Expr:
        assert self.residual is not None
        return self.r.load(row * self.residual.pitch + along + self.residual.origin, self.phases.lanes)


@dataclass(frozen=True)
class _Parameters:
    """The constants of one phase as vectors."""

    start: Expr
    multiplier: Expr
    offset: Expr
    weights: list[Expr]


def residual_of(operator: DepthwiseConv2d) -> Tensor | None:
    """Return what the epilogue adds, if it adds something."""
    if isinstance(operator.epilogue, RequantizeAdd | RequantizeQ15Add):
        return operator.epilogue.residual
    return None
