"""NEON of 32-bit ARM (ARMv7): the products of plain 64-bit NEON with half its registers and fewer instructions."""

from __future__ import annotations

from collections.abc import Sequence

from compile.intrin.arm import ROUNDING, look_up, row_cost, row_options
from compile.intrin.base import GemmShape, GemmTile, InstructionSet, Operand
from compile.intrin.wide_neon import WideProducts
from compile.ir import tir
from compile.ir.tir import Expr, Kernel, Pointer

REGISTERS = 16  # q0 .. q15, 16 bytes each
WORKING, WORKING_STRAIGHT = 8, 4  # registers of a tile besides its sums, in a loop over steps and without one
STEP = 8  # bytes of a pixel that are multiplied before their products are widened
UNROLLED_STEPS = 2  # that are written one after the other
COLUMNS = (4, 8, 12, 16, 24)  # candidate tile widths
EXACT_FROM = 2.0**23  # from here on every float32 is a whole number
SIGN = -(1 << 31)  # the bit of an int32
ROUNDING_BITS = 0x4B400000  # of the float32 `ROUNDING`


class NeonV7(InstructionSet):
    """Cortex-A7, A8, A9, A15 and every other ARMv7 core with NEON; 64-bit cores in their 32-bit state.

    Vector arithmetic of ARMv7 rounds to nearest, ties to even, whatever FPSCR says, and flushes subnormal numbers to
    zero. Integers never meet that: a sum is 0 or at least 1 in magnitude and a scale is normal, so a product that is
    flushed rounds to 0 anyway.
    """

    name = "neonv7"
    lanes8 = 16
    group_bytes = 4
    registers = REGISTERS
    float_lanes = 4
    float_step = 4
    product_lanes16 = narrowed_lanes = depthwise_lanes = 8  # of a register of int16
    has_table_lookup = reloads_weights = multiplies_bytes = True

    def for_wide_product(self) -> InstructionSet:
        """Multiply by vmlal.s16."""
        return WideNeonV7()

    # -- numerics ------------------------------------------------------------------------------------------------
    def round_to_int32(self, value: Expr) -> Expr:
        """Round as a float first: vcvt of ARMv7 cuts, and has nothing left to cut then."""
        return tir.cast(tir.by_pieces(_round, 4, value), "int32")

    def round_float(self, kind: str, value: Expr) -> Expr:
        """Round to the nearest, and from there go one down or up where that is too far."""
        if tir.split_dtype(tir.dtype_of(value))[1] == 1:
            return tir.shuffle([self.round_float(kind, tir.splat(value, "float32x4"))], [0])
        nearest, one = tir.by_pieces(_round, 4, value), tir.splat(1.0, tir.dtype_of(value))
        if kind == "floor":
            return tir.select(nearest > value, nearest - one, nearest)
        return tir.select(nearest < value, nearest + one, nearest) if kind == "ceil" else nearest

    def requantize(
        self, acc: Sequence[Expr], multiplier: Sequence[Expr], zero_point: Expr, low: int, high: int,
        fits_int16: bool = False, from_lowest: bool = False,
    ) -> Expr:  # fmt: skip
        """Round by adding a number whose neighbours are one apart, and the zero point with it, where that is -128.

        The sum's low 16 bits are those of the rounded product, plus the zero point, which is even and so keeps ties at
        even products. Where the product may not fit int16, the bits of that number are subtracted again: floats are
        ordered as their bits are, so a product too large for the sum is only too large, and vqsub keeps it so.
        """
        offset = ROUNDING - 128.0 if from_lowest else ROUNDING
        sums = [
            tir.reinterpret(tir.cast(a, "float32") * m + tir.splat(offset, "float32x4"), "int32x4")
            for a, m in zip(acc, multiplier, strict=True)
        ]
        if from_lowest or fits_int16:
            wide = self.cut_to_int16(sums)
        else:
            base = tir.splat(ROUNDING_BITS, "int32x4")
            exact = [tir.intrinsic("int32x4", "llvm.ssub.sat.v4i32", value, base) for value in sums]
            wide = tir.concat([self.narrow_to_int16(value) for value in exact])
        if not from_lowest:
            wide = self.add_saturating(wide, tir.splat(zero_point, tir.dtype_of(wide)))
        return self.clamp_int8(self.narrow_to_int8(wide), low, high)

    def narrow_to_int16(self, value: Expr) -> Expr:
        """Use vqmovn.s32."""
        return tir.by_pieces(lambda v: _call("int16x4", "vqmovns.v4i16", v), 4, value)

    def cut_to_int16(self, values: Sequence[Expr]) -> Expr:
        """Use vmovn.i32."""
        return tir.concat([tir.cast(value, "int16") for value in values])

    def narrow_to_int8(self, value: Expr) -> Expr:
        """Use vqmovn.s16; half a register is widened with itself first."""
        if tir.split_dtype(tir.dtype_of(value))[1] == 4:
            return tir.shuffle([self.narrow_to_int8(tir.concat([value, value]))], range(4))
        return tir.by_pieces(lambda v: _call("int8x8", "vqmovns.v8i8", v), 8, value)

    def multiply_q15(self, value: Expr, factor: Expr) -> Expr:
        """Use vqrdmulh, which saturates only for -32768 * -32768; factors are never negative."""
        lanes = min(8, tir.split_dtype(tir.dtype_of(value))[1])
        return tir.by_pieces(lambda v, f: _call(f"int16x{lanes}", f"vqrdmulh.v{lanes}i16", v, f), lanes, value, factor)

    def add_saturating(self, left: Expr, right: Expr) -> Expr:
        """Use vqadd.s16."""
        lanes = min(8, tir.split_dtype(tir.dtype_of(left))[1])
        dtype, name = f"int16x{lanes}", f"llvm.sadd.sat.v{lanes}i16"
        return tir.by_pieces(lambda a, b: tir.intrinsic(dtype, name, a, b), lanes, left, right)

    def shift_and_narrow(self, value: Expr, bits: int) -> Expr:
        """Use vqrshrn.s16, a shift to the left by a negative number."""
        if tir.split_dtype(tir.dtype_of(value))[1] == 4:
            return tir.shuffle([self.shift_and_narrow(tir.concat([value, value]), bits)], range(4))
        count = tir.splat(-bits, "int16x8")
        return tir.by_pieces(lambda v: _call("int8x8", "vqrshiftns.v8i8", v, count), 8, value)

    def table_lookup(self, kernel: Kernel, table: Pointer, index: Expr) -> Expr:
        """Use vtbl for the first 32 entries and vtbx, which leaves lanes out of range alone, for each further 32."""
        return look_up(
            kernel, table, index, 8,
            lambda lane, *registers: _call("int8x8", "vtbl4", *registers, lane),
            lambda result, lane, *registers: _call("int8x8", "vtbx4", result, *registers, lane),
        )  # fmt: skip

    def multiply_bytes(self, left: Expr, right: Expr) -> Expr:
        """Use vmull.s8, which LLVM joins with a sum to vmlal.s8: it would widen both factors outside of a loop."""
        lanes = tir.split_dtype(tir.dtype_of(left))[1]
        if lanes < 8:
            return tir.cast(left, "int16") * tir.cast(right, "int16")
        return tir.by_pieces(lambda x, y: _call("int16x8", "vmulls.v8i16", x, y), 8, left, right)

    # -- matrix product ------------------------------------------------------------------------------------------
    def vector_widths(self, columns: int) -> list[int]:
        """Cut columns into registers of four int32."""
        return [4] * (columns // 4)

    def choose_tile(self, pixels: int, channels: int, shape: GemmShape) -> GemmTile:
        """Return the tile with the fewest instructions that fits the registers.

        For 2 rows by 8 columns that is 2 * 8 / 2 sums and 8 others, 16 of 16.
        """
        options = [
            GemmTile(rows, columns)
            for rows in row_options(pixels)
            for columns in COLUMNS
            if columns <= max(4, -(-channels // 4) * 4)
            if rows * columns // 2 + (WORKING if is_loop(shape) else WORKING_STRAIGHT) <= REGISTERS
        ]
        return min(options, key=lambda tile: row_cost(self.tile_cost, tile, pixels, channels, shape))

    def tile_cost(self, tile: GemmTile, shape: GemmShape) -> float:
        """Return the estimated instructions of one tile: for eight bytes of a pixel, two repeats and three products."""
        vectors = tile.columns // 4
        steps = shape.segments * shape.length / 8
        inner = tile.rows * 2 + vectors * 2 + tile.rows * vectors * 6 + 1
        return inner * steps + tile.rows * (vectors * 9.5 + 2) + 12

    def accumulate(
        self, kernel: Kernel, tile: GemmTile, shape: GemmShape, pixels: Operand, weights: Pointer, weight_start: Expr,
        starts: Sequence[Sequence[Expr]],
    ) -> list[list[Expr]]:  # fmt: skip
        """Emit vmull, vmlal and vpadal.

        A 16-byte weight load holds four channels of one group of four; vld1 repeats the group of a pixel as it loads
        it. Their product is eight int16 for two channels; two groups fit, since 2 * 127 * 128 < 2**15. vpadal adds
        neighbours into int32, so each channel has two partial sums until vpadd joins them at the end.
        """
        vectors = tile.columns // 4
        halves = 2 * vectors  # accumulators of a row: (channels 0, 1), (channels 2, 3) of each vector
        acc = kernel.local(tile.rows * halves, "int32x4")  # [rows, columns, 2], two partial sums for each channel
        for index in range(tile.rows * halves):
            kernel.store(acc, index, tir.splat(0, "int32x4"))

        def step(source_at: Expr, weight_at: Expr, groups: int) -> None:
            # [rows, 4 * groups] x [4 * groups, columns] -> [rows, columns, 2]
            repeated = [
                [
                    self._repeat(kernel, pixels, source_at + (row * pixels.row_stride + 4 * group))
                    for group in range(groups)
                ]
                for row in range(tile.rows)
            ]
            for v in range(vectors):
                loaded = [
                    kernel.bind(weights.load(weight_at + (group * vectors + v) * 16, 16), "weight")
                    for group in range(groups)
                ]
                for row in range(tile.rows):
                    _add_products(kernel, acc, row * halves + 2 * v, loaded, repeated[row])

        whole, rest = divmod(shape.length, STEP)
        with kernel.loop(shape.segments, name="segment") as segment:
            source_at = pixels.start + shape.offset_of(segment)
            weight_at = weight_start + segment * (shape.length * tile.columns)
            if whole > UNROLLED_STEPS:
                # In a number that LLVM does not know: it would unroll the loop and mix its rounds.
                with kernel.loop(pixels.whole_steps * 2 + whole % 2, name="k") as k:
                    step(source_at + k * STEP, weight_at + k * (STEP * tile.columns), 2)
            else:
                for k in range(whole):
                    step(source_at + k * STEP, weight_at + k * (STEP * tile.columns), 2)
            if rest:
                step(source_at + whole * STEP, weight_at + whole * STEP * tile.columns, 1)
        return [[_join(acc, row * halves + 2 * v) + starts[0][v] for v in range(vectors)] for row in range(tile.rows)]

    def _repeat(self, kernel: Kernel, pixels: Operand, at: Expr) -> Expr:
        """Return four bytes of a pixel, twice."""
        word = tir.reinterpret(pixels.pointer.load(at, 4), "int32")
        return kernel.bind(tir.reinterpret(tir.splat(word, "int32x2"), "int8x8"), "pixel")


class WideNeonV7(WideProducts, NeonV7):
    """Products of int16 activations and int8 weights."""


def is_loop(shape: GemmShape) -> bool:
    """Tell whether the steps of a product are a loop."""
    return shape.segments * (shape.length // STEP) > UNROLLED_STEPS


def _call(dtype: str, name: str, *args: Expr) -> Expr:
    return tir.intrinsic(dtype, f"llvm.arm.neon.{name}", *args)


def _round(value: Expr) -> Expr:
    """Return a float32x4 as whole numbers, ties to even: 2**23 is added to each magnitude and subtracted again.

    A value from 2**23 on is whole already. The sum is vabd, which TVM and LLVM do not take for one that cancels out.
    """
    dtype = "float32x4"
    bits = tir.reinterpret(value, "int32x4")
    magnitude = tir.reinterpret(tir.bitwise_and(bits, tir.splat(~SIGN, "int32x4")), dtype)
    rounded = _call(dtype, "vabds.v4f32", magnitude, tir.splat(-EXACT_FROM, dtype)) - tir.splat(EXACT_FROM, dtype)
    sign = tir.bitwise_and(bits, tir.splat(SIGN, "int32x4"))
    signed = tir.reinterpret(tir.bitwise_or(tir.reinterpret(rounded, "int32x4"), sign), dtype)
    return tir.select(magnitude < tir.splat(EXACT_FROM, dtype), signed, value)


def _add_products(kernel: Kernel, acc: Pointer, at: int, weights: Sequence[Expr], pixels: Sequence[Expr]) -> None:
    """Add the products of one pixel and four channels for one or two groups.

    Args:
        acc: int32x4; the two vectors from `at` on hold two partial sums for each of four channels.
        weights: one int8 [4 channels, 4 bytes] for each group.
        pixels: one int8 [2, 4 bytes] for each group, twice the same.
    """
    for half in range(2):
        lanes = range(8 * half, 8 * half + 8)
        total = None
        for weight, pixel in zip(weights, pixels, strict=True):
            product = _call("int16x8", "vmulls.v8i16", tir.shuffle([weight], lanes), pixel)
            total = product if total is None else total + product
        kernel.store(acc, at + half, _call("int32x4", "vpadals.v4i32.v8i16", acc.load(at + half), total))


def _join(acc: Pointer, at: int) -> Expr:
    """Return the sums of four channels: [4, 2] partial sums -> [4]."""
    quarters = [half for index in (at, at + 1) for half in tir.split(acc.load(index), 2)]
    return tir.concat([_call("int32x2", "vpadd.v2i32", *quarters[first : first + 2]) for first in (0, 2)])
