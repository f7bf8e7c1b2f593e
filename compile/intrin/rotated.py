"""Matrix products that rotate four pairs of a pixel instead of repeating each of them, for WebAssembly.

Lane i of a vector of four channels is multiplied with pair (i + turn) % 4 of a pixel, for turns 0 to 3, and its weights
are stored that way. A turn is a plain load, whose address may have a constant in it: engines of x86-64 add such a
constant by an instruction of its own where a load repeats an element or widens it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from compile.intrin.base import GemmShape, GemmTile, Operand
from compile.intrin.repeated import PAIR, Pairs
from compile.ir import tir
from compile.ir.tir import Expr, Kernel, Pointer

LANES = TURNS = 4  # int32 in a register, and pairs that are rotated
GROUP = TURNS * PAIR  # int16 of a pixel in a register
UNROLLED = 2  # groups
LOADED = 16  # bytes of a pixel that `Operand.whole_steps` counts by


class Rotated(Pairs):
    """Sets with registers of 128 bits whose loads of whole registers are the cheapest."""

    weight_instructions = 2  # the address, and a load that widens
    words_per_copy = 16  # each group is stored twice, so that every turn of it lies in one piece

    def fits(self, rows: int, columns: int) -> bool:
        """Tell whether a tile fits: LLVM orders the products of a group by sum, and keeps the weights of all turns.

        For 8 rows by 4 columns that is 8 sums, 4 turns, a pixel and a product: 14 of 15, as engines need one. In one
        row each weight is used once.
        """
        return columns == LANES or (rows == 1 and super().fits(rows, columns))

    def pack(self, weight: NDArray[np.int8], columns: int) -> bytes:
        """Return [segment][group][turn][vector][lane][2], then the pairs of half a group as [pair][column][2].

        Args:
            weight: int8 [columns, segments, length].
        """
        columns, segments, length = weight.shape
        whole = length // GROUP * GROUP
        groups = weight[..., :whole].reshape(columns // LANES, LANES, segments, whole // GROUP, TURNS, PAIR)
        lane, turn = np.arange(LANES), np.arange(TURNS)[:, None]
        turned = groups[:, lane, :, :, (lane + turn) % TURNS]  # [turn, lane, vector, segment, group, 2]
        rest = weight[..., whole:].reshape(columns, segments, -1, PAIR)
        parts = turned.transpose(3, 4, 0, 2, 1, 5), rest.transpose(1, 2, 0, 3)
        return np.concatenate([part.reshape(segments, -1) for part in parts], axis=1).tobytes()

    def prepare(self, kernel: Kernel, shape: GemmShape, source: Pointer, starts: Sequence[Expr]) -> Operand:
        """Copy the pixels to a scratch array, each group of four pairs twice."""
        lanes = self.lanes8
        padded = -(-shape.length // lanes) * lanes  # of a segment: in elements, and in words
        local = kernel.local(len(starts) * shape.segments * padded, "int32")
        scratch = kernel.address(local, 0)  # stored to and loaded from as one kind of memory
        for row, start in enumerate(starts):
            with (
                kernel.loop(shape.segments, name="segment") as segment,
                kernel.loop(padded // lanes, name="copy") as copy,
            ):
                value = self.convert(source.load(start + shape.offset_of(segment) + copy * lanes, lanes))
                target = (row * shape.segments + segment) * padded + copy * lanes
                for half, piece in enumerate(tir.split(kernel.bind(value, "copied"), GROUP)):
                    group = kernel.bind(tir.reinterpret(piece, f"int32x{LANES}"), "group")
                    kernel.store(scratch, target + half * GROUP, group)
                    kernel.store(scratch, target + half * GROUP + LANES, group)
        return Operand(scratch, 0, shape.segments * padded, padded)

    def accumulate(
        self, kernel: Kernel, tile: GemmTile, shape: GemmShape, pixels: Operand, weights: Pointer, weight_start: Expr,
        starts: Sequence[Sequence[Expr]],
    ) -> list[list[Expr]]:  # fmt: skip
        """Emit [rows, 8] x [8, columns] -> [rows, columns] for each group, and the pairs of half a group repeated.

        Addresses are exclusive ors with a zero LLVM does not know: where they are sums, it takes the constants out of
        the addresses of a loop, and adds each again.
        """
        acc = [[kernel.local(1, f"int32x{LANES}") for _ in row] for row in starts]
        for row, start_row in zip(acc, starts, strict=True):
            for cell, start in zip(row, start_row, strict=True):
                kernel.store(cell, 0, start)
        zero = kernel.bind(pixels.whole_steps - shape.length // LOADED, "zero")
        whole, rest = divmod(shape.length, GROUP)

        def places(segment: Expr, group: Expr) -> tuple[Pointer, Pointer]:
            at = segment * shape.length + group * GROUP
            weight = kernel.address(weights, tir.bitwise_xor(weight_start + at * tile.columns, zero))
            at = segment * pixels.segment_stride + group * GROUP
            return weight, kernel.address(pixels.pointer, tir.bitwise_xor(at, zero))

        with kernel.loop(shape.segments, name="segment") as segment:
            if whole:
                # Two rounds LLVM would write out, with the weights of both in registers.
                count = tir.bitwise_xor(zero, tir.const(whole)) if whole == UNROLLED else whole
                with kernel.loop(count, name="group") as group:
                    weight, pixel = places(segment, group)
                    for turn in range(TURNS):
                        turned = kernel.address(pixel, turn, f"int32x{LANES}")
                        rows = (turned.load(row * (pixels.row_stride // LANES)) for row in range(tile.rows))
                        self._add_products(kernel, acc, rows, weight, turn)
            if rest:
                weight, pixel = places(segment, tir.const(whole))
                for pair in range(rest // PAIR):
                    words = (pixel.load(row * pixels.row_stride + pair) for row in range(tile.rows))
                    rows = (tir.splat(word, f"int32x{LANES}") for word in words)
                    self._add_products(kernel, acc, rows, weight, pair)
        return [[cell.load(0) for cell in row] for row in acc]

    def _add_products(
        self, kernel: Kernel, acc: list[list[Pointer]], rows: Iterable[Expr], weight: Pointer, number: int
    ) -> None:
        """Add the products of a vector of each row and the weights of one turn, or of one pair."""
        vectors = len(acc[0])
        extended = [
            kernel.bind(self.extend(weight.load((number * vectors + vector) * GROUP, GROUP)), "weight")
            for vector in range(vectors)
        ]
        for cells, row in zip(acc, rows, strict=True):
            pixel = kernel.bind(row, "pixel")
            for cell, vector in zip(cells, extended, strict=True):
                kernel.store(cell, 0, self.multiply_add(cell.load(0), pixel, vector))
