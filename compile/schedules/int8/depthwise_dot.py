"""3x3 depthwise convolutions of stride 1 by sdot, which two units of a core run where one multiplies otherwise.

Four neighbouring pixels of a row, eight channels each, are interleaved so that the four bytes of a channel lie
together. Such a block serves two output columns, whose weights are shifted by one byte, and three output rows:

    bytes of a channel         x0  x1  x2  x3
    first output column        w0  w1  w2   0
    second output column        0  w0  w1  w2

The constants are those of `compile.schedules.int8.depthwise`, so that all variants of a bundle read one copy. The sums
are int32 here; they fit int16 by the contract of their epilogue, so their low halves are what it expects.
"""

from __future__ import annotations

from dataclasses import dataclass

from calib.integer.program import DepthwiseConv2d
from calib.integer.values import RequantizeQ15, RequantizeQ15Add
from compile.ir import tir
from compile.ir.memory_plan import AnyOperator, TensorPlace
from compile.ir.tir import Expr, Kernel, Pointer
from compile.schedules.base import Context, KernelFrame, MaybeScheduled, Scheduled, offsets_of
from compile.schedules.depthwise_tile import row_tiles
from compile.schedules.int8.depthwise import is_int16, pack_constants, phase_bytes, residual_of
from compile.schedules.int8.q15 import Residual, requantize_q15
from compile.schedules.phases import Phases, flat_phases, row_tile

SIZE = 3  # taps of a row
COLUMNS = 2  # output columns that share a block
PIXELS = SIZE + COLUMNS - 1  # of a block, as many as sdot multiplies
CHANNELS = 8  # of a block: six weights of four channels each, twice, leave registers for the sums of three rows
LANES = 16  # of the phases whose constants are read
QUADS = CHANNELS // 4
CONSTANTS_COST = 55  # instructions that load and arrange the constants of a block, for each tile of rows
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
    if operator.output.width < COLUMNS or target.pixel < CHANNELS or phases.lanes != LANES:
        return None
    if not pays(operator, target, phases):
        return None
    writer = DepthwiseDotWriter(operator, context, phases)
    return Scheduled(
        function=writer.write(),
        name=f"rg_qs8_dwconv3x3s1_q15{'_add' * (writer.residual is not None)}_r{writer.rows}c{CHANNELS}x{COLUMNS}"
        f"_c{operator.output.channels}__{context.isa.name}",
        offsets=writer.offsets,
        scalars=writer.scalars,
        units=-(-operator.output.height // writer.rows),
        constants=pack_constants(operator, phases),
    )


def pays(operator: DepthwiseConv2d, target: TensorPlace, phases: Phases) -> bool:
    """Tell whether sdot saves more cycles on a core with one multiplier than it costs on a core that runs in order.

    Both are cycles of a tile of rows. The first core (Cortex-A76 and the like) has two vector units, one of which
    multiplies, while both run sdot. The second (Cortex-A55) starts two instructions in a cycle.
    """
    rows, residual = row_tile(operator.output.height), residual_of(operator) is not None
    vectors = len(phases.starts) * phases.count
    groups, pairs = -(-target.pixel // CHANNELS), -(-operator.output.width // COLUMNS)
    # Sixteen outputs: two multiplies for each tap and the requantization, and the residual.
    multiplies = vectors * rows * (2 * SIZE**2 + 2 + 2 * residual)
    instructions = vectors * (rows * (30 + 7 * residual) + 6)
    # Sixteen outputs again: four loads and zips for each input row, six sdot for each of the two columns.
    vector_work = groups * pairs * (4 * (rows + SIZE - 1) + rows * (20 + 6 * residual))
    added = groups * (pairs * (rows * (32 + 8 * residual) + 22) + CONSTANTS_COST) - instructions
    return multiplies - vector_work / 2 > added / 2


@dataclass(frozen=True)
class _Block:
    """The constants of eight channels as vectors."""

    start: Pointer  # int32x4 [rows, COLUMNS, QUADS], the start of each sum
    multiplier: Expr
    offset: Expr
    weights: list[list[list[Expr]]]  # [kernel row][column][quad]


class DepthwiseDotWriter:
    """Writes the kernel of one convolution: everything a method reads is set when the writer is made."""

    def __init__(self, operator: DepthwiseConv2d, context: Context, phases: Phases) -> None:
        self.operator, self.isa, self.phases = operator, context.isa, phases
        self.rows = row_tile(operator.output.height)
        self.source, self.target = context.place(operator.input), context.place(operator.output)
        residual, epilogue = residual_of(operator), operator.epilogue
        self.residual = None if residual is None else context.place(residual)
        self.offsets = offsets_of(self.source, self.target, self.residual)
        # A zero LLVM does not know, see `_start`, and the residual's factor.
        self.scalars = (0, epilogue.residual_factor) if isinstance(epilogue, RequantizeQ15Add) else (0,)
        self.frame = KernelFrame(operator.name, len(self.offsets), len(self.scalars))
        self.kernel, self.values = self.frame.kernel, self.frame.scalars
        self.parameters = self.frame.constants("int16")

    def write(self) -> Expr:
        """Return the kernel: row tiles, blocks of channels, pairs of columns."""
        pixel = self.target.pixel
        with row_tiles(self.frame, self.operator.output.height, self.rows) as row:
            with self.kernel.loop(pixel // CHANNELS, name="block") as block:
                half = block - tir.floordiv(block, 2) * 2
                self._block(row, block * CHANNELS, tir.floordiv(block, 2), half * CHANNELS)
            if pixel % CHANNELS:  # the last block overlaps its neighbour
                self._block(row, pixel - CHANNELS, *place_of(self.phases, pixel - CHANNELS, pixel))
        return self.kernel.finish()

    def _block(self, row: Expr, channel: Expr, phase: Expr, lane: Expr) -> None:
        """Emit eight channels of a tile of rows; their constants begin at a lane of a phase."""
        constants = self._constants(phase * phase_bytes(self.operator, LANES), lane)
        width, pixel = self.operator.output.width, self.target.pixel
        with self.kernel.loop(-(-width // COLUMNS), name="pair") as pair:
            along = pair * (COLUMNS * pixel)
            if width % COLUMNS:
                along = tir.minimum(along, tir.const((width - COLUMNS) * pixel))
            self._tile(row, self.kernel.bind(along + channel, "along"), pair * self.values[0], constants)

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
        zero = tir.splat(0, f"int8x{CHANNELS}")
        weights = []
        for row in range(SIZE):
            first = interleave(self.kernel, [*taps[row * SIZE : (row + 1) * SIZE], zero])
            second = [tir.shift_left(tir.reinterpret(quad, "int32x4"), 8) for quad in first]
            weights.append([first, [self.kernel.bind(tir.reinterpret(quad, "int8x16"), "weight") for quad in second]])
        starts = self.kernel.local(self.rows * COLUMNS * QUADS, "int32x4")
        for index in range(self.rows * COLUMNS):
            for quad, part in enumerate(tir.split(tir.cast(start, "int32"), 4)):
                self.kernel.store(starts, index * QUADS + quad, part)
        return _Block(starts, multiplier, offset, weights)

    def _tile(self, row: Expr, along: Expr, zero: Expr, block: _Block) -> None:
        """Emit two columns of a tile of rows; an output row is finished as soon as its last input row is read."""
        place = self.source
        above, left = self.operator.pads
        first = place.origin - above * place.pitch - left * place.pixel
        base = self.kernel.bind(row * place.pitch + along + first, "base")
        sums: dict[int, list[list[Expr]]] = {}
        for input_row in range(self.rows + SIZE - 1):
            pixels = [
                self.kernel.bind(
                    self.frame.tensors[0].load(base + (input_row * place.pitch + column * place.pixel), CHANNELS), "x"
                )
                for column in range(PIXELS)
            ]
            quads = interleave(self.kernel, pixels)
            if input_row < self.rows:
                sums[input_row] = [
                    [self._start(block, input_row, column, quad, zero) for quad in range(QUADS)]
                    for column in range(COLUMNS)
                ]
            # for each output row: [4 channels, 4 pixels] x [4 pixels] -> [4 channels], for two columns and two quads
            for output_row, columns in sums.items():
                for column, weights in enumerate(block.weights[input_row - output_row]):
                    columns[column] = [
                        self.kernel.bind(self.isa.dot_product(*operands), "sum")
                        for operands in zip(columns[column], weights, quads, strict=True)
                    ]
            if input_row >= SIZE - 1:
                done = input_row - (SIZE - 1)
                for column, total in enumerate(sums.pop(done)):
                    self._finish(row + done, along + column * self.target.pixel, total, block)

    def _start(self, block: _Block, row: int, column: int, quad: int, zero: Expr) -> Expr:
        """Return the start of a sum, from memory: a register would have to be copied, by the units that sdot needs.

        Each sum has a copy of its own, and the address has a part LLVM takes for a variable: it would otherwise load
        once and copy.
        """
        return self.kernel.bind(block.start.load((row * COLUMNS + column) * QUADS + quad + zero), "start")

    def _finish(self, row: Expr, along: Expr, total: list[Expr], block: _Block) -> None:
        epilogue = self.operator.epilogue
        assert isinstance(epilogue, RequantizeQ15 | RequantizeQ15Add)
        residual = None
        if self.residual is not None:
            at = row * self.residual.pitch + along + self.residual.origin
            residual = Residual(self.frame.tensors[-1].load(at, CHANNELS), self.values[1])
        low = self.isa.cut_to_int16(total)
        value = requantize_q15(self.isa, low, block.multiplier, block.offset, epilogue, residual)
        self.kernel.store(self.frame.tensors[1], row * self.target.pitch + along + self.target.origin, value)


def place_of(phases: Phases, channel: int, pixel: int) -> tuple[int, int]:
    """Return a phase and a lane of it from which on the constants of eight channels lie together."""
    return next(
        (phase, lane)
        for phase, start in enumerate(phases.starts)
        for lane in range(0, LANES - CHANNELS + 1, 4)
        if (start + lane) % pixel == channel
    )


def interleave(kernel: Kernel, pixels: list[Expr]) -> list[Expr]:
    """Return [4 pixels, 8 channels] transposed to [8 channels, 4 pixels], as two vectors of four channels each."""
    pairs = [kernel.bind(tir.reinterpret(tir.shuffle(pixels[at : at + 2], ZIP), "int16x8"), "pair") for at in (0, 2)]
    return [kernel.bind(tir.reinterpret(tir.shuffle(pairs, order), "int8x16"), "quad") for order in (ZIP_LOW, ZIP_HIGH)]
