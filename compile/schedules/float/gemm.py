"""Dense float convolutions as a matrix product, with the tiles and panels of the integer ones.

In half precision a long sum is cut into runs: each is added up in float16, and float32 adds up the runs.
"""

from __future__ import annotations

from compile.intrin.base import GemmShape, GemmTile, widest_first
from compile.ir import tir
from compile.ir.float_program import FloatConv2d
from compile.ir.memory_plan import CHANNEL_GROUP, AnyOperator, round_up
from compile.ir.tir import Expr, Kernel
from compile.schedules.base import (
    ELEMENT_BYTES,
    FLOAT_NAMES,
    Context,
    KernelFrame,
    MaybeScheduled,
    Scheduled,
    clamp_floats,
    offsets_of,
)
from compile.schedules.float.panels import Parts, choose_tile, float_shape, is_cut, pack_constants, runs, split_groups
from compile.schedules.tiles import Panel, bytes_of, plan_panels, store_scores, window_name
from compile.schedules.walk import ONLY, Position, Walk, shared, units_of


def schedule_float_gemm(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a dense float convolution; None for anything else."""
    if not isinstance(operator, FloatConv2d):
        return None
    output, isa = operator.output, context.isa
    parts = split_groups(operator, isa)
    shape = float_shape(operator, context.place(operator.input), parts)
    pixels = output.height * output.width if isa.gathers_pixels else output.width
    tile = choose_tile(isa, pixels, round_up(parts.outputs, CHANNEL_GROUP), shape)
    per_column = ELEMENT_BYTES[output.element] * (1 + shape.segments * shape.length)  # a bias, and weights
    panels = plan_panels(parts.outputs, tile.columns, lambda columns: (1, per_column * columns))
    writer = FloatGemmWriter(operator, context, shape, tile, panels, parts)
    form = ("" if parts.count == 1 else f"g{parts.count}") + ("" if operator.residual is None else "_add")
    return Scheduled(
        function=writer.write(),
        name=(
            f"rg_{FLOAT_NAMES[output.element]}_gemm{window_name(operator)}{form}_m{tile.rows}n{tile.columns}"
            f"_k{operator.weight[0].size}n{output.channels}__{isa.name}"
        ),
        offsets=writer.offsets,
        units=units_of(output, operator.macs),
        constants=pack_constants(operator, panels, shape, parts),
    )


class FloatGemmWriter:
    """Writes the kernel of one convolution: everything a method reads is set when the writer is made."""

    def __init__(
        self,
        operator: FloatConv2d,
        context: Context,
        shape: GemmShape,
        tile: GemmTile,
        panels: tuple[Panel, ...],
        parts: Parts,
    ) -> None:
        self.operator, self.isa, self.shape, self.tile, self.panels = operator, context.isa, shape, tile, panels
        self.parts = parts
        self.source = context.place(operator.input)
        self.target = None if operator.logits else context.place(operator.output)
        self.element = operator.output.element
        self.residual = None if operator.residual is None else context.place(operator.residual)
        self.offsets = offsets_of(self.source, self.target, self.residual)
        self.frame = KernelFrame(operator.name, len(self.offsets), element=self.element)
        self.kernel, self.x = self.frame.kernel, self.frame.tensors[0]
        self.constants = self.frame.constants(self.element)

    def write(self) -> Expr:
        """Return the kernel: rows of the image, tiles of a row, panels of channels."""
        output = self.operator.output
        walk = Walk(output.height, output.width, self.tile.rows, self.isa.gathers_pixels)
        kernel, bounds = self.kernel, (self.frame.begin, self.frame.end)
        if output.height * output.width == 1:
            units = units_of(output, self.operator.macs)
            for panel in self.panels:
                begin, end = shared(panel.count, bounds, units)
                with (
                    kernel.loop(self.parts.count, name="part") as part,
                    kernel.loop(end - begin, begin, name="panel") as number,
                ):
                    self._tile([ONLY], panel, number, part)
        elif self._weights_first():
            for panel in self.panels:
                with (
                    kernel.loop(self.parts.count, name="part") as part,
                    kernel.loop(panel.count, name="panel") as number,
                    walk.tiles(kernel, bounds) as positions,
                ):
                    self._tile(positions, panel, number, part)
        else:
            with walk.tiles(kernel, bounds) as positions, kernel.loop(self.parts.count, name="part") as part:
                for panel in self.panels:
                    with kernel.loop(panel.count, name="panel") as number:
                        self._tile(positions, panel, number, part)
        return kernel.finish()

    def _weights_first(self) -> bool:
        """Tell whether the loop over panels is the outer one, so that a panel's weights stay in a cache.

        The inner operand is read once for each round of the outer loop: the input for each panel, or all weights for
        each tile of pixels. The smaller sum wins.
        """
        output = self.operator.output
        tiles = -(-output.height * output.width // self.tile.rows)
        weights = bytes_of(self.panels) * self.parts.count
        rounds = sum(panel.count for panel in self.panels) * self.parts.count
        return self.isa.gathers_pixels and rounds * self.source.size < tiles * weights

    def _tile(self, positions: list[Position], panel: Panel, number: Expr, part: Expr) -> None:
        widths, element_bytes = widest_first(panel.columns, self.isa.float_lanes), ELEMENT_BYTES[self.element]
        constants = tir.floordiv(panel.start, element_bytes) + number * (panel.bytes_each // element_bytes)
        constants = constants + part * (bytes_of(self.panels) // element_bytes)
        at, biases = 0, []
        for width in widths:
            biases.append(self.kernel.bind(self.constants.load(constants + at, width), "bias"))
            at += width
        starts = [position.tap(self.source, self.operator) + part * self.parts.inputs for position in positions]
        sums = self._accumulate(starts, constants + panel.columns, widths, biases)
        partial = panel.exceeds(self.parts.outputs)
        for position, cells in zip(positions, sums, strict=True):
            channel = panel.first + number * panel.columns + part * self.parts.outputs
            for cell, width in zip(cells, widths, strict=True):
                self._finish(position, channel, cell.load(0), partial)
                channel = channel + width

    def _accumulate(
        self, starts: list[Expr], weights: Expr, widths: list[int], biases: list[Expr]
    ) -> list[list[tir.Pointer]]:
        """Emit the sums of a tile and return them by pixel and vector: in float32 where they are cut into runs."""
        columns, cut = sum(widths), is_cut(self.isa, self.shape)
        if self.isa.gathers_pixels:
            starts = [self.kernel.bind(start, "start") for start in starts]
        acc = [[self.kernel.local(1, f"{self.element}x{width}") for width in widths] for _ in starts]
        sums = [[self.kernel.local(1, f"float32x{width}") for width in widths] for _ in starts] if cut else acc
        for cells in sums:
            for cell, bias in zip(cells, biases, strict=True):
                self.kernel.store(cell, 0, tir.cast(bias, "float32") if cut else bias)
        # [rows, segments * length] x [segments * length, columns] -> [rows, columns]
        with self.kernel.loop(self.shape.segments, name="segment") as segment:
            for first, length, count in runs(self.isa, self.shape):
                with self.kernel.loop(count, name="run") as number:
                    along = first + number * length
                    at = [start + self.shape.offset_of(segment) + along for start in starts]
                    weight_at = weights + (segment * self.shape.length + along) * columns
                    if cut:
                        _clear(self.kernel, acc)
                    self._run(at, weight_at, length, widths, acc)
                    if cut:
                        _add_up(self.kernel, sums, acc)
        return sums

    def _run(
        self,
        at: list[Expr],
        weight_at: Expr,
        length: int,
        widths: list[int],
        acc: list[list[tir.Pointer]],
    ) -> None:
        """Emit [pixels, length] x [length, columns] -> [pixels, columns] for `length` neighbouring input channels."""
        step, columns = self.isa.float_step, sum(widths)
        whole, rest = divmod(length, step)
        if whole:
            with self.kernel.loop(whole, name="k") as k:
                here = [start + k * step for start in at]
                if step == 1:
                    self._step_repeated(here, weight_at + k * columns, widths, acc)
                else:
                    self._step_by_lane(here, weight_at + k * (step * columns), step, widths, acc)
        if rest:
            here = [start + whole * step for start in at]
            self._step_by_lane(here, weight_at + whole * step * columns, rest, widths, acc)

    def _step_repeated(self, at: list[Expr], weight_at: Expr, widths: list[int], acc: list[list[tir.Pointer]]) -> None:
        """Emit [pixels, 1] x [1, columns]: the weights are loaded first, and each pixel is repeated by its load."""
        vectors = [
            self.kernel.bind(self.constants.load(weight_at + sum(widths[:column]), width), "weight")
            for column, width in enumerate(widths)
        ]
        for cells, start in zip(acc, at, strict=True):
            pixel = self.kernel.bind(self.x.load(start), "pixel")
            for cell, weight, width in zip(cells, vectors, widths, strict=True):
                self.kernel.store(cell, 0, cell.load(0) + tir.splat(pixel, f"{self.element}x{width}") * weight)

    def _step_by_lane(
        self,
        at: list[Expr],
        weight_at: Expr,
        step: int,
        widths: list[int],
        acc: list[list[tir.Pointer]],
    ) -> None:
        """Emit [pixels, step] x [step, columns]: `step` channels of each pixel are loaded and used lane by lane."""
        loaded = [self.kernel.bind(self.x.load(start, step), "pixel") for start in at]
        for lane in range(step):
            for column, width in enumerate(widths):
                where = weight_at + lane * sum(widths) + sum(widths[:column])
                weight = self.kernel.bind(self.constants.load(where, width), "weight")
                for cells, pixel in zip(acc, loaded, strict=True):
                    product = tir.splat(tir.shuffle([pixel], [lane]), f"{self.element}x{width}") * weight
                    self.kernel.store(cells[column], 0, cells[column].load(0) + product)

    def _finish(self, position: Position, channel: Expr, value: Expr, partial: bool) -> None:
        value = tir.cast(value, "float32" if self.target is None else self.element)
        if self.residual is not None:
            at = position.at(self.residual) + self.residual.origin + channel
            other = self.frame.tensors[2].load(at, tir.split_dtype(tir.dtype_of(value))[1])
            value = value + other
        value = clamp_floats(value, self.operator.clamp)
        if self.target is None:
            store_scores(self.kernel, self.frame.logits, channel, value, self.operator.output.channels, partial)
            return
        address = position.at(self.target) + self.target.origin + channel
        self.kernel.store(self.frame.tensors[1], address, value)


def _clear(kernel: Kernel, acc: list[list[tir.Pointer]]) -> None:
    for cells in acc:
        for cell in cells:
            kernel.store(cell, 0, tir.splat(0.0, cell.element))


def _add_up(kernel: Kernel, sums: list[list[tir.Pointer]], acc: list[list[tir.Pointer]]) -> None:
    """Add the sum of a run, widened to float32."""
    for wide, narrow in zip(sums, acc, strict=True):
        for total, cell in zip(wide, narrow, strict=True):
            kernel.store(total, 0, total.load(0) + tir.cast(cell.load(0), "float32"))
