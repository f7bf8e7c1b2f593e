"""3x3 depthwise convolutions of stride 1 by sdot, which two units of a core run where one multiplies otherwise.

WebAssembly's relaxed dot product takes fewer instructions than int16 wherever it is exact.

Four neighbouring rows of a column, eight channels each, are interleaved so that the four bytes of a channel lie
together. Such a block serves two output rows, whose weights are shifted by one byte, and three output columns:

    bytes of a channel      x0  x1  x2  x3
    first output row        w0  w1  w2   0
    second output row        0  w0  w1  w2

So two rows are walked along together, and each column is loaded once. The constants are those of
`compile.schedules.int8.depthwise`, so that all variants of a bundle read one copy. The sums are int32 here; they fit
int16 by the contract of their epilogue, so their low halves are what it expects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from calib.integer.program import DepthwiseConv2d
from calib.integer.values import RequantizeQ15, RequantizeQ15Add
from compile.ir import tir
from compile.ir.memory_plan import ALIGNMENT, AnyOperator, TensorPlace
from compile.ir.tir import Expr, Kernel, Pointer
from compile.schedules.base import Context, KernelFrame, MaybeScheduled, Scheduled, offsets_of
from compile.schedules.int8.depthwise import is_int16, pack_constants, phase_bytes, residual_of
from compile.schedules.int8.q15 import Residual, adds_in_any_order, requantize_q15
from compile.schedules.phases import Phases, flat_phases, row_tile
from compile.schedules.walk import Bounds, depthwise_units, shared

SIZE = 3  # taps of a row
ROWS = 2  # output rows that share a block
REACH = SIZE + ROWS - 1  # rows of a block, as many as sdot multiplies
CHANNELS = 8  # of a block: six weights of four channels each, twice, leave registers for three blocks and their sums
LANES = 16  # of the phases whose constants are read
QUADS = CHANNELS // 4
STARTS = ROWS + 1  # pairs of vectors that two outputs begin with: the starts of each one's sums, and the offsets
COLUMNS = 2 * SIZE  # written one after the other: each block has one of three places
STRIP_BYTES = 24 << 10  # of input that all channels are computed from before the next rows: most of a level-1 cache
CONSTANTS_COST = 80  # instructions that load and arrange the constants of a block, for each strip
ROW_COST = 26  # instructions around two rows: their first two blocks, and addresses
ZIP_LOW, ZIP_HIGH = [0, 8, 1, 9, 2, 10, 3, 11], [4, 12, 5, 13, 6, 14, 7, 15]  # of two vectors of eight
ZIP = [*ZIP_LOW, *ZIP_HIGH]


def schedule_depthwise_dot(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a depthwise convolution by sdot; None for what has another shape, or where that is no faster."""
    if not isinstance(operator, DepthwiseConv2d) or not context.isa.has_dot_product:
        return None
    if operator.kernel != (SIZE, SIZE) or not operator.strides == operator.dilations == (1, 1):
        return None
    if not is_int16(operator):
        return None
    target = context.place(operator.output)
    phases = flat_phases(context.isa.lanes8, target)
    if operator.output.height < ROWS or target.pixel < CHANNELS or phases.lanes != LANES:
        return None
    if not context.isa.dot_always_pays and not pays(operator, context.place(operator.input), target, phases):
        return None
    writer = DepthwiseDotWriter(operator, context, phases)
    return Scheduled(
        function=writer.write(),
        name=f"rg_qs8_dwconv3x3s1_q15{'_add' * (writer.residual is not None)}_r{ROWS}c{CHANNELS}x{SIZE}"
        f"_c{operator.output.channels}__{context.isa.name}",
        offsets=writer.offsets,
        scalars=writer.scalars,
        units=depthwise_units(operator.output, writer.unit),
        constants=pack_constants(operator, phases),
        tuning=context.isa.tuning(),
    )


def strip_rows(source: TensorPlace) -> int:
    """Return how many output rows are computed before the next: an even number.

    The lines of a cache that hold a block of channels hold the next blocks, too.
    """
    lines = source.pitch // source.pixel * min(source.pixel, ALIGNMENT)  # bytes of a row
    return max(ROWS, (STRIP_BYTES // lines - (SIZE - 1)) // ROWS * ROWS)


def pays(operator: DepthwiseConv2d, source: TensorPlace, target: TensorPlace, phases: Phases) -> bool:
    """Tell whether sdot saves more cycles on a core with one multiplier than it takes instructions on top.

    That core (Cortex-A76 and the like) has two vector units, one of which multiplies, while both run sdot.
    """
    height, residual = operator.output.height, residual_of(operator) is not None
    vectors = len(phases.starts) * phases.count * height
    # Sixteen outputs: two multiplies for each tap and the requantization, and the residual.
    multiplies = vectors * (2 * SIZE**2 + 2 + 2 * residual)
    instructions = vectors * (31 + 7 * residual)
    # Sixteen outputs again: four loads and zips, six sdot for each of the two rows.
    groups, pairs = -(-target.pixel // CHANNELS), -(-height // ROWS)
    outputs = groups * pairs * operator.output.width
    vector_work = outputs * (22 + 4 * residual)
    around = groups * (pairs * ROW_COST + -(-height // strip_rows(source)) * CONSTANTS_COST)
    added = outputs * (32 + 6 * residual) + around - instructions
    return multiplies - vector_work / 2 > added


@dataclass(frozen=True)
class _Block:
    """The constants of eight channels as vectors."""

    start: Pointer  # int32x8 [COLUMNS, STARTS]: what two outputs begin with, once for each column
    multiplier: Expr
    weights: list[list[list[Expr]]]  # [kernel column][row][quad]


class DepthwiseDotWriter:
    """Writes the kernel of one convolution: everything a method reads is set when the writer is made."""

    def __init__(self, operator: DepthwiseConv2d, context: Context, phases: Phases) -> None:
        self.operator, self.isa, self.phases = operator, context.isa, phases
        self.unit = row_tile(operator.output.height)
        self.source, self.target = context.place(operator.input), context.place(operator.output)
        residual, epilogue = residual_of(operator), operator.epilogue
        self.residual = None if residual is None else context.place(residual)
        self.offsets = offsets_of(self.source, self.target, self.residual)
        # A zero LLVM does not know, see `_sums`, and the residual's factor.
        self.scalars = (0, epilogue.residual_factor) if isinstance(epilogue, RequantizeQ15Add) else (0,)
        self.frame = KernelFrame(operator.name, len(self.offsets), len(self.scalars))
        self.kernel, self.values = self.frame.kernel, self.frame.scalars
        self.parameters = self.frame.constants("int16")
        self.offset_first = adds_in_any_order(operator)

    def write(self) -> Expr:
        """Return the kernel: strips of rows, blocks of channels, pairs of rows, columns."""
        kernel, rows = self.kernel, strip_rows(self.source)
        if self.operator.output.height <= self.unit:
            self._blocks((tir.const(0), tir.const(self.operator.output.height)), (self.frame.begin, self.frame.end))
            return kernel.finish()
        first = self.frame.begin * self.unit
        last = kernel.bind(tir.minimum(self.frame.end * self.unit, tir.const(self.operator.output.height)), "last")
        with kernel.loop(tir.floordiv(last - first + (rows - 1), rows), name="strip") as strip:
            begin = kernel.bind(first + strip * rows, "begin")
            end = kernel.bind(tir.minimum(begin + rows, last), "end")
            self._blocks((begin, end))
        return kernel.finish()

    def _blocks(self, rows: tuple[Expr, Expr], bounds: Bounds | None = None) -> None:
        """Emit all channels of some rows; with `bounds`, the part of the channels that these units compute."""
        kernel, pixel = self.kernel, self.target.pixel
        units = depthwise_units(self.operator.output, self.unit)
        begin, end = (0, pixel // CHANNELS) if bounds is None else shared(pixel // CHANNELS, bounds, units)
        with kernel.loop(end - begin, begin, name="block") as block:
            half = block - tir.floordiv(block, 2) * 2
            self._block(rows, block * CHANNELS, tir.floordiv(block, 2), half * CHANNELS)
        if pixel % CHANNELS:  # the last block overlaps its neighbour
            begin, end = (0, 1) if bounds is None else shared(1, bounds, units)
            with kernel.loop(end - begin, begin, name="last"):
                self._block(rows, pixel - CHANNELS, *place_of(self.phases, pixel - CHANNELS, pixel))

    def _block(self, rows: tuple[Expr, Expr], channel: Expr, phase: Expr, lane: Expr) -> None:
        """Emit eight channels of some rows; their constants begin at a lane of a phase."""
        constants = self._constants(phase * phase_bytes(self.operator, LANES), lane)
        begin, end = rows
        with self.kernel.loop(tir.floordiv(end - begin + (ROWS - 1), ROWS), name="pair") as pair:
            # A last row that stands alone is computed with the one before; a unit is no lower than two rows.
            row = self.kernel.bind(tir.minimum(begin + pair * ROWS, end - ROWS), "row")
            self._rows(row, channel, constants)

    def _constants(self, at: Expr, lane: Expr) -> _Block:
        start, multiplier, offset = (
            self.kernel.bind(self.parameters.load(tir.floordiv(at, 2) + (index * LANES + lane), CHANNELS), "constant")
            for index in range(3)
        )
        head = phase_bytes(self.operator, LANES) - LANES * SIZE**2
        taps = [
            self.kernel.bind(self.frame.weights.load(at + (head + tap * LANES) + lane, CHANNELS), "tap")
            for tap in range(SIZE**2)
        ]
        # three taps of a column and a zero, [4, CHANNELS] -> [CHANNELS, 4]; for the second row of outputs a byte later
        zero = tir.splat(0, f"int8x{CHANNELS}")
        weights = []
        for column in range(SIZE):
            first = interleave(self.kernel, [*taps[column::SIZE], zero])
            second = [tir.shift_left(tir.reinterpret(quad, "int32x4"), 8) for quad in first]
            weights.append([first, [self.kernel.bind(tir.reinterpret(quad, "int8x16"), "weight") for quad in second]])
        starts = self.kernel.local(COLUMNS * STARTS, "int32x8")
        offsets = tir.concat([tir.reinterpret(offset, "int32x4")] * 2)
        begin = self.isa.dot_start(tir.cast(start, "int32"), [tir.concat(first) for first, _ in weights])
        for index in range(COLUMNS * STARTS):
            self.kernel.store(starts, index, offsets if index % STARTS == ROWS else begin)
        return _Block(starts, multiplier, weights)

    def _rows(self, row: Expr, channel: Expr, block: _Block) -> None:
        """Emit two output rows: the blocks of three columns stay in registers, each in one of three places."""
        place, width = self.source, self.operator.output.width
        above, left = self.operator.pads
        first = place.origin - above * place.pitch - left * place.pixel
        base = self.kernel.bind(row * place.pitch + channel + first, "base")
        blocks = self.kernel.local(SIZE * QUADS, "int8x16")

        def load(column: Expr) -> list[Expr]:
            at = base + column * place.pixel
            loads = (self.frame.tensors[0].load(at + step * place.pitch, CHANNELS) for step in range(REACH))
            return [self.kernel.bind(pixels, "x") for pixels in loads]

        def arrange(pixels: list[Expr], number: int) -> None:
            for quad, value in enumerate(interleave(self.kernel, pixels)):
                self.kernel.store(blocks, number % SIZE * QUADS + quad, self.isa.dot_operand(value))

        def columns(group: Expr, count: int) -> None:
            at = self.kernel.bind(group * COLUMNS, "column")
            pixels = load(at + (SIZE - 1))
            for number in range(count):
                arrange(pixels, number + SIZE - 1)
                three = [
                    [blocks.load((number + tap) % SIZE * QUADS + quad) for quad in range(QUADS)] for tap in range(SIZE)
                ]
                outputs = self._sums(three, block, number * STARTS + group * self.values[0])
                if number + 1 < count:  # before the outputs are stored: LLVM takes no load across a store
                    pixels = load(at + (number + SIZE))
                self._finish(row, (at + number) * self.target.pixel + channel, outputs, block)

        for number in range(SIZE - 1):
            arrange(load(tir.const(number)), number)
        with self.kernel.loop(width // COLUMNS, name="group") as group:
            columns(group, COLUMNS)
        if width % COLUMNS:
            columns(tir.const(width // COLUMNS), width % COLUMNS)

    def _sums(self, blocks: Sequence[list[Expr]], block: _Block, start: Expr) -> list[list[Expr]]:
        """Return for two rows the sums of an output, and the offset its epilogue begins with.

        Args:
            blocks: the quads of three columns.
            block: the constants.
            start: where the start values are.

        All start values come from memory, by ldp: a register would have to be copied, by the units that sdot needs.
        Each column has copies of its own, and the address has a part LLVM takes for a variable: it would otherwise
        load once and copy.
        """
        loaded = [self.kernel.bind(block.start.load(start + index), "start") for index in range(STARTS)]
        *outputs, offsets = [[self.kernel.bind(half, "start") for half in tir.split(pair, 4)] for pair in loaded]
        # for each column: [4 channels, 4 rows] x [4 rows] -> [4 channels], for two output rows and two quads
        for quads, rows in zip(blocks, block.weights, strict=True):
            for total, weights in zip(outputs, rows, strict=True):
                for quad in range(QUADS):
                    product = self.isa.dot_product(total[quad], weights[quad], quads[quad])
                    total[quad] = self.kernel.bind(product, "sum")
        return [[*total, offset] for total, offset in zip(outputs, offsets, strict=True)]

    def _finish(self, row: Expr, along: Expr, outputs: list[list[Expr]], block: _Block) -> None:
        epilogue = self.operator.epilogue
        assert isinstance(epilogue, RequantizeQ15 | RequantizeQ15Add)
        residuals: list[Residual | None] = [None] * len(outputs)
        if self.residual is not None:
            place = self.residual
            starts = (row * place.pitch + (along + place.origin + step * place.pitch) for step in range(len(outputs)))
            loads = [self.kernel.bind(self.frame.tensors[-1].load(start, CHANNELS), "added") for start in starts]
            residuals = [Residual(loaded, self.values[1]) for loaded in loads]
        for step, (total, residual) in enumerate(zip(outputs, residuals, strict=True)):
            low, offset = self.isa.cut_to_int16(total[:QUADS]), tir.reinterpret(total[QUADS], "int16x8")
            value = requantize_q15(self.isa, low, block.multiplier, offset, epilogue, residual, self.offset_first)
            at = (row + step) * self.target.pitch + along + self.target.origin
            self.kernel.store(self.frame.tensors[1], at, value)


def place_of(phases: Phases, channel: int, pixel: int) -> tuple[int, int]:
    """Return a phase and a lane of it from which on the constants of eight channels lie together."""
    return next(
        (phase, lane)
        for phase, start in enumerate(phases.starts)
        for lane in range(0, LANES - CHANNELS + 1, 4)
        if (start + lane) % pixel == channel
    )


def interleave(kernel: Kernel, rows: list[Expr]) -> list[Expr]:
    """Return [4 rows, 8 channels] transposed to [8 channels, 4 rows], as two vectors of four channels each."""
    pairs = [kernel.bind(tir.reinterpret(tir.shuffle(rows[at : at + 2], ZIP), "int16x8"), "pair") for at in (0, 2)]
    return [kernel.bind(tir.reinterpret(tir.shuffle(pairs, order), "int8x16"), "quad") for order in (ZIP_LOW, ZIP_HIGH)]
