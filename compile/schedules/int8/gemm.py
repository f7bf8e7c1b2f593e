"""Dense convolutions as a matrix product: 1x1, k x k with any stride, and fully connected layers; int16 ones, too.

The input is read in place (no im2col): a k x k convolution is k segments of k * channels consecutive bytes. A register
tile of `rows` pixels by `columns` channels is summed over the whole reduction, requantized and stored once, see
`compile.schedules.tiles`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calib.integer.program import Conv2d
from calib.integer.qparams import accumulator_range
from calib.integer.values import Requantize, RequantizeAdd, RequantizeWideAdd, Tensor, ToLogits
from compile.intrin import InstructionSet
from compile.intrin.base import GemmShape, GemmTile, Operand, widest_first
from compile.ir import tir
from compile.ir.memory_plan import CHANNEL_GROUP, AnyOperator, round_up
from compile.ir.tir import Expr, Pointer
from compile.schedules.base import (
    Context,
    KernelFrame,
    MaybeScheduled,
    Scheduled,
    add_scalars,
    kernel_elements,
    layer_types,
    offsets_of,
    product_fits_int16,
    requantize_add,
    starts_lowest,
)
from compile.schedules.int8.pixel_pairs import for_pixels, parted, rows_of_pairs
from compile.schedules.tiles import (
    Panel,
    adjoin,
    gemm_shape,
    pack_panels,
    padded_vector,
    padded_weight,
    plan_panels,
    store_scores,
    window_name,
)
from compile.schedules.walk import FEW_ROWS, ONLY, Position, Walk, most_of_two, shared, units_of
from compile.schedules.wide_epilogue import add_wide, requantize_wide

STEP = 16  # bytes of a pixel the ARM variants load at once
MULTIPLIER_BYTES = BIAS_BYTES = 4  # of each channel: float32, int32


def schedule_gemm(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a dense convolution; None for anything else."""
    if not isinstance(operator, Conv2d):
        return None
    source, output = context.place(operator.input), operator.output
    shape = gemm_shape(operator, source)
    channels = round_up(output.channels, CHANNEL_GROUP)
    if operator.input.qparams.is_wide:
        isa = context.isa.for_wide_product()
    else:
        isa = context.isa.for_product(output.height, output.width, channels, shape)
    pixels = output.height * output.width if isa.gathers_pixels else output.width
    tile, across = isa.choose_tile(pixels, channels, shape), isa.gathers_pixels
    if not across and adjoin(operator, source):
        tile_of_row, tile = tile, isa.tile_of_map(tile, output.height, output.width, channels, shape)
        across = tile != tile_of_row
    panels = int8_panels(isa, output, tile, shape)
    writer = Int8GemmWriter(operator, context, isa, shape, (tile, across), panels)
    return Scheduled(
        function=writer.write(),
        name=gemm_name(operator, tile, isa),
        offsets=writer.offsets,
        scalars=writer.scalars,
        units=units_of(output, operator.macs),
        constants=pack_constants(isa, operator, panels, shape),
        tuning=isa.tuning(shape),
    )


def gemm_name(operator: Conv2d, tile: GemmTile, isa: InstructionSet) -> str:
    """Return e.g. rg_qs8_gemm1x1s1_m7n8_k60n40__dot."""
    depth = operator.weight[0].size
    epilogue = {Requantize: "", RequantizeAdd: "_add", RequantizeWideAdd: "_wadd", ToLogits: "_f32"}[
        type(operator.epilogue)
    ]
    return (
        f"rg_q{layer_types(operator)}_gemm{window_name(operator)}{epilogue}_m{tile.rows}n{tile.columns}"
        f"_k{depth}n{operator.output.channels}__{isa.name}"
    )


def int8_panels(isa: InstructionSet, output: Tensor, tile: GemmTile, shape: GemmShape) -> tuple[Panel, ...]:
    """Return the panels of an output; where it has one pixel, one copy of the bias is enough."""

    def measure(columns: int) -> tuple[int, int]:
        copies = isa.start_copies(columns) if output.width > 1 else 1
        return copies, parameter_bytes(isa, columns, copies) + isa.packed_bytes(shape, columns)

    return plan_panels(output.channels, tile.columns, measure)


def parameter_bytes(isa: InstructionSet, columns: int, copies: int) -> int:
    """Return the bytes of a tile before its weights: the copies of the bias, and the multipliers."""
    return columns * isa.pixels_in_vector * (copies * BIAS_BYTES + MULTIPLIER_BYTES)


def pack_constants(isa: InstructionSet, operator: Conv2d, panels: tuple[Panel, ...], shape: GemmShape) -> bytes:
    """Return the copies of the bias, multipliers and weights of each tile in the order the kernel walks over them."""
    channels = round_up(operator.output.channels, CHANNEL_GROUP)
    weight = padded_weight(operator.weight, shape, channels)
    bias = padded_vector(operator.bias.astype(np.int64), channels) + isa.bias_correction(weight)
    multiplier = padded_vector(_multiplier(operator), channels)

    def pack_tile(panel: Panel, part: slice) -> list[bytes]:
        starts = for_pixels(isa, bias[part].astype(np.int32)) * panel.copies
        return [starts, for_pixels(isa, multiplier[part]), isa.pack(weight[part], panel.columns)]

    return pack_panels(panels, pack_tile)


def _multiplier(operator: Conv2d) -> NDArray[np.float32]:
    if not isinstance(operator.epilogue, Requantize | RequantizeAdd | RequantizeWideAdd | ToLogits):
        raise TypeError(f"{operator.name}: an int16 epilogue needs a depthwise convolution")
    return operator.epilogue.multiplier


class Int8GemmWriter:
    """Writes the kernel of one convolution: everything a method reads is set when the writer is made.

    Where the input is int16, what `GemmShape` calls a byte is an element.
    """

    def __init__(
        self,
        operator: Conv2d,
        context: Context,
        isa: InstructionSet,
        shape: GemmShape,
        tile: tuple[GemmTile, bool],
        panels: tuple[Panel, ...],
    ) -> None:
        self.operator, self.isa, self.shape, self.panels = operator, isa, shape, panels
        self.tile, self.across = tile
        epilogue, steps = operator.epilogue, round_up(shape.length, isa.depth) // STEP
        self.source = context.place(operator.input)
        self.target = None if isinstance(epilogue, ToLogits) else context.place(operator.output)
        residual = epilogue.residual if isinstance(epilogue, RequantizeAdd | RequantizeWideAdd) else None
        self.residual = None if residual is None else context.place(residual)
        self.narrow = operator.output.element == "int8" and not isinstance(epilogue, RequantizeWideAdd)
        self.offsets = offsets_of(self.source, self.target, self.residual)
        # Whole steps of a segment, then what the epilogue needs: zero points and the residual's factor.
        self.scalars: tuple[int, ...] = (steps,)
        self.fits_int16 = self.from_lowest = False
        if isinstance(epilogue, RequantizeAdd):
            self.scalars = (steps, *add_scalars(epilogue))
        elif isinstance(epilogue, Requantize) and self.narrow:
            self.scalars = (steps, epilogue.zero_point)
            bounds = operator.input.qparams.low, operator.input.qparams.high
            largest = np.maximum(*np.abs(accumulator_range(operator.weight, operator.bias, *bounds)))
            self.fits_int16 = product_fits_int16(largest, epilogue.multiplier)
            self.from_lowest = starts_lowest(epilogue, largest)
        # A zero LLVM does not know, see `_tile`.
        self.scalars += (0,)
        elements = kernel_elements(operator, scores=self.target is None)
        self.frame = KernelFrame(operator.name, len(self.offsets), len(self.scalars), elements)
        self.kernel, (self.steps, *self.values, self.zero) = self.frame.kernel, self.frame.scalars
        self.bias, self.multiplier = self.frame.constants("int32"), self.frame.constants("float32")

    def write(self) -> Expr:
        """Return the kernel: rows of the image, tiles of a row, panels of channels."""
        output = self.operator.output
        bounds = (self.frame.begin, self.frame.end)
        walk = Walk(output.height, output.width, self.tile.rows, self.across)
        if output.height * output.width == 1:
            self._channels([ONLY], bounds)
        elif self._shares_channels(walk):
            every = (tir.const(0), tir.const(units_of(output, self.operator.macs)))
            with walk.tiles(self.kernel, every) as positions:
                self._channels(positions, bounds)
        else:
            with walk.tiles(self.kernel, bounds) as positions:
                self._channels(positions, None)
        return self.kernel.finish()

    def _shares_channels(self, walk: Walk) -> bool:
        """Tell whether threads share the channels of a small map, because its tiles of pixels would be shared worse."""
        few = walk.height <= FEW_ROWS and len(self.panels) == 1
        return few and most_of_two(self.panels[0].count) < walk.most_of_two

    def _channels(self, positions: list[Position], bounds: tuple[Expr, Expr] | None) -> None:
        """Emit all channels of a tile of pixels; with `bounds`, the part of the channels that these units compute."""
        units = units_of(self.operator.output, self.operator.macs)
        operand = self._prepare(positions)
        for panel in self.panels:
            begin, end = (0, panel.count) if bounds is None else shared(panel.count, bounds, units)
            with self.kernel.loop(end - begin, begin, name="panel") as number:
                self._tile(positions, panel, number, operand)

    def _prepare(self, positions: list[Position]) -> Operand:
        starts = [position.tap(self.source, self.operator) for position in positions]
        return replace(self.isa.prepare(self.kernel, self.shape, self.frame.tensors[0], starts), whole_steps=self.steps)

    def _tile(self, positions: list[Position], panel: Panel, number: Expr, pixels: Operand) -> None:
        """Emit [rows, segments * length] x [segments * length, columns] -> [rows, columns] and its epilogue."""
        tile = GemmTile(self.tile.rows, panel.columns)
        partial = panel.exceeds(self.operator.output.channels)
        constants = panel.start + number * panel.bytes_each
        alone = len(self.panels) == 1 and self.isa.pixels_in_vector > 1
        if panel.count == 1 and (alone or self.isa.reloads_weights):
            constants = self.kernel.bind(constants + positions[0].column * self.zero, "constants")
        channel = panel.first + number * panel.columns
        lanes = panel.columns * self.isa.pixels_in_vector
        one = lanes * BIAS_BYTES
        starts = [  # [rows, columns], int32
            self._vectors(self.bias, constants, row % panel.copies * one, lanes)
            for row in range(tile.rows // self.isa.pixels_in_vector)
        ]
        weight_start = constants + parameter_bytes(self.isa, panel.columns, panel.copies)
        acc = self.isa.accumulate(self.kernel, tile, self.shape, pixels, self.frame.weights, weight_start, starts)
        # acc: [rows, columns] int32; scale: [columns] float32
        scale = self._vectors(self.multiplier, constants, one * panel.copies, lanes)
        if self.isa.pixels_in_vector == 1:
            self._finish(positions, channel, acc, scale, partial)
        elif self.narrow and isinstance(self.operator.epilogue, Requantize):
            self._finish_pairs(positions, channel, acc, scale)
        else:
            rows = [row for sums in acc for row in rows_of_pairs(sums)]
            self._finish(positions, channel, rows, rows_of_pairs(scale)[0], partial)

    def _vectors(self, pointer: Pointer, constants: Expr, skip: int, count: int) -> list[Expr]:
        """Load a parameter of `count` lanes, cut as the accumulators are; `skip` is in bytes."""
        vectors, at = [], 0
        for lanes in self.isa.vector_widths(count):
            index = tir.floordiv(constants, 4) + (skip // 4 + at)
            vectors.append(self.kernel.bind(pointer.load(index, lanes), "parameter"))
            at += lanes
        return vectors

    def _finish_pairs(self, positions: list[Position], channel: Expr, acc: list[list[Expr]], scale: list[Expr]) -> None:
        """Requantize and store a tile whose vectors hold two channels of two pixels, which are parted as bytes."""
        assert self.target is not None
        at = 0
        for columns in widest_first(2 * len(scale), self.isa.lanes8):
            vectors = slice(at // 2, (at + columns) // 2)
            together = 2 if columns == 4 else 1  # pairs of pixels that fill a register
            for first in range(0, len(acc), together):
                several = (acc[first : first + together] * together)[:together]
                sums = [vector for row in several for vector in row[vectors]]
                value = self._requantize(positions[0], channel, sums, scale[vectors] * together)
                value = self.kernel.bind(value, "pixels")
                for position, piece in zip(positions[2 * first :], parted(value, columns), strict=False):
                    place = position.at(self.target) + self.target.origin + (channel + at)
                    self.kernel.store(self.frame.tensors[1], place, piece)
            at += columns

    def _finish(
        self, positions: list[Position], channel: Expr, acc: list[list[Expr]], scale: list[Expr], partial: bool
    ) -> None:
        """Requantize and store a tile, as many channels and pixels at a time as fill a register of int8."""
        widths = [tir.split_dtype(tir.dtype_of(a))[1] for a in scale]
        for group in self.isa.store_groups(sum(widths)):
            at = channel + sum(widths[: group.start])
            multiplier = scale[group.start : group.stop]
            parts = [sums[group.start : group.stop] for sums in acc]
            together = self._pixels_together(sum(widths[group.start : group.stop]))
            for first in range(0, len(positions), together):
                several = slice(first, first + together)
                self._store(positions[several], at, parts[several], multiplier, partial)

    def _pixels_together(self, lanes: int) -> int:
        """Return how many pixels are narrowed together, because `lanes` of one do not fill a register."""
        alone = not isinstance(self.operator.epilogue, Requantize) or not self.narrow
        return 1 if alone else max(1, self.isa.narrowed_lanes // lanes)

    def _store(
        self, positions: list[Position], channel: Expr, parts: list[list[Expr]], scale: list[Expr], partial: bool
    ) -> None:
        """Store the same channels of several pixels; where fewer than a register holds are left, they are repeated."""
        if self.target is None:
            scores = tir.cast(tir.concat(parts[0]), "float32") * tir.concat(scale)
            store_scores(self.kernel, self.frame.logits, channel, scores, self.operator.output.channels, partial)
            return
        width = sum(tir.split_dtype(tir.dtype_of(part))[1] for part in scale)
        parts = (parts * self._pixels_together(width))[: self._pixels_together(width)]
        value = self._requantize(positions[0], channel, [acc for part in parts for acc in part], scale * len(parts))
        pieces = [value] if len(parts) == 1 else self.isa.pieces(self.kernel.bind(value, "pixels"), width)
        for position, piece in zip(positions, pieces, strict=False):
            self.kernel.store(self.frame.tensors[1], position.at(self.target) + self.target.origin + channel, piece)

    def _requantize(self, position: Position, channel: Expr, acc: list[Expr], scale: list[Expr]) -> Expr:
        epilogue = self.operator.epilogue
        if isinstance(epilogue, RequantizeAdd):
            lanes = sum(tir.split_dtype(tir.dtype_of(a))[1] for a in acc)
            residual = self._residual_at(position, channel, lanes)
            return requantize_add(self.isa, acc, scale, residual, epilogue, self.values)
        if isinstance(epilogue, RequantizeWideAdd):
            lanes = sum(tir.split_dtype(tir.dtype_of(a))[1] for a in acc)
            residual = self._residual_at(position, channel, lanes)
            return add_wide(self.isa, acc, scale, residual, epilogue, self.operator.output.element)
        assert isinstance(epilogue, Requantize)
        if not self.narrow:
            return requantize_wide(self.isa, acc, scale, epilogue, self.operator.output.element)
        low, high = epilogue.low, epilogue.high
        return self.isa.requantize(acc, scale, self.values[0], low, high, self.fits_int16, self.from_lowest)

    def _residual_at(self, position: Position, channel: Expr, lanes: int) -> Expr:
        assert self.residual is not None
        place = self.residual
        return self.frame.tensors[-1].load(position.at(place) + place.origin + channel, lanes)
