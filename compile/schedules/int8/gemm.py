"""Dense convolutions as a matrix product: 1x1, k x k with any stride, and fully connected layers.

    Y[pixel, n] = sum over segments s and bytes k of X[pixel, s, k] * W[n, s, k]

The input is read in place (no im2col): a k x k convolution is k segments of k * channels consecutive bytes. A register
tile of `rows` pixels by `columns` channels is accumulated over the whole reduction, requantized and stored once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calib.integer.program import Conv2d, Requantize, RequantizeAdd, Tensor, ToLogits
from calib.integer.qparams import accumulator_range
from compile.intrin import InstructionSet
from compile.intrin.base import GemmShape, GemmTile, Operand
from compile.ir import tir
from compile.ir.memory_plan import CHANNEL_GROUP, AnyOperator, Placement, round_up
from compile.ir.tir import Expr, Kernel, Pointer
from compile.schedules.base import (
    Context,
    KernelFrame,
    MaybeScheduled,
    Scheduled,
    add_scalars,
    product_fits_int16,
    requantize_add,
    starts_lowest,
)
from compile.schedules.walk import ONLY, Position, Walk, shared, units_of

STEP = 16  # bytes of a pixel the ARM variants load at once
MULTIPLIER_BYTES = BIAS_BYTES = 4  # of each channel: float32, int32


@dataclass(frozen=True)
class Panel:
    """Neighbouring output channels that run with the same tile width; `count` tiles of `columns` channels."""

    first: int  # channel
    columns: int
    count: int
    start: int  # bytes into the operator's constants
    bytes_each: int
    copies: int = 1  # of the bias


def schedule_gemm(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a dense convolution; None for anything else."""
    if not isinstance(operator, Conv2d):
        return None
    source, output = context.place(operator.input), operator.output
    shape = gemm_shape(operator, source)
    channels = round_up(output.channels, CHANNEL_GROUP)
    isa = context.isa.for_product(output.height, output.width, channels, shape)
    pixels = output.height * output.width if isa.gathers_pixels else output.width
    tile = isa.choose_tile(pixels, channels, shape)
    panels = plan_panels(isa, output, tile, shape)
    constants = pack_panels(isa, operator, panels, shape)
    writer = _Writer(operator, context, isa, shape, tile, panels)
    return Scheduled(
        function=writer.function(),
        name=gemm_name(operator, tile, isa),
        offsets=writer.offsets(),
        scalars=writer.scalars(),
        units=units_of(output, output.height * output.width * operator.weight.size),
        constants=constants,
    )


def gemm_shape(operator: Conv2d, source: Placement) -> GemmShape:
    """Return how the convolution reads its input."""
    kernel = operator.weight.shape[1]
    return GemmShape(
        segments=kernel,
        length=kernel * source.pixel,
        segment_stride=source.pitch,
        pixel_stride=operator.stride * source.pixel,
    )


def gemm_name(operator: Conv2d, tile: GemmTile, isa: InstructionSet) -> str:
    """Return e.g. rg_qs8_gemm1x1s1_m7n8_k60n40__dot."""
    kernel, depth = operator.weight.shape[1], operator.weight[0].size
    epilogue = {Requantize: "", RequantizeAdd: "_add", ToLogits: "_f32"}[type(operator.epilogue)]
    return (
        f"rg_qs8_gemm{kernel}x{kernel}s{operator.stride}{epilogue}_m{tile.rows}n{tile.columns}"
        f"_k{depth}n{operator.output.channels}__{isa.name}"
    )


def plan_panels(isa: InstructionSet, output: Tensor, tile: GemmTile, shape: GemmShape) -> tuple[Panel, ...]:
    """Cut the output channels into full tiles and narrower ones; a last group that is not full stands alone."""
    panels: list[Panel] = []
    first = start = 0
    channels, columns = output.channels, tile.columns
    grouped = channels // CHANNEL_GROUP * CHANNEL_GROUP
    while first < channels:
        columns = min(columns, grouped - first) if first < grouped else CHANNEL_GROUP
        count = max(1, (grouped - first) // columns)
        copies = isa.start_copies(columns) if output.width > 1 else 1
        each = parameter_bytes(columns, copies) + isa.packed_bytes(shape, columns)
        panels.append(Panel(first, columns, count, start, each, copies))
        first += count * columns
        start += count * each
    return tuple(panels)


def parameter_bytes(columns: int, copies: int) -> int:
    """Return the bytes of a tile before its weights: the copies of the bias, and the multipliers."""
    return columns * (copies * BIAS_BYTES + MULTIPLIER_BYTES)


def pack_panels(isa: InstructionSet, operator: Conv2d, panels: tuple[Panel, ...], shape: GemmShape) -> bytes:
    """Return the copies of the bias, multipliers and weights of each tile in the order the kernel walks over them."""
    channels = round_up(operator.output.channels, CHANNEL_GROUP)
    weight = padded_weight(operator, shape, channels)
    bias = np.zeros(channels, np.int64)
    bias[: len(operator.bias)] = operator.bias
    bias += isa.bias_correction(weight)
    multiplier = np.zeros(channels, np.float32)
    multiplier[: operator.output.channels] = _multiplier(operator)
    parts = []
    for panel in panels:
        for index in range(panel.count):
            part = slice(panel.first + index * panel.columns, panel.first + (index + 1) * panel.columns)
            parts.append(bias[part].astype(np.int32).tobytes() * panel.copies)
            parts.append(multiplier[part].tobytes())
            parts.append(isa.pack(weight[part], panel.columns))
    return b"".join(parts)


def padded_weight(operator: Conv2d, shape: GemmShape, channels: int) -> NDArray[np.int8]:
    """Return int8 [channels, segments, length]: zeros where a pixel or the output is padded to groups of four."""
    out, height, width, depth = operator.weight.shape
    padded = np.zeros((channels, height, width, shape.length // width), np.int8)
    padded[:out, :, :, :depth] = operator.weight
    return padded.reshape(channels, shape.segments, shape.length)


def _multiplier(operator: Conv2d) -> NDArray[np.float32]:
    if not isinstance(operator.epilogue, Requantize | RequantizeAdd | ToLogits):
        raise TypeError(f"{operator.name}: an int16 epilogue needs a depthwise convolution")
    return operator.epilogue.multiplier


class _Writer:
    """Writes the kernel of one convolution."""

    def __init__(
        self,
        operator: Conv2d,
        context: Context,
        isa: InstructionSet,
        shape: GemmShape,
        tile: GemmTile,
        panels: tuple[Panel, ...],
    ) -> None:
        self.operator, self.isa, self.shape, self.tile, self.panels = operator, isa, shape, tile, panels
        self.source = context.place(operator.input)
        self.logits = isinstance(operator.epilogue, ToLogits)
        self.target = None if self.logits else context.place(operator.output)
        self.fits_int16 = self.from_lowest = False
        if isinstance(operator.epilogue, Requantize):
            largest = np.maximum(*np.abs(accumulator_range(operator.weight, operator.bias)))
            self.fits_int16 = product_fits_int16(largest, operator.epilogue.multiplier)
            self.from_lowest = starts_lowest(operator.epilogue, largest)
        self.residual = None
        if isinstance(operator.epilogue, RequantizeAdd):
            self.residual = context.place(operator.epilogue.residual)

    def offsets(self) -> tuple[int, ...]:
        """Return where the tensors of `function` are: input, then output, then residual."""
        places = [self.source, self.target, self.residual]
        return tuple(place.offset for place in places if place is not None)

    def scalars(self) -> tuple[int, ...]:
        """Return the steps of the reduction, the zero points and the residual's factor."""
        epilogue, steps = self.operator.epilogue, self.shape.length // STEP
        if isinstance(epilogue, RequantizeAdd):
            return steps, *add_scalars(epilogue)
        return (steps, epilogue.zero_point) if isinstance(epilogue, Requantize) else (steps,)

    def function(self) -> tir.Expr:
        """Return the kernel: rows of the image, tiles of a row, panels of channels."""
        frame = KernelFrame(self.operator.name, len(self.offsets()), len(self.scalars()))
        self.steps, *self.values = frame.scalars
        kernel, self.x, self.weights = frame.kernel, frame.tensors[0], frame.weights
        self.y = frame.logits if self.target is None else frame.tensors[1]
        self.r = frame.tensors[-1]
        self.bias, self.multiplier = frame.constants("int32"), frame.constants("float32")
        output = self.operator.output
        walk = Walk(output.height, output.width, self.tile.rows, self.isa.gathers_pixels)
        bounds = (frame.begin, frame.end)
        if output.height * output.width > 1:
            with walk.tiles(kernel, bounds) as positions:
                self._channels(kernel, positions, None)
        else:
            self._channels(kernel, [ONLY], bounds)
        return kernel.finish()

    def _channels(self, kernel: Kernel, positions: list[Position], bounds: tuple[Expr, Expr] | None) -> None:
        """Emit all channels of a tile, or of a map of one pixel those that belong to some units."""
        units = units_of(self.operator.output, self.operator.weight.size)
        operand = self._prepare(kernel, positions)
        for panel in self.panels:
            begin, end = (0, panel.count) if bounds is None else shared(panel.count, bounds, units)
            with kernel.loop(end - begin, begin, name="panel") as number:
                self._tile(kernel, positions, panel, number, operand)

    def _prepare(self, kernel: Kernel, positions: list[Position]) -> Operand:
        place, stride = self.source, self.operator.stride
        origin = place.origin - self.operator.padding * (place.pitch + place.pixel)
        starts = [position.at(place, stride) + origin for position in positions]
        return replace(self.isa.prepare(kernel, self.shape, self.x, starts), whole_steps=self.steps)

    def _tile(self, kernel: Kernel, positions: list[Position], panel: Panel, number: Expr, pixels: Operand) -> None:
        tile = GemmTile(self.tile.rows, panel.columns)
        self._partial = panel.first + panel.count * panel.columns > self.operator.output.channels
        constants = panel.start + number * panel.bytes_each
        channel = panel.first + number * panel.columns
        one = panel.columns * BIAS_BYTES
        starts = [
            self._vectors(kernel, self.bias, constants, pixel % panel.copies * one, panel.columns)
            for pixel in range(tile.rows)
        ]
        weight_start = constants + parameter_bytes(panel.columns, panel.copies)
        acc = self.isa.accumulate(kernel, tile, self.shape, pixels, self.weights, weight_start, starts)
        scale = self._vectors(kernel, self.multiplier, constants, one * panel.copies, panel.columns)
        self._finish(kernel, positions, channel, acc, scale)

    def _vectors(self, kernel: Kernel, pointer: Pointer, constants: Expr, skip: int, columns: int) -> list[Expr]:
        """Load a parameter of `columns` channels, cut as the accumulators are; `skip` is in bytes."""
        vectors, at = [], 0
        for lanes in self.isa.vector_widths(columns):
            index = tir.floordiv(constants, 4) + (skip // 4 + at)
            vectors.append(kernel.bind(pointer.load(index, lanes), "parameter"))
            at += lanes
        return vectors

    def _finish(
        self, kernel: Kernel, positions: list[Position], channel: Expr, acc: list[list[Expr]], scale: list[Expr]
    ) -> None:
        """Turn the accumulators of a tile into what is stored."""
        widths = [tir.split_dtype(tir.dtype_of(a))[1] for a in scale]
        for group in self.isa.store_groups(sum(widths)):
            at = channel + sum(widths[: group.start])
            multiplier = scale[group.start : group.stop]
            parts = [sums[group.start : group.stop] for sums in acc]
            together = self._pixels_together(sum(widths[group.start : group.stop]))
            for first in range(0, len(positions), together):
                several = slice(first, first + together)
                self._store(kernel, positions[several], at, parts[several], multiplier)

    def _pixels_together(self, lanes: int) -> int:
        """Return how many pixels are narrowed together, because `lanes` of one do not fill a register."""
        alone = not isinstance(self.operator.epilogue, Requantize)
        return 1 if alone else max(1, self.isa.narrowed_lanes // lanes)

    def _store(
        self, kernel: Kernel, positions: list[Position], channel: Expr, parts: list[list[Expr]], scale: list[Expr]
    ) -> None:
        """Store the same channels of some pixels; of an odd pixel twice the same ones are computed."""
        if self.target is None:
            self._store_logits(kernel, channel, tir.cast(tir.concat(parts[0]), "float32") * tir.concat(scale))
            return
        width = sum(tir.split_dtype(tir.dtype_of(part))[1] for part in scale)
        parts = (parts * self._pixels_together(width))[: self._pixels_together(width)]
        value = self._requantize(positions[0], channel, [acc for part in parts for acc in part], scale * len(parts))
        pieces = [value] if len(parts) == 1 else tir.words(kernel.bind(value, "pixels"), width)
        for position, piece in zip(positions, pieces, strict=False):
            kernel.store(self.y, position.at(self.target) + self.target.origin + channel, piece)

    def _store_logits(self, kernel: Kernel, channel: Expr, value: Expr) -> None:
        """Store float scores, and of a last group that is not full only the classes there are."""
        classes = self.operator.output.channels
        if not self._partial:
            kernel.store(self.y, channel, value)
            return
        named = kernel.bind(value, "scores")
        for lane in range(classes % CHANNEL_GROUP):
            kernel.store(self.y, channel + lane, tir.shuffle([named], [lane]))

    def _requantize(self, position: Position, channel: Expr, acc: list[Expr], scale: list[Expr]) -> Expr:
        epilogue = self.operator.epilogue
        if isinstance(epilogue, RequantizeAdd):
            lanes = sum(tir.split_dtype(tir.dtype_of(a))[1] for a in acc)
            residual = self._residual_at(position, channel, lanes)
            return requantize_add(self.isa, acc, scale, residual, epilogue, self.values)
        assert isinstance(epilogue, Requantize)
        low, high = epilogue.low, epilogue.high
        return self.isa.requantize(acc, scale, self.values[0], low, high, self.fits_int16, self.from_lowest)

    def _residual_at(self, position: Position, channel: Expr, lanes: int) -> Expr:
        assert self.residual is not None
        place = self.residual
        return self.r.load(position.at(place) + place.origin + channel, lanes)
