"""Matrix products that rotate four units of a pixel instead of repeating each of them, for WebAssembly.

A unit is what one product takes of a pixel, a pair. Lane i of a vector of four channels is multiplied with unit
(i + turn) % 4 of a pixel, for turns 0 to 3, and its weights are stored that way. A turn is a plain load, and its
address may have a constant in it: engines of x86-64 add such a constant by an instruction of its own where a load
repeats an element or widens it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from compile.intrin.base import GemmShape, GemmTile, Operand
from compile.intrin.repeated import Pairs
from compile.ir import tir
from compile.ir.tir import Expr, Kernel, Pointer

LANES = TURNS = 4  # int32 in a register, and units that are rotated
WORDS = 2 * LANES  # int32 of a group, which is stored twice
ALIGNMENT = 32  # bytes of a group that is stored twice: none of its turns then lies in two lines of a cache
LOADED = 16  # bytes of a pixel that `Operand.whole_steps` counts by


class Rotated(Pairs):
    """Sets with registers of 128 bits whose loads of whole registers are the cheapest."""

    weight_instructions = 2  # the address, and a load that widens
    words_per_copy = 16  # each group is stored twice, so that every turn of it lies in one piece

    @property
    def group(self) -> int:
        """Elements of a pixel in a register."""
        return TURNS * self.group_bytes

    def fits(self, rows: int, columns: int) -> bool:
        """Tell whether a tile fits: LLVM orders the products of a group by sum, and keeps the weights of all turns.

        For 8 rows by 4 columns that is 8 sums, 4 turns, a pixel and a product: 14 of 15, as engines need one. In one
        row each weight is used once.
        """
        return columns == LANES or (rows == 1 and super().fits(rows, columns))

    def pack(self, weight: NDArray[np.int8], columns: int) -> bytes:
        """Return [segment][group][turn][vector][lane][unit], then the units of a part of a group as they are.

        Args:
            weight: int8 [columns, segments, length].
        """
        columns, segments, length = weight.shape
        whole = length // self.group * self.group
        groups = weight[..., :whole].reshape(
            columns // LANES, LANES, segments, whole // self.group, TURNS, self.group_bytes
        )
        lane, turn = np.arange(LANES), np.arange(TURNS)[:, None]
        turned = groups[:, lane, :, :, (lane + turn) % TURNS]  # [turn, lane, vector, segment, group, unit]
        rest = weight[..., whole:].reshape(columns, segments, -1, self.group_bytes)
        parts = turned.transpose(3, 4, 0, 2, 1, 5), rest.transpose(1, 2, 0, 3)
        return np.concatenate([part.reshape(segments, -1) for part in parts], axis=1).tobytes()

    def prepare(self, kernel: Kernel, shape: GemmShape, source: Pointer, starts: Sequence[Expr]) -> Operand:
        """Copy the pixels to a scratch array, each group of four units twice."""
        lanes = self.lanes8
        copies = -(-shape.length // lanes)  # of a segment
        words = copies * self.words_per_copy
        # From an address of a kind of its own it is stored to and loaded from as one kind of memory.
        scratch = kernel.aligned_local(len(starts) * shape.segments * words, "int32", ALIGNMENT)
        for row, start in enumerate(starts):
            with (
                kernel.loop(shape.segments, name="segment") as segment,
                kernel.loop(copies, name="copy") as copy,
            ):
                value = self.convert(source.load(start + shape.offset_of(segment) + copy * lanes, lanes))
                target = (row * shape.segments + segment) * words + copy * self.words_per_copy
                for number, piece in enumerate(tir.split(kernel.bind(value, "copied"), self.group)):
                    group = kernel.bind(tir.reinterpret(piece, f"int32x{LANES}"), "group")
                    kernel.store(scratch, target + number * WORDS, group)
                    kernel.store(scratch, target + number * WORDS + LANES, group)
        return Operand(scratch, 0, shape.segments * words, words)

    def accumulate(
        self, kernel: Kernel, tile: GemmTile, shape: GemmShape, pixels: Operand, weights: Pointer, weight_start: Expr,
        starts: Sequence[Sequence[Expr]],
    ) -> list[list[Expr]]:  # fmt: skip
        """Emit [rows, group] x [group, columns] -> [rows, columns] for each group, and the units of a part repeated.

        The address of a pixel is an exclusive or with a zero LLVM does not know: were it a sum, LLVM would take the
        constants out of the addresses of a loop, and add each again.
        """
        acc = [[kernel.local(1, f"int32x{LANES}") for _ in row] for row in starts]
        for row, start_row in zip(acc, starts, strict=True):
            for cell, start in zip(row, start_row, strict=True):
                kernel.store(cell, 0, start)
        zero = kernel.bind(pixels.whole_steps - shape.length // LOADED, "zero")
        whole, rest = divmod(shape.length, self.group)
        with kernel.loop(shape.segments, name="segment") as segment:

            def places(skip: Expr, words: Expr) -> tuple[Pointer, Pointer]:
                at = weight_start + (segment * shape.length + skip) * tile.columns
                weight = kernel.address(weights, at)
                at = segment * pixels.segment_stride + words
                return weight, kernel.address(pixels.pointer, tir.bitwise_xor(at, zero))

            if whole:
                # A few rounds LLVM would write out, with the weights of all of them in registers.
                count = tir.bitwise_xor(zero, tir.const(whole)) if whole > 1 else 1
                with kernel.loop(count, name="group") as group:
                    weight, pixel = places(group * self.group, group * WORDS)
                    for turn in range(TURNS):
                        turned = kernel.address(pixel, turn, f"int32x{LANES}")
                        rows = (turned.load(row * (pixels.row_stride // LANES)) for row in range(tile.rows))
                        self._add_products(kernel, acc, rows, weight, turn)
            if rest:
                weight, pixel = places(tir.const(whole * self.group), tir.const(whole * WORDS))
                for unit in range(rest // self.group_bytes):
                    loaded = (pixel.load(row * pixels.row_stride + unit) for row in range(tile.rows))
                    rows = (tir.splat(word, f"int32x{LANES}") for word in loaded)
                    self._add_products(kernel, acc, rows, weight, unit)
        return [[cell.load(0) for cell in row] for row in acc]

    def _add_products(
        self, kernel: Kernel, acc: list[list[Pointer]], rows: Iterable[Expr], weight: Pointer, number: int
    ) -> None:
        """Add the products of a vector of each row and the weights of one turn, or of one unit."""
        vectors = len(acc[0])
        extended = [
            kernel.bind(self.extend(weight.load((number * vectors + vector) * self.group, self.group)), "weight")
            for vector in range(vectors)
        ]
        for cells, row in zip(acc, rows, strict=True):
            pixel = kernel.bind(row, "pixel")
            for cell, vector in zip(cells, extended, strict=True):
                kernel.store(cell, 0, self.multiply_add(cell.load(0), pixel, vector))
