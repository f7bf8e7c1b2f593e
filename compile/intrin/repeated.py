"""Matrix products that repeat a group of a pixel in every lane and multiply it with the weights of many channels.

The pixels of a tile are copied first, in the form the products take, so that a repeated group is one load.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from compile.intrin.base import GemmShape, GemmTile, InstructionSet, Operand, widest_first
from compile.ir import tir
from compile.ir.tir import Expr, Kernel, Pointer

MOST_ROWS = 8  # pixels of a tile; each has an address in a general-purpose register
WORD = 4  # bytes
PAIR = 2  # int16 of a pixel, and weights of a channel, that one product takes
MOST_SCRATCH = 1 << 20  # bytes of their copies, which lie on the stack of a thread


class Repeated(InstructionSet):
    """Sets that multiply two int16 at a time, or four bytes, of one pixel with those of each channel."""

    widest32: int  # int32 in the widest register
    gathers_pixels = True  # they are copied before use
    multiplies_pairs = True
    most_rows = MOST_ROWS

    def round_to_int32(self, value: Expr) -> Expr:
        """Round to nearest, ties to even, by an instruction that says so; the conversion then is exact.

        On x86-64 that is an immediate which overrides MXCSR, WebAssembly has no other rounding.
        """
        lanes = tir.split_dtype(tir.dtype_of(value))[1]
        rounded = tir.intrinsic(f"float32x{lanes}", f"llvm.roundeven.v{lanes}f32", value)
        return tir.cast(rounded, "int32")

    def add_saturating(self, left: Expr, right: Expr) -> Expr:
        """Use vpaddsw or i16x8.add_sat_s."""
        lanes = tir.split_dtype(tir.dtype_of(left))[1]
        return tir.intrinsic(f"int16x{lanes}", f"llvm.sadd.sat.v{lanes}i16", left, right)

    def vector_widths(self, columns: int) -> list[int]:
        """Cut columns into the widest vectors first."""
        return widest_first(columns, self.widest32)

    def choose_tile(self, pixels: int, channels: int, shape: GemmShape) -> GemmTile:
        """Return the tile with the fewest instructions per product that fits the registers."""
        options = [
            GemmTile(rows, columns)
            for rows in range(1, min(self.most_rows, pixels) + 1)
            for columns in (4, 8, 12, 16, 24, 32, 48, 64)
            if columns <= max(4, -(-channels // 4) * 4) and self.fits(rows, columns)
            if rows == 1 or rows * self.copied_bytes(shape) <= MOST_SCRATCH
        ]
        return min(options, key=lambda tile: self.cost(tile, pixels, channels, shape))

    def copied_bytes(self, shape: GemmShape) -> int:
        """Return the bytes of the copy of a pixel."""
        return shape.segments * shape.length * WORD * self.words_per_copy // self.lanes8

    def fits(self, rows: int, columns: int) -> bool:
        """Tell whether a tile fits the registers: its sums, weights, a pixel, a product.

        For 4 rows by 16 columns in vectors of 8 that is 4 * 2 + 2 + 2 = 12 of 16.
        """
        vectors = len(self.vector_widths(columns))
        return rows * vectors + vectors + 2 <= self.registers

    def cost(self, tile: GemmTile, pixels: int, channels: int, shape: GemmShape) -> float:
        """Return the estimated instructions for all pixels."""
        steps = shape.segments * shape.length / self.group_bytes
        blocks = -(-pixels // tile.rows)
        full, rest = divmod(-(-channels // 4) * 4, tile.columns)
        total = tile.rows * shape.segments * shape.length / 8
        for columns, count in ((tile.columns, full), (rest, 1 if rest else 0)):
            vectors = len(self.vector_widths(columns)) if columns else 0
            inner = tile.rows * (1 + self.instructions * vectors) + self.weight_instructions * vectors + 2
            total += count * (inner * steps + tile.rows * (vectors * 7 + 2))
        return blocks * total

    instructions: int  # of one product and its sum
    weight_instructions = 1  # for a vector of weights

    def prepare(self, kernel: Kernel, shape: GemmShape, source: Pointer, starts: Sequence[Expr]) -> Operand:
        """Copy the pixels to a scratch array in the form the products take them: `unit` values of `convert`."""
        lanes = self.lanes8
        padded = -(-shape.length // lanes) * lanes
        unit = lanes // self.words_per_copy
        scratch = kernel.local(len(starts) * shape.segments * padded // unit, "int32")
        for row, start in enumerate(starts):
            with (
                kernel.loop(shape.segments, name="segment") as segment,
                kernel.loop(padded // lanes, name="copy") as copy,
            ):
                at = start + shape.offset_of(segment) + copy * lanes
                words = tir.reinterpret(self.convert(source.load(at, lanes)), f"int32x{self.words_per_copy}")
                target = (row * shape.segments + segment) * (padded // unit) + copy * self.words_per_copy
                kernel.store(scratch, target, words)
        return Operand(scratch, 0, shape.segments * padded // unit, padded // unit)

    words_per_copy: int  # int32 that `lanes8` bytes become

    @abstractmethod
    def convert(self, value: Expr) -> Expr:
        """Return int8 activations in the form the products take them."""

    @abstractmethod
    def extend(self, packed: Expr) -> Expr:
        """Return packed int8 weights in the form the products take them."""

    @abstractmethod
    def multiply_add(self, acc: Expr, pixel: Expr, weight: Expr) -> Expr:
        """Return acc plus the products of each channel with its group of a pixel.

        Args:
            acc: int32 vector.
            pixel: the group of the pixel, repeated as an int32 vector of the same width.
            weight: what `extend` returned.
        """

    def accumulate(
        self, kernel: Kernel, tile: GemmTile, shape: GemmShape, pixels: Operand, weights: Pointer, weight_start: Expr,
        starts: Sequence[Sequence[Expr]],
    ) -> list[list[Expr]]:  # fmt: skip
        """Emit one load for each weight vector, one broadcast for each pixel, and their products.

        For each group: [rows, group] x [group, columns] -> [rows, columns].
        """
        widths = self.vector_widths(tile.columns)
        firsts = [sum(widths[:index]) for index in range(len(widths))]
        acc = [[kernel.local(1, f"int32x{width}") for width in widths] for _ in range(tile.rows)]
        for row, start_row in zip(acc, starts, strict=True):
            for cell, start in zip(row, start_row, strict=True):
                kernel.store(cell, 0, start)
        group, steps = self.group_bytes, shape.length // self.group_bytes
        with kernel.loop(shape.segments, name="segment") as segment, kernel.loop(steps, name="k") as k:
            weight_at = weight_start + (segment * steps + k) * (tile.columns * group)
            vectors = [
                kernel.bind(self.extend(weights.load(weight_at + first * group, width * group)), "weight")
                for first, width in zip(firsts, widths, strict=True)
            ]
            for number, row in enumerate(acc):
                at = number * pixels.row_stride + segment * pixels.segment_stride + k
                word = kernel.bind(pixels.pointer.load(at), "pixel")
                for cell, vector, width in zip(row, vectors, widths, strict=True):
                    repeated = tir.splat(word, f"int32x{width}")
                    kernel.store(cell, 0, self.multiply_add(cell.load(0), repeated, vector))
        return [[cell.load(0) for cell in row] for row in acc]


class Pairs(Repeated):
    """Sets whose widest exact product is that of two int16: bytes are widened first."""

    group_bytes = PAIR
    instructions = 2
    words_per_copy = 8

    def convert(self, value: Expr) -> Expr:
        """Sign-extend to int16: a pair is one int32, which a load can repeat."""
        return tir.cast(value, "int16")

    def extend(self, packed: Expr) -> Expr:
        """Sign-extend to int16."""
        return tir.cast(packed, "int16")

    def multiply_add(self, acc: Expr, pixel: Expr, weight: Expr) -> Expr:
        """Multiply pairs and add the sums."""
        return acc + self.multiply_pairs(pixel, tir.reinterpret(weight, tir.dtype_of(pixel)))


class WidePairs(Pairs):
    """Products of int16 activations, which are taken as they are: 2 * 2**15 * 127 is far inside int32."""

    def convert(self, value: Expr) -> Expr:
        """Take a pair of int16 as it is."""
        return value
