"""What a schedule may ask of an instruction set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compile.ir import tir
from compile.ir.tir import Expr, Kernel, Pointer
from compile.targets.tuning import AS_VARIANT, Tuning


@dataclass(frozen=True)
class GemmShape:
    """The reduction of a convolution as a matrix product: `segments` runs of `length` bytes for each output pixel.

    A 1x1 convolution has one segment of all channels; a k x k convolution has k segments (kernel rows) of k * channels,
    with a dilation k * k of all channels.
    """

    segments: int
    length: int  # bytes, a multiple of 4
    segment_stride: int  # bytes between the starts of two segments, or of two kernel rows of `taps` segments
    pixel_stride: int  # bytes between neighbouring output pixels in the input
    taps: int = 1  # segments of a kernel row
    tap_stride: int = 0  # bytes between the starts of two of them

    def offset_of(self, segment: Expr) -> Expr:
        """Return how many bytes behind the first segment another one starts."""
        if self.taps == 1:
            return segment * self.segment_stride
        row = tir.floordiv(segment, self.taps)
        return row * (self.segment_stride - self.taps * self.tap_stride) + segment * self.tap_stride


@dataclass(frozen=True)
class GemmTile:
    """A register tile: `rows` output pixels by `columns` output channels."""

    rows: int
    columns: int


@dataclass(frozen=True)
class Operand:
    """Where `accumulate` reads the pixels of a tile; strides are in bytes of the original activations."""

    pointer: Pointer
    start: Expr
    row_stride: int
    segment_stride: int | None  # where `prepare` has put the segments; None: they lie where `GemmShape` says
    whole_steps: Expr = 0  # full loads of a segment, as a number LLVM does not know and cannot unroll by


def widest_first(columns: int, widest: int) -> list[int]:
    """Return vector widths that add up to `columns`: as many of the widest as fit, then each time half as wide."""
    widths, width = [], widest
    while columns:
        while width > columns:
            width //= 2
        widths.append(width)
        columns -= width
    return widths


class InstructionSet(ABC):
    """One instruction set; vectors are TIR expressions of any lane count that is a multiple of `lanes8`."""

    name: str
    lanes8: int  # int8 elements the schedules process at a time in element-wise and depthwise kernels
    registers: int
    group_bytes: int  # neighbouring bytes of a pixel, and of a channel's weights, that one product takes
    float_lanes: int  # float32 in the widest register; float16 in a set for half precision
    float_step: int  # neighbouring floats of a pixel loaded at once and used by lane; 1 where a load can repeat one
    products_in_half: int = 0  # summed in float16 before float32 takes the sum; 0 where products are float32
    gathers_pixels: bool = False  # whether the pixels of a tile may lie anywhere, see `compile.schedules.walk`
    pixels_in_vector: int = 1  # whose sums share a vector: [pixels, channels]; so do start values and multipliers
    depth: int = 4  # bytes of a segment that products take at once; the last ones may lie beyond its end
    product_lanes16: int | None = None  # int16 that one instruction multiplies, where vectors may be wider or narrower
    depthwise_lanes: int | None = None  # int8 of a vector in depthwise kernels, where that is not `lanes8`
    narrowed_lanes: int = 1  # a narrower vector of outputs shares its requantization with that of another pixel
    reloads_weights: bool = False  # whether LLVM would keep more of a single panel for all tiles than fits registers
    has_table_lookup: bool = False
    table_lanes: int = 16  # the most bytes `table_lookup` takes at once
    multiplies_pairs: bool = False
    multiplies_bytes: bool = False  # whether products of int8 take no more instructions than those of int16
    has_dot_product: bool = False
    dot_always_pays: bool = False  # in every depthwise layer that can be computed by it
    in_order: bool = False  # whether cores that start instructions in the order they stand in run it

    # -- numerics ------------------------------------------------------------------------------------------------
    @abstractmethod
    def round_to_int32(self, value: Expr) -> Expr:
        """Return a float32 vector rounded to int32, ties to even whatever the current rounding mode is."""

    def round_float(self, kind: str, value: Expr) -> Expr:
        """Return float32, one or a vector, as whole numbers; `kind` is LLVM's "roundeven", "floor" or "ceil"."""
        lanes = tir.split_dtype(tir.dtype_of(value))[1]
        suffix = "f32" if lanes == 1 else f"v{lanes}f32"
        return tir.intrinsic(tir.dtype_of(value), f"llvm.{kind}.{suffix}", value)

    @abstractmethod
    def narrow_to_int16(self, value: Expr) -> Expr:
        """Return an int32 vector limited to int16."""

    @abstractmethod
    def narrow_to_int8(self, value: Expr) -> Expr:
        """Return an int16 vector limited to int8."""

    @abstractmethod
    def multiply_q15(self, value: Expr, factor: Expr) -> Expr:
        """Return (value * factor + 2**14) >> 15 of int16 vectors."""

    def add_product_q15(self, total: Expr, value: Expr, factor: Expr) -> Expr:
        """Return the int16 sum of `total` and `multiply_q15` of the others, limited to int16."""
        return self.add_saturating(total, self.multiply_q15(value, factor))

    @abstractmethod
    def add_saturating(self, left: Expr, right: Expr) -> Expr:
        """Return the int16 sum limited to int16."""

    @abstractmethod
    def shift_and_narrow(self, value: Expr, bits: int) -> Expr:
        """Return (value + 2**(bits - 1)) >> bits of an int16 vector, limited to int8."""

    def pack_table(self, table: NDArray[np.int8]) -> bytes:
        """Return 256 entries in the form `table_lookup` takes: here as they are."""
        return table.tobytes()

    def table_lookup(self, kernel: Kernel, table: Pointer, index: Expr) -> Expr:
        """Return table[index] of 256 bytes for a uint8 vector, as int8; only if `has_table_lookup`."""
        raise NotImplementedError(f"{self.name} has no table lookup")

    def multiply_pairs(self, left: Expr, right: Expr) -> Expr:
        """Return the products of the two int16 in each lane of int32 vectors, added; only if `multiplies_pairs`."""
        raise NotImplementedError(f"{self.name} multiplies no pairs")

    def multiply_bytes(self, left: Expr, right: Expr) -> Expr:
        """Return the int16 products of two int8 vectors; only if `multiplies_bytes`."""
        raise NotImplementedError(f"{self.name} multiplies no bytes")

    def dot_product(self, acc: Expr, left: Expr, right: Expr) -> Expr:
        """Return an int32 vector plus the products of the four int8 of each lane; only if `has_dot_product`."""
        raise NotImplementedError(f"{self.name} has no dot product")

    def dot_operand(self, value: Expr) -> Expr:
        """Return int8 activations in the form `dot_product` takes on the right; here as they are."""
        return value

    def dot_start(self, start: Expr, weights: Sequence[Expr]) -> Expr:
        """Return what a sum begins with so that it ends as if `dot_operand` changed nothing; here `start` itself.

        Args:
            start: int32 vector.
            weights: all weights of its lanes, int8 vectors.
        """
        return start

    def tuning(self, shape: GemmShape | None = None) -> Tuning:
        """Return for which core LLVM orders a matrix product of this shape, or another kernel of long straight code."""
        return AS_VARIANT

    # -- matrix product ------------------------------------------------------------------------------------------
    def for_product(self, height: int, width: int, channels: int, shape: GemmShape) -> InstructionSet:
        """Return the set that writes a product of this size; here the same for all."""
        return self

    @abstractmethod
    def for_wide_product(self) -> InstructionSet:
        """Return the set that writes products of int16 activations and int8 weights; their bytes are then elements."""

    @abstractmethod
    def choose_tile(self, pixels: int, channels: int, shape: GemmShape) -> GemmTile:
        """Return the register tile for rows of `pixels` pixels and `channels` output channels."""

    def tile_of_map(self, tile: GemmTile, height: int, width: int, channels: int, shape: GemmShape) -> GemmTile:
        """Return the tile for a map whose pixels lie one after the other, with the columns of the one for a row."""
        return tile

    def pack(self, weight: NDArray[np.int8], columns: int) -> bytes:
        """Return the weights of `columns` channels as [segment][k / group][column][group], as `accumulate` reads them.

        Args:
            weight: int8 [columns, segments, length].
        """
        columns, segments, length = weight.shape
        groups = weight.reshape(columns, segments, length // self.group_bytes, self.group_bytes)
        return groups.transpose(1, 2, 0, 3).tobytes()

    def start_copies(self, columns: int) -> int:
        """Return how often the start values of a tile are stored: a copy for each row where loads are cheaper.

        With several `pixels_in_vector` a row is that many pixels.
        """
        return 1

    def packed_bytes(self, shape: GemmShape, columns: int) -> int:
        """Return the length of `pack` for a tile of `columns` channels: one byte for each weight."""
        return shape.segments * shape.length * columns

    def bias_correction(self, weight: NDArray[np.int8]) -> NDArray[np.int64]:
        """Return what to add to the bias of each channel because of how this set reads activations; here nothing."""
        return np.zeros(len(weight), np.int64)

    def prepare(self, kernel: Kernel, shape: GemmShape, source: Pointer, starts: Sequence[Expr]) -> Operand:
        """Emit what has to be done once to the pixels of a tile, before the loop over channels; here nothing.

        Args:
            source: int8 activations.
            starts: where the first byte of each pixel is; equally far apart unless `gathers_pixels`.
        """
        return Operand(source, starts[0], shape.pixel_stride, None)

    @abstractmethod
    def accumulate(
        self, kernel: Kernel, tile: GemmTile, shape: GemmShape, pixels: Operand, weights: Pointer, weight_start: Expr,
        starts: Sequence[Sequence[Expr]],
    ) -> list[list[Expr]]:  # fmt: skip
        """Emit the product of one tile.

        Args:
            pixels: what `prepare` returned.
            weights: the packed weights; the tile's are at `weight_start`.
            starts: for each row the int32 vectors that together hold the start value of each column.

        Returns:
            for each row the int32 vectors of its columns, in the order of `starts`. With several `pixels_in_vector`
            a row is that many pixels, and a vector holds fewer channels of each.
        """

    @abstractmethod
    def vector_widths(self, columns: int) -> list[int]:
        """Return how `accumulate` cuts `columns` int32 accumulators into vectors."""

    # -- composed from the above ---------------------------------------------------------------------------------
    def requantize(
        self,
        acc: Sequence[Expr],
        multiplier: Sequence[Expr],
        zero_point: Expr,
        low: int,
        high: int,
        fits_int16: bool = False,
        from_lowest: bool = False,
    ) -> Expr:
        """Return one int8 vector: clamp(rint(float32(acc) * m) + z, low, high), see `calib.integer.qparams.requantize`.

        Args:
            acc: int32 vectors, the lanes of the result in order.
            multiplier: float32 vectors, as wide as those of `acc`.
            zero_point: a scalar, of the output.
            low: the least result.
            high: the largest.
            fits_int16: whether the rounded product is known to fit int16, so that it can be cut instead of limited.
            from_lowest: whether the zero point is -128, as that of every ReLU, and the sum is known to fit int16, too.
        """
        scaled = [self.round_to_int32(tir.cast(a, "float32") * m) for a, m in zip(acc, multiplier, strict=True)]
        if fits_int16:
            wide = self.cut_to_int16(scaled)
        else:
            wide = tir.concat([self.narrow_to_int16(value) for value in scaled])
        wide = self.add_saturating(wide, tir.splat(zero_point, tir.dtype_of(wide)))
        return self.clamp_int8(self.narrow_to_int8(wide), low, high)

    def cut_to_int16(self, values: Sequence[Expr]) -> Expr:
        """Return int32 vectors whose values fit int16 as one int16 vector; here no cheaper than limiting them."""
        return tir.concat([self.narrow_to_int16(value) for value in values])

    def pieces(self, value: Expr, lanes: int) -> list[Expr]:
        """Return an int8 vector cut into pieces that are stored one by one."""
        return tir.words(value, lanes)

    def clamp_int8(self, value: Expr, low: int, high: int) -> Expr:
        """Return an int8 vector limited to [low, high]; limits that int8 has anyway cost nothing."""
        if low > -128:
            value = tir.maximum(value, tir.splat(low, tir.dtype_of(value)))
        if high < 127:
            value = tir.minimum(value, tir.splat(high, tir.dtype_of(value)))
        return value

    def store_groups(self, columns: int) -> list[range]:
        """Return which accumulator vectors of a row are stored together: powers of two, up to one int8 register."""
        widths, groups, at = self.vector_widths(columns), [], 0
        while at < len(widths):
            count = 1
            while at + 2 * count <= len(widths) and widths[at] * 2 * count <= self.lanes8:
                count *= 2
            while len(set(widths[at : at + count])) > 1:
                count //= 2
            groups.append(range(at, at + count))
            at += count
        return groups
