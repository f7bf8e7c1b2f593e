"""What every 64-bit ARM core has in common: rounding, saturating narrows, the rounding high multiply."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeAlias

from compile.intrin.base import GemmShape, GemmTile, InstructionSet, Operand
from compile.ir import tir
from compile.ir.tir import Expr, Kernel, Pointer
from compile.targets.tuning import AS_VARIANT, IN_ORDER, Tuning

StepWriter: TypeAlias = Callable[[Expr, Expr, int], None]  # (source, weights, groups of four)
Chunk: TypeAlias = tuple[Expr, Expr, int]  # where a step's pixels and weights are, and its groups of four bytes
STEP = 16  # bytes of a pixel loaded at once: four groups of four, each used by lane
COLUMNS = (4, 8, 12, 16, 20, 24, 32)  # candidate tile widths
REGISTERS = 32  # v0 .. v31, 16 bytes each
MOST_ROWS = 8  # of a tile: with 8 columns 16 registers of sums, and a pointer for each row
ROUNDING = 1.5 * 2**23  # floats near it are one apart, and their low 16 bits count from it
UNROLLED_STEPS = 2  # steps of 16 bytes LLVM may unroll; a longer reduction is a loop
SPARE, SPARE_UNROLLED = 1, 5  # registers LLVM's scheduler needs to load ahead: with fewer it spills to the stack


class Arm(InstructionSet):
    """The shared part of the three ARM variants."""

    lanes8 = 16
    group_bytes = 4
    registers = REGISTERS
    float_lanes = 4
    float_step = 4
    product_lanes16 = narrowed_lanes = 8  # of a register of int16
    has_table_lookup = in_order = True

    def round_to_int32(self, value: Expr) -> Expr:
        """Use fcvtns: to nearest, ties to even, whatever FPCR says."""
        return tir.by_pieces(lambda v: _call("int32x4", "fcvtns.v4i32.v4f32", v), 4, value)

    def requantize(
        self, acc: Sequence[Expr], multiplier: Sequence[Expr], zero_point: Expr, low: int, high: int,
        fits_int16: bool = False, from_lowest: bool = False,
    ) -> Expr:  # fmt: skip
        """Round by adding a number whose neighbours are one apart, and the zero point with it, where that is -128.

        The sum's low 16 bits are those of the rounded product plus the zero point, which is even and so keeps ties at
        even products. It is fabd because LLVM would fuse an addition with the multiplication and round once too little.
        """
        if not from_lowest:
            return super().requantize(acc, multiplier, zero_point, low, high, fits_int16)
        down = tir.splat(-(ROUNDING - 128.0), "float32x4")
        scaled = [
            tir.reinterpret(_call("float32x4", "fabd.v4f32", tir.cast(a, "float32") * m, down), "int32x4")
            for a, m in zip(acc, multiplier, strict=True)
        ]
        return self.clamp_int8(self.narrow_to_int8(self.cut_to_int16(scaled)), low, high)

    def narrow_to_int16(self, value: Expr) -> Expr:
        """Use sqxtn."""
        return tir.by_pieces(lambda v: _call("int16x4", "sqxtn.v4i16", v), 4, value)

    def cut_to_int16(self, values: Sequence[Expr]) -> Expr:
        """Use uzp1, which takes the low halves of two registers at once."""
        pairs = [tir.concat(values[at : at + 2]) for at in range(0, len(values), 2)]
        return tir.concat([tir.cast(pair, "int16") for pair in pairs])

    def narrow_to_int8(self, value: Expr) -> Expr:
        """Use sqxtn; half a register is widened with itself first."""
        if tir.split_dtype(tir.dtype_of(value))[1] == 4:
            doubled = tir.concat([value, value])
            return tir.shuffle([self.narrow_to_int8(doubled)], range(4))
        return tir.by_pieces(lambda v: _call("int8x8", "sqxtn.v8i8", v), 8, value)

    def multiply_q15(self, value: Expr, factor: Expr) -> Expr:
        """Use sqrdmulh, which saturates only for -32768 * -32768; factors are never negative."""
        lanes = min(8, tir.split_dtype(tir.dtype_of(value))[1])
        call = f"sqrdmulh.v{lanes}i16"
        return tir.by_pieces(lambda v, f: _call(f"int16x{lanes}", call, v, f), lanes, value, factor)

    def add_saturating(self, left: Expr, right: Expr) -> Expr:
        """Use sqadd."""
        lanes = min(8, tir.split_dtype(tir.dtype_of(left))[1])
        return tir.by_pieces(lambda a, b: _call(f"int16x{lanes}", f"sqadd.v{lanes}i16", a, b), lanes, left, right)

    def shift_and_narrow(self, value: Expr, bits: int) -> Expr:
        """Use sqrshrn."""
        if tir.split_dtype(tir.dtype_of(value))[1] == 4:
            return tir.shuffle([self.shift_and_narrow(tir.concat([value, value]), bits)], range(4))
        return tir.by_pieces(lambda v: _call("int8x8", "sqrshrn.v8i8", v, tir.const(bits, "int32")), 8, value)

    def table_lookup(self, kernel: Kernel, table: Pointer, index: Expr) -> Expr:
        """Use tbl for the first 64 entries and tbx, which leaves lanes out of range alone, for each further 64."""
        return look_up(
            kernel, table, index, 16,
            lambda lane, *registers: _call("int8x16", "tbl4.v16i8", *registers, lane),
            lambda result, lane, *registers: _call("int8x16", "tbx4.v16i8", result, *registers, lane),
        )  # fmt: skip

    def tuning(self, shape: GemmShape | None = None) -> Tuning:
        """Order straight code for cores that wait for results; a product with a loop over its steps is left alone."""
        return AS_VARIANT if shape is not None and shape.length // STEP > UNROLLED_STEPS else IN_ORDER

    def vector_widths(self, columns: int) -> list[int]:
        """Cut columns into registers of four int32."""
        return [4] * (columns // 4)

    def start_copies(self, columns: int) -> int:
        """Return the most rows of a tile: ldp fills two accumulators, mov one, and mov is SIMD work."""
        vectors = columns // 4
        return min(MOST_ROWS, (REGISTERS - SPARE - vectors) // (vectors + 1))

    def choose_tile(self, pixels: int, channels: int, shape: GemmShape) -> GemmTile:
        """Return the tile with the fewest instructions that fits the registers.

        The columns are those that suit the dot-product variant, whatever this variant is: packed weights depend on
        them alone, so that all variants of a bundle read one copy.
        """
        options = [GemmTile(r, c) for r in row_options(pixels) for c in COLUMNS if fits_dot(GemmTile(r, c), shape)]
        options = [tile for tile in options if tile.columns <= max(4, -(-channels // 4) * 4)]
        columns = min(options, key=lambda tile: row_cost(dot_cost, tile, pixels, channels, shape)).columns
        mine = [GemmTile(rows, columns) for rows in row_options(pixels) if self.fits(GemmTile(rows, columns), shape)]
        return min(mine, key=lambda tile: row_cost(self.tile_cost, tile, pixels, channels, shape))

    def fits(self, tile: GemmTile, shape: GemmShape) -> bool:
        """Tell whether what a tile keeps at the same time fits the registers."""
        return fits_dot(tile, shape)

    def tile_cost(self, tile: GemmTile, shape: GemmShape) -> float:
        """Return the estimated instructions of one tile."""
        return dot_cost(tile, shape)


def fits_dot(tile: GemmTile, shape: GemmShape) -> bool:
    """Tell whether a tile fits the registers: its sums, 16 bytes of each row, and the weights of four bytes.

    For 4 rows by 16 columns that is 4 * 16 / 4 + 4 + 16 / 4 = 24 of 32.
    """
    return tile.rows * tile.columns // 4 + tile.rows + tile.columns // 4 <= free_registers(shape)


def free_registers(shape: GemmShape) -> int:
    """Return how many registers a tile may fill; unrolled steps overlap and need room for the next loads."""
    return REGISTERS - (SPARE if shape.length // 16 > UNROLLED_STEPS else SPARE_UNROLLED)


def dot_cost(tile: GemmTile, shape: GemmShape) -> float:
    """Return the estimated instructions of a tile by sdot: loads, the weights' in pairs, products, loop, epilogue."""
    vectors = tile.columns // 4
    steps = shape.segments * shape.length / 16
    inner = tile.rows + 4 * vectors * (tile.rows + 0.5) + 4
    return inner * steps + epilogue_cost(tile)


def epilogue_cost(tile: GemmTile) -> float:
    """Return the estimated instructions around the reduction of a tile.

    Four outputs take half a load of the bias, scvtf, fmul, fcvtns and sqxtn; eight share sqadd and sqxtn, sixteen a
    store.
    """
    sixteens, rest = divmod(tile.columns, 16)
    stores, eights = sixteens + rest.bit_count(), 2 * sixteens + (rest // 4).bit_count()
    return tile.rows * (4.5 * tile.columns / 4 + 2 * eights + stores) + tile.columns // 4 + 12


def row_cost(
    tile_cost: Callable[[GemmTile, GemmShape], float], tile: GemmTile, pixels: int, channels: int, shape: GemmShape
) -> float:
    """Return the estimated instructions for one row of pixels and all channels."""
    full, rest = divmod(-(-channels // 4) * 4, tile.columns)
    total = full * tile_cost(tile, shape)
    if rest:
        total += tile_cost(GemmTile(tile.rows, rest), shape)
    return -(-pixels // tile.rows) * total


def row_options(pixels: int) -> list[int]:
    """Return tile heights that divide a row of pixels, and those that overlap the least."""
    exact = [rows for rows in range(1, MOST_ROWS + 1) if pixels % rows == 0 and rows <= pixels]
    return exact if max(exact) >= 4 or pixels < 4 else [*exact, *(r for r in range(4, MOST_ROWS + 1) if r <= pixels)]


def _call(dtype: str, name: str, *args: Expr) -> Expr:
    return tir.intrinsic(dtype, f"llvm.aarch64.neon.{name}", *args)


def look_up(
    kernel: Kernel, table: Pointer, index: Expr, width: int, first: Callable[..., Expr], further: Callable[..., Expr]
) -> Expr:
    """Return table[index] of 256 bytes, found four registers of the table at a time.

    Args:
        kernel: gets the loads.
        table: 256 int8.
        index: uint8 vector.
        width: bytes of a register.
        first: given lanes and four registers, what they hold; anything where a lane is out of range.
        further: the same, which leaves the lanes of an earlier result alone that are out of range.
    """
    pieces, results = tir.split(index, width), []
    for part in range(256 // (4 * width)):
        at = part * 4 * width
        registers = [kernel.bind(table.load(at + width * word, width), "entries") for word in range(4)]
        shift = tir.splat(tir.const(at, "uint8"), f"uint8x{width}")
        lanes = [tir.reinterpret(piece - shift if part else piece, f"int8x{width}") for piece in pieces]
        if part == 0:
            results = [first(lane, *registers) for lane in lanes]
        else:
            results = [further(result, lane, *registers) for result, lane in zip(results, lanes, strict=True)]
        results = [kernel.bind(result, "found") for result in results]
    return tir.concat(results)


def start_accumulators(kernel: Kernel, tile: GemmTile, starts: Sequence[Sequence[Expr]]) -> Pointer:
    """Return the sums of a tile as they begin, int32 [rows, columns], four columns in each vector.

    Args:
        kernel: gets them.
        tile: its rows and columns.
        starts: int32x4 by row and vector.
    """
    vectors = tile.columns // 4
    acc = kernel.local(tile.rows * vectors, "int32x4")
    for row in range(tile.rows):
        for v in range(vectors):
            kernel.store(acc, row * vectors + v, starts[row][v])
    return acc


def emit_steps(
    kernel: Kernel, shape: GemmShape, pixels: Operand, weight_start: Expr, columns: int, step: StepWriter
) -> None:
    """Walk over all segments in steps of 16 bytes; what is left of a segment is a shorter step, never a scalar loop.

    Args:
        kernel: the kernel that is written.
        shape: of the product.
        pixels: what `prepare` returned.
        weight_start: bytes before the first weights of the tile.
        columns: of the tile.
        step: emits one step, given where pixels and weights are and how many groups of 4 bytes there are.
    """
    whole, rest = divmod(shape.length, STEP)
    with kernel.loop(shape.segments, name="segment") as segment:
        placed = pixels.segment_stride
        source_at = pixels.start + (shape.offset_of(segment) if placed is None else segment * placed)
        weight_at = weight_start + segment * (shape.length * columns)
        if whole:
            unrolled = whole <= UNROLLED_STEPS  # here: LLVM leaves long bodies in a loop
            with kernel.loop(1 if unrolled else pixels.whole_steps, name="k") as first:
                for k in range(whole) if unrolled else [first]:
                    step(source_at + k * STEP, weight_at + k * (STEP * columns), STEP // 4)
        if rest:
            step(source_at + whole * STEP, weight_at + whole * STEP * columns, rest // 4)


class StepsAhead(ABC):
    """Steps of a reduction that load what the next one begins with, for cores that wait for a load they need."""

    @abstractmethod
    def load_first(self, source: Expr, weight: Expr, groups: int) -> None:
        """Load what a step begins with."""

    @abstractmethod
    def emit(self, source: Expr, weight: Expr, groups: int, following: Chunk | None) -> None:
        """Emit a step whose beginning is loaded, and the loads of what the following one begins with."""


def emit_steps_ahead(
    kernel: Kernel, shape: GemmShape, pixels: Operand, weight_start: Expr, columns: int, steps: StepsAhead
) -> None:
    """Walk over all segments as `emit_steps` does; the last whole step stands behind the loop over the others."""
    whole, rest = divmod(shape.length, STEP)
    with kernel.loop(shape.segments, name="segment") as segment:
        placed = pixels.segment_stride
        source = pixels.start + (shape.offset_of(segment) if placed is None else segment * placed)
        weight = weight_start + segment * (shape.length * columns)
        chunks: list[Chunk] = [(source + k * STEP, weight + k * (STEP * columns), STEP // 4) for k in range(whole)]
        if rest:
            chunks.append((source + whole * STEP, weight + whole * STEP * columns, rest // 4))
        steps.load_first(*chunks[0])
        if whole > UNROLLED_STEPS:
            with kernel.loop(pixels.whole_steps - 1, name="k") as k:
                here, there = source + k * STEP, weight + k * (STEP * columns)
                steps.emit(here, there, STEP // 4, (here + STEP, there + STEP * columns, STEP // 4))
            chunks = chunks[whole - 1 :]
        for chunk, following in zip(chunks, [*chunks[1:], None], strict=True):
            steps.emit(*chunk, following)
