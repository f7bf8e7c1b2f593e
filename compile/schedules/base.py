"""What a schedule is: a rule that turns one operator into a kernel, or answers None."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from calib.integer.qparams import ADD_SHIFT, INT8_MIN, INT16_MAX
from calib.integer.values import Requantize, RequantizeAdd
from compile.intrin import InstructionSet
from compile.ir import tir
from compile.ir.float_program import FloatAdd, FloatBinary, FloatSubtract
from compile.ir.memory_plan import AnyOperator, AnyTensor, MemoryPlan, TensorPlace
from compile.ir.tir import Expr, Kernel, Pointer
from compile.targets.tuning import AS_VARIANT, Tuning
from repghost.graph.operators import Clamp


@dataclass(frozen=True)
class Context:
    """What a rule may look at besides the operator."""

    isa: InstructionSet
    plan: MemoryPlan

    def place(self, tensor: AnyTensor) -> TensorPlace:
        """Return where a tensor lives."""
        return self.plan.placements[tensor.name]


@dataclass(frozen=True)
class Scheduled:
    """One operator ready to run.

    The function takes four pointers (rgb, logits, workspace, weights), then int32: the `offsets` of its tensors in the
    workspace, its `scalars` (zero points and the like), the offset of its constants in the weights, and begin and end:
    the units of this call, usually rows. So one function serves every operator of the same shape.
    """

    function: Any  # tvm.tirx.PrimFunc
    name: str  # rg_<types>_<operator>_<shape>__<instruction set>, see docs
    offsets: tuple[int, ...]
    units: int
    scalars: tuple[int, ...] = ()
    constants: bytes = field(default=b"", repr=False)
    tuning: Tuning = AS_VARIANT


def offsets_of(*places: TensorPlace | None) -> tuple[int, ...]:
    """Return where the tensors of a kernel lie in the workspace, in bytes; None for a tensor it does not have."""
    return tuple(place.offset for place in places if place is not None)


class KernelFrame:
    """The parameters every kernel has, in the order `Scheduled` gives.

    Args:
        name: of the operator.
        tensors: how many it reads and writes.
        scalars: how many further numbers it takes.
        element: of its tensors; several, where they differ.
    """

    def __init__(self, name: str, tensors: int, scalars: int = 0, element: str | Sequence[str] = "int8") -> None:
        self.kernel = Kernel(name)
        self.rgb = self.kernel.pointer("rgb", "uint8")
        self.logits = self.kernel.pointer("logits", "float32")
        self.workspace = self.kernel.pointer("workspace", "int8")
        weights = self.kernel.pointer("weights", "int8")
        elements = [element] * tensors if isinstance(element, str) else list(element)
        views = {"int8": self.workspace}
        for kind in elements:
            if kind not in views:
                views[kind] = self.kernel.view(self.workspace, kind)
        offsets = [self.kernel.scalar(f"tensor_{index}") for index in range(tensors)]
        self.tensors = [
            views[kind].at(tir.floordiv(offset, ELEMENT_BYTES[kind]))
            for kind, offset in zip(elements, offsets, strict=True)
        ]
        self.scalars = [self.kernel.scalar(f"scalar_{index}") for index in range(scalars)]
        constants = self.kernel.scalar("constants")
        self.weights = weights.at(constants)
        self._weights, self._constants = weights, constants
        self.begin, self.end = self.kernel.scalar("begin"), self.kernel.scalar("end")

    def constants(self, element: str) -> Pointer:
        """Return the operator's constants seen as another type of 2 or 4 bytes."""
        view = self.kernel.view(self._weights, element)
        return view.at(tir.floordiv(self._constants, ELEMENT_BYTES[element]))


ELEMENT_BYTES = {"int8": 1, "int16": 2, "int32": 4, "float16": 2, "float32": 4}
FLOAT_NAMES = {"float32": "f32", "float16": "f16"}  # in the names of kernels
NAMES = {"int8": "s8", "int16": "s16", **FLOAT_NAMES}
MaybeScheduled: TypeAlias = Scheduled | None


def clamp_floats(value: Expr, clamp: Clamp) -> Expr:
    """Return a float vector limited to an interval; limits that its element has anyway cost nothing."""
    dtype, (low, high) = tir.dtype_of(value), clamp
    largest = float(np.finfo(tir.split_dtype(dtype)[0]).max)
    if low > -largest:
        value = tir.maximum(value, tir.splat(float(low), dtype))
    if high < largest:
        value = tir.minimum(value, tir.splat(float(high), dtype))
    return value


def combine_floats(operator: FloatBinary, x: Expr, other: Expr) -> Expr:
    """Return what a sum, a difference or a product of two maps makes of two vectors."""
    match operator:
        case FloatAdd():
            value = x + other
        case FloatSubtract():
            value = x - other
        case _:
            value = x * other
    return clamp_floats(value, operator.clamp)


def binary_name(operator: FloatBinary) -> str:
    """Return what a sum, a difference or a product is called in a kernel's name."""
    return type(operator).__name__.removeprefix("Float").lower()


def lanes_of(isa: InstructionSet, element: str) -> int:
    """Return how many numbers of a type schedules process at a time."""
    return isa.float_lanes if element in FLOAT_NAMES else isa.lanes8 // ELEMENT_BYTES[element]


def kernel_elements(operator: AnyOperator, scores: bool = False) -> tuple[str, ...]:
    """Return the types of the tensors of a layer's kernel: what it reads, what it writes, what its epilogue adds.

    Args:
        operator: a convolution.
        scores: whether it writes scores, and no tensor.
    """
    read, *added = (tensor.element for tensor in operator.inputs)
    return (read, *(() if scores else (operator.output.element,)), *added)


def layer_types(operator: AnyOperator) -> str:
    """Return the types of what a layer reads and writes, in the name of its kernel: one where both are int8."""
    kinds = [NAMES[operator.inputs[0].element], NAMES[operator.output.element]]
    return "".join(kinds if is_wide(operator) else kinds[:1])


def is_wide(operator: AnyOperator) -> bool:
    """Return whether an operator reads or writes int16."""
    return "int16" in (operator.output.element, *(tensor.element for tensor in operator.inputs))


def requantize_add(
    isa: InstructionSet,
    acc: Sequence[Expr],
    multiplier: Sequence[Expr],
    residual: Expr,
    epilogue: RequantizeAdd,
    scalars: Sequence[Expr],
) -> Expr:
    """Return one int8 vector: the epilogue with a residual, see `calib.integer.qparams.requantize_add`.

    Args:
        acc: int32 vectors.
        multiplier: float32 vectors of the same widths, already times 4096.
        residual: int8, as many lanes as `acc` has together.
        scalars: zero point, the residual's zero point, the residual's factor; see `add_scalars`.
    """
    zero_point, residual_zero, factor = scalars
    pieces = []
    width = tir.split_dtype(tir.dtype_of(acc[0]))[1]
    for a, m, r in zip(acc, multiplier, tir.split(residual, width), strict=True):
        wide = tir.dtype_of(a)
        total = isa.round_to_int32(tir.cast(a, "float32") * m)
        shifted = tir.cast(r, "int32") - tir.splat(residual_zero, wide)
        total = total + shifted * tir.splat(factor, wide)
        total = tir.shift_right(total + tir.splat(1 << (ADD_SHIFT - 1), wide), ADD_SHIFT)
        pieces.append(isa.narrow_to_int16(total))
    value = tir.concat(pieces)
    value = isa.add_saturating(value, tir.splat(zero_point, tir.dtype_of(value)))
    return isa.clamp_int8(isa.narrow_to_int8(value), epilogue.low, epilogue.high)


def add_scalars(epilogue: RequantizeAdd) -> tuple[int, ...]:
    """Return the scalars `requantize_add` takes."""
    return epilogue.zero_point, epilogue.residual.qparams.zero_point, epilogue.residual_factor


def product_fits_int16(largest: NDArray[np.integer] | int, multiplier: NDArray[np.float32], room: int = 0) -> bool:
    """Tell whether rint(float32(acc) * m[c]) fits int16 for every |acc| up to `largest`, and `room` more does."""
    return bool((np.abs(np.asarray(largest, np.float64)) * multiplier).max() + 1 + room < INT16_MAX)


def starts_lowest(epilogue: Requantize, largest: NDArray[np.integer] | int) -> bool:
    """Tell whether the zero point is -128 and what is rounded fits int16 with it: `InstructionSet.requantize`."""
    return epilogue.zero_point == INT8_MIN and product_fits_int16(largest, epilogue.multiplier, room=-INT8_MIN)
