"""The squeeze-excite gate: every pixel times one vector of channels, requantized."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from calib.integer.program import Multiply
from compile.intrin import InstructionSet
from compile.ir import tir
from compile.ir.memory_plan import AnyOperator, TensorPlace
from compile.ir.tir import Expr, Kernel, Pointer
from compile.schedules.base import Context, KernelFrame, MaybeScheduled, Scheduled, product_fits_int16, starts_lowest
from compile.schedules.phases import Phases, channel_phases, phase_runs

LARGEST_PRODUCT = 255 * 255


def schedule_multiply(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a gate of one value for each channel; None for anything else."""
    if not isinstance(operator, Multiply) or operator.gate.shape != (1, 1, operator.input.channels):
        return None
    isa = context.isa
    source, gate, target = (context.place(t) for t in (operator.input, operator.gate, operator.output))
    phases = channel_phases(isa.lanes8, target)
    frame = KernelFrame(operator.name, 3, 3)
    kernel, lanes = frame.kernel, phases.lanes
    options = (7, 6, 5, 4, 3, 2) if isa.in_order else (2,)
    unrolled = next((option for option in options if phases.count % option == 0), 1)  # vectors in a round of the loop
    multiplier = kernel.bind(frame.constants("float32").load(0), "multiplier")
    zero_x, zero_g, zero_y = frame.scalars
    for first, step, count in gate_runs(phases, target):
        with kernel.loop(count, name="phase") as number:
            start = phases.starts[first] + number * step
            gates = load_gate(kernel, frame.tensors[1], gate, lanes, start if count > 1 else phases.starts[first])
            # Both are negated: ARM widens what is subtracted, and not what it is subtracted from.
            gates = kernel.bind(tir.splat(zero_g, f"int16x{lanes}") - tir.cast(gates, "int16"), "gates")
            with (
                kernel.loop(frame.end - frame.begin, frame.begin, "row") as row,
                kernel.loop(phases.count // unrolled, name="column") as column,
            ):
                places = [phases.along(column * unrolled + number) for number in range(unrolled)]
                offsets = [
                    place + start + pixel * target.pixel
                    for place, pixel in itertools.product(places, range(phases.pixels))
                ]
                # All are loaded before the first is stored: LLVM takes no load across a store.
                at = source.origin + row * source.pitch
                loaded = [kernel.bind(frame.tensors[0].load(at + along, lanes), "x") for along in offsets]
                for along, x in zip(offsets, loaded, strict=True):
                    centred = tir.splat(zero_x, f"int16x{lanes}") - tir.cast(x, "int16")
                    value = _product(kernel, isa, operator, (centred, gates), zero_y, multiplier)
                    kernel.store(frame.tensors[2], target.origin + row * target.pitch + along, value)
    shape = f"{operator.input.height}x{operator.input.width}_c{operator.input.channels}"
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_qs8_gate_{shape}__{isa.name}",
        offsets=(source.offset, gate.offset, target.offset),
        units=operator.output.height,
        scalars=multiply_scalars(operator),
        constants=operator.epilogue.multiplier.tobytes(),
    )


def multiply_values(
    kernel: Kernel,
    isa: InstructionSet,
    operator: Multiply,
    values: tuple[Expr, Expr],
    scalars: Sequence[Expr],
    multiplier: Expr,
) -> Expr:
    """Return the product of two int8 vectors as one; the scalars are `multiply_scalars` of the operator."""
    wide = f"int16x{tir.split_dtype(tir.dtype_of(values[0]))[1]}"
    left, right = (
        tir.cast(value, "int16") - tir.splat(zero, wide) for value, zero in zip(values, scalars, strict=False)
    )
    return _product(kernel, isa, operator, (left, right), scalars[2], multiplier)


def _product(
    kernel: Kernel, isa: InstructionSet, operator: Multiply, centred: tuple[Expr, Expr], zero_y: Expr, multiplier: Expr
) -> Expr:
    """Return the requantized product of two int16 vectors."""
    epilogue, lanes = operator.epilogue, tir.split_dtype(tir.dtype_of(centred[0]))[1]
    native = isa.vector_widths(lanes)[0]
    factors = [tir.splat(multiplier, f"float32x{native}")] * (lanes // native)
    fits_int16 = product_fits_int16(LARGEST_PRODUCT, epilogue.multiplier)
    from_lowest = starts_lowest(epilogue, LARGEST_PRODUCT)
    left, right = (tir.cast(value, "int32") for value in centred)
    product = tir.split(kernel.bind(left * right, "product"), native)
    return isa.requantize(product, factors, zero_y, epilogue.low, epilogue.high, fits_int16, from_lowest)


def multiply_scalars(operator: Multiply) -> tuple[int, ...]:
    """Return the zero points of both inputs and of the output."""
    return operator.input.qparams.zero_point, operator.gate.qparams.zero_point, operator.epilogue.zero_point


def gate_runs(phases: Phases, target: TensorPlace) -> list[tuple[int, int, int]]:
    """Return (first phase, step, count) of phases that share a loop; a phase with channels of two pixels is alone."""
    last = phases.starts[-1] + phases.lanes
    return phase_runs(phases.starts) if last <= target.pixel else [(i, 0, 1) for i in range(len(phases.starts))]


def load_gate(kernel: Kernel, source: Pointer, gate: TensorPlace, lanes: int, start: Expr) -> Expr:
    """Return the gate of each lane of a phase; where a phase has channels of two pixels, it is joined from pieces.

    Args:
        start: the first lane's channel, counted on over the pixels; a phase in a loop never wraps.
    """
    if not isinstance(start, int):
        return kernel.bind(source.load(gate.origin + start, lanes), "gate")
    pixel = gate.pixel
    pieces, at, left = [], start % pixel, lanes
    while left:
        step = min(left, pixel - at)
        while step & (step - 1):
            step &= step - 1  # the largest power of two: loads have the width of a vector
        pieces.append(kernel.bind(source.load(gate.origin + at, step), "gate"))
        at, left = (at + step) % pixel, left - step
    return pieces[0] if len(pieces) == 1 else tir.shuffle(pieces, range(lanes))
