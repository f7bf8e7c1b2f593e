"""What depthwise convolutions of integers and of floats share: constants by phase, tiles of rows, one load per input.

Stride 1 treats a row of NHWC pixels as one run of elements: the tap at column offset d of element i is element
i + d * pixel, so a vector may start anywhere, and channel counts that are no multiple of the vector waste nothing.
The weights repeat with the least common multiple of pixel and vector; a *phase* is a vector at a fixed place in that
period. Down a column of `rows` output rows each input row is loaded once and used for every output row it touches.

A larger stride keeps one vector of channels and walks over the pixels; there a phase is a chunk of the channels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from calib.integer.operation import dilated
from calib.integer.program import DepthwiseConv2d
from compile.ir import tir
from compile.ir.float_program import FloatDepthwiseConv2d
from compile.ir.memory_plan import AnyTensor
from compile.ir.tir import Expr
from compile.schedules.base import Context, KernelFrame, kernel_elements, offsets_of
from compile.schedules.phases import Phases, phase_runs
from compile.schedules.walk import depthwise_units, shared

Tap = tuple[Expr, Expr]  # an input vector and the weights it is multiplied by


@dataclass(frozen=True)
class Parameters:
    """The constants of one phase as vectors, one lane per channel."""

    start: Expr  # where each sum begins: the bias
    weights: list[Expr]  # [kernel row * kernel width + kernel column]


P = TypeVar("P", bound=Parameters)


@contextmanager
def row_tiles(frame: KernelFrame, height: int, rows: int, unit: int | None = None) -> Iterator[Expr]:
    """Open the loop over the rows of some units, `rows` output rows at a time; yields the first of them.

    Where `rows` does not divide the height, the last rows overlap their neighbours and are computed twice.

    Args:
        frame: of the kernel.
        height: of the output; at least `rows`.
        rows: that are computed together.
        unit: rows of a unit, where it has fewer.
    """
    begin, end = frame.begin, frame.end
    if unit is not None:
        with frame.kernel.loop(tir.floordiv((end - begin) * unit + (rows - 1), rows), name="rows") as number:
            row = tir.minimum(begin * unit + number * rows, end * unit - rows)
            yield frame.kernel.bind(tir.maximum(row, tir.const(0)), "row")
        return
    with frame.kernel.loop(end - begin, begin, "unit") as number:
        row = number * rows
        if height % rows:
            row = tir.minimum(row, tir.const(height - rows))
        yield row


def pack_phases(phases: Phases, vectors: Sequence[NDArray[Any]], weight: NDArray[Any]) -> bytes:
    """Return the constants of each phase in the order the kernel reads them; padded channels are zero.

    Args:
        phases: which channel each lane of a phase holds.
        vectors: one value per channel each: the bias, and what else comes before the taps.
        weight: [C, kh, kw]; stored as [kh * kw, lanes] for each phase.
    """
    channels = len(weight)
    parts: list[bytes] = []
    for phase in phases.channels:
        index, keep = np.minimum(phase, channels - 1), phase < channels
        parts += [np.where(keep, vector[index], 0).astype(vector.dtype).tobytes() for vector in vectors]
        taps = weight[index].reshape(len(phase), -1).T  # [lanes, kh, kw] -> [kh * kw, lanes]
        parts.append(np.where(keep, taps, 0).astype(weight.dtype).tobytes())
    return b"".join(parts)


class DepthwiseWriter(ABC, Generic[P]):
    """Writes the kernel of one depthwise convolution; everything a method reads is set when the writer is made."""

    def __init__(
        self,
        operator: DepthwiseConv2d | FloatDepthwiseConv2d,
        context: Context,
        phases: Phases,
        rows: int,
        residual: AnyTensor | None,
        scalars: tuple[int, ...] = (),
        unit: int | None = None,
    ) -> None:
        self.isa, self.phases, self.rows, self.unit = context.isa, phases, rows, unit
        self.taps, self.strides, self.dilations = operator.kernel, operator.strides, operator.dilations
        self.pads = operator.pads
        self.height = operator.output.height
        self.units = depthwise_units(operator.output, unit or rows)
        self.source, self.target = context.place(operator.input), context.place(operator.output)
        self.residual = None if residual is None else context.place(residual)
        self.offsets = offsets_of(self.source, self.target, self.residual)
        self.scalars = scalars
        self.frame = KernelFrame(operator.name, len(self.offsets), len(scalars), kernel_elements(operator))
        self.kernel = self.frame.kernel

    def write(self) -> Expr:
        """Return the kernel: row tiles, phases, vectors along the row."""
        low = self.height <= self.rows  # threads share the phases, if anything
        bounds = (self.frame.begin, self.frame.end)
        with nullcontext(tir.const(0)) if low else row_tiles(self.frame, self.height, self.rows, self.unit) as row:
            for first, step, count in phase_runs(self.phases.starts):
                begin, end = shared(count, bounds, self.units) if low else (0, count)
                with self.kernel.loop(end - begin, begin, name="phase") as number:
                    # The constants of a phase stay in registers while the vectors along the row are computed.
                    parameters = self.parameters(first + number)
                    start = self.phases.starts[first] + number * step
                    with self.kernel.loop(self.phases.count, name="column") as column:
                        self._column(row, start, self.phases.along(column), parameters)
        return self.kernel.finish()

    def _column(self, row: Expr, start: Expr, along: Expr, parameters: P) -> None:
        """Emit `rows` times `pixels` output vectors; each is finished as soon as the last input row it reads is.

        Where the core starts instructions as they stand, it is stored after the next input row is loaded: LLVM takes
        no load across a store.

        Inputs: [(rows - 1) * stride + reach, (pixels - 1) * stride + reach] vectors, each loaded once, where a kernel
        reaches over `reach` pixels; those between the taps of a dilated kernel are left out.
        """
        (down, across), (height, width), (apart, beside) = self.strides, self.taps, self.dilations
        place = self.source
        first = place.origin - self.pads[0] * place.pitch - self.pads[1] * place.pixel
        base = self.kernel.bind(row * (down * place.pitch) + along * across + start + first, "base")
        outputs = [(y, x) for y in range(self.rows) for x in range(self.phases.pixels)]
        sums = {output: parameters.start for output in outputs}
        taps: dict[tuple[int, int], list[Tap]] = {output: [] for output in outputs}
        done: list[tuple[int, int]] = []
        columns = sorted({x * across + tap * beside for x in range(self.phases.pixels) for tap in range(width)})
        for input_row in range((self.rows - 1) * down + dilated(height, apart)):
            kernel_rows = [divmod(input_row - y * down, apart) for y in range(self.rows)]
            inputs = {
                column: self.kernel.bind(self.load(base + (input_row * place.pitch + column * place.pixel)), "x")
                for column in (columns if any(0 <= tap < height and not rest for tap, rest in kernel_rows) else ())
            }
            self._store_all(row, start + along, {output: sums[output] for output in done}, parameters)
            done = []
            for y, x in outputs:
                kernel_row, rest = kernel_rows[y]
                if rest or not 0 <= kernel_row < height:
                    continue
                weights = parameters.weights[kernel_row * width : (kernel_row + 1) * width]
                taps[y, x] += zip((inputs[x * across + tap * beside] for tap in range(width)), weights, strict=True)
                sums[y, x] = self.accumulate(sums[y, x], taps[y, x], last=False)
                if kernel_row == height - 1:
                    sums[y, x] = self.accumulate(sums[y, x], taps[y, x], last=True)
                    done.append((y, x))
            if not self.isa.in_order:
                self._store_all(row, start + along, {output: sums[output] for output in done}, parameters)
                done = []
        self._store_all(row, start + along, {output: sums[output] for output in done}, parameters)

    def _store_all(self, row: Expr, along: Expr, sums: dict[tuple[int, int], Expr], parameters: P) -> None:
        """Store outputs by their row and pixel, all residuals loaded before."""
        places = {(y, x): (row + y, along + x * self.target.pixel) for y, x in sums}
        residuals: dict[tuple[int, int], Expr | None] = dict.fromkeys(sums)
        if self.residual is not None:
            for output, (line, at) in places.items():
                place = line * self.residual.pitch + at + self.residual.origin
                residuals[output] = self.kernel.bind(self.frame.tensors[-1].load(place, self.phases.lanes), "added")
        for output, (line, at) in places.items():
            value = self.finish(sums[output], residuals[output], parameters)
            self.kernel.store(self.frame.tensors[1], line * self.target.pitch + at + self.target.origin, value)

    @abstractmethod
    def parameters(self, phase: Expr) -> P:
        """Load the constants of a phase."""

    def load(self, at: Expr) -> Expr:
        """Return an input vector in the type it is multiplied in."""
        return self.frame.tensors[0].load(at, self.phases.lanes)

    @abstractmethod
    def accumulate(self, total: Expr, taps: list[Tap], last: bool) -> Expr:
        """Return a sum with the products of waiting taps, which are removed; with `last` none may be left waiting."""

    @abstractmethod
    def finish(self, total: Expr, residual: Expr | None, parameters: P) -> Expr:
        """Return what is stored for a sum: the epilogue."""
