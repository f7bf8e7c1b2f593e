"""Matrix products that slide over the units of a pixel instead of repeating each of them, for WebAssembly.

A unit is what one product takes of a pixel, four bytes. In step s lane i of a vector of four channels is multiplied
with unit s + i, and its weights are stored that way; behind its last unit a pixel is followed by its first ones. So a
step is a plain load from the copy of a pixel, one word behind that of the step before, and its address may have a
constant in it: engines of x86-64 add such a constant by an instruction of its own where a load repeats an element.

Beside `compile.intrin.wasm.rotated` each unit is copied once, a kernel of several rows is one loop, and two vectors of
channels share the load of a pixel. Where the loads of weights widen them, that is no faster.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from compile.intrin.base import GemmShape, GemmTile, Operand
from compile.intrin.repeated import Pairs
from compile.intrin.wasm.rotated import LANES, LOADED
from compile.ir import tir
from compile.ir.memory_plan import round_up
from compile.ir.tir import Expr, Kernel, Pointer


class Sliding(Pairs):
    """Sets with registers of 128 bits whose loads of whole registers are the cheapest."""

    def fits(self, rows: int, columns: int) -> bool:
        """Tell whether a tile fits the registers, of which engines need one: its sums, weights, a pixel, a product.

        For 6 rows by 8 columns that is 12 + 2 + 1 = 15 of 15, where a product and its sum are one instruction.
        """
        vectors = columns // LANES
        return rows * vectors + vectors + self.instructions < self.registers

    def pack(self, weight: NDArray[np.int8], columns: int) -> bytes:
        """Return [step][vector][lane][unit].

        Args:
            weight: int8 [columns, segments, length].
        """
        units = weight.reshape(columns // LANES, LANES, -1, self.group_bytes)
        steps = units.shape[2]
        lane, step = np.arange(LANES), np.arange(steps)[:, None]
        slid = units[:, lane, (lane + step) % steps]  # [vector, step, lane, unit]
        return slid.transpose(1, 0, 2, 3).tobytes()

    def prepare(self, kernel: Kernel, shape: GemmShape, source: Pointer, starts: Sequence[Expr]) -> Operand:
        """Copy the segments of a pixel one behind the other, and behind the last the first units once more."""
        lanes, words, length = self.lanes8, self.words_per_copy, shape.length // self.group_bytes
        copies, units = -(-shape.length // lanes), shape.segments * length  # of a segment; of a pixel
        behind = places_behind(units)
        stride = round_up(max(units - length + copies * words, behind[-1] + LANES), LANES)
        # From an address of a kind of its own it is stored to and loaded from as one kind of memory.
        scratch = kernel.address(kernel.local(len(starts) * stride, "int32"), tir.const(0))
        for row, start in enumerate(starts):
            with (
                kernel.loop(shape.segments, name="segment") as segment,
                kernel.loop(copies, name="copy") as copy,
            ):
                value = self.convert(source.load(start + shape.offset_of(segment) + copy * lanes, lanes))
                copied = kernel.bind(tir.reinterpret(value, f"int32x{words}"), "copied")
                for number, piece in enumerate(tir.split(copied, LANES)):
                    kernel.store(scratch, row * stride + segment * length + copy * words + number * LANES, piece)
            first = kernel.bind(scratch.load(row * stride, LANES), "first")
            for place in behind:
                kernel.store(scratch, row * stride + place, first)
        return Operand(scratch, 0, stride, None)

    def accumulate(
        self, kernel: Kernel, tile: GemmTile, shape: GemmShape, pixels: Operand, weights: Pointer, weight_start: Expr,
        starts: Sequence[Sequence[Expr]],
    ) -> list[list[Expr]]:  # fmt: skip
        """Emit [rows, unit] x [unit, columns] -> [rows, columns] for each step.

        Addresses are an exclusive or with a zero LLVM does not know: were they sums, LLVM would take the constants out
        of the addresses of a loop, and add each again. Each vector of weights has an address of its own, and so LLVM
        loads all of them and then a pixel at a time; from one address it would keep all pixels in registers instead.
        """
        acc = [[kernel.local(1, f"int32x{LANES}") for _ in row] for row in starts]
        for row, start_row in zip(acc, starts, strict=True):
            for cell, start in zip(row, start_row, strict=True):
                kernel.store(cell, 0, start)
        steps, lanes = shape.segments * shape.length // self.group_bytes, LANES * self.group_bytes
        zero = kernel.bind(pixels.whole_steps - shape.length // LOADED, "zero")
        # A few rounds LLVM would write out, with the weights of all of them in registers.
        count = tir.bitwise_xor(zero, tir.const(steps)) if steps > 1 else 1
        vectors = range(0, tile.columns * self.group_bytes, lanes)
        bases = [kernel.address(weights, tir.bitwise_xor(weight_start + vector, zero)) for vector in vectors]
        with kernel.loop(count, name="step") as step:
            places = [kernel.address(base, step * (tile.columns * self.group_bytes)) for base in bases]
            pixel = kernel.address(pixels.pointer, tir.bitwise_xor(step, zero))
            extended = [kernel.bind(self.extend(place.load(0, lanes)), "weight") for place in places]
            for number, cells in enumerate(acc):
                loaded = kernel.bind(pixel.load(number * pixels.row_stride, LANES), "pixel")
                for cell, vector in zip(cells, extended, strict=True):
                    kernel.store(cell, 0, self.multiply_add(cell.load(0), loaded, vector))
        return [[cell.load(0) for cell in row] for row in acc]


def places_behind(units: int) -> range:
    """Return where the first four words of a pixel are stored again, so that its last step finds units in all lanes."""
    return range(units, units + LANES - 1, units)
