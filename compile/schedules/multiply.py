"""The squeeze-excite gate: every pixel times one vector of channels, requantized."""

from __future__ import annotations

from calib.program import Multiply
from compile import tir
from compile.layout import AnyOperator, Placement
from compile.schedules.base import Answer, Context, KernelFrame, Scheduled, product_fits_int16
from compile.schedules.phases import flat_phases
from compile.tir import Expr, Kernel, Pointer

LARGEST_PRODUCT = 255 * 255


def schedule_multiply(operator: AnyOperator, context: Context) -> Answer:
    """Schedule a gate; None for anything else."""
    if not isinstance(operator, Multiply):
        return None
    isa = context.isa
    source, gate, target = (context.place(t) for t in (operator.input, operator.gate, operator.output))
    phases = flat_phases(isa.lanes8, target)
    frame = KernelFrame(operator.name, 3, 3)
    kernel, lanes = frame.kernel, phases.lanes
    multiplier = kernel.bind(frame.constants("float32").load(0), "multiplier")
    native = isa.vector_widths(lanes)[0]
    factors = [tir.splat(multiplier, f"float32x{native}")] * (lanes // native)
    zero_x, zero_g, zero_y = frame.scalars
    fits_int16 = product_fits_int16(LARGEST_PRODUCT, operator.epilogue.multiplier)
    for start in phases.starts:
        gates = load_gate(kernel, frame.tensors[1], gate, lanes, start)
        gates = kernel.bind(tir.cast(gates, "int16") - tir.splat(zero_g, f"int16x{lanes}"), "gates")
        with (
            kernel.loop(frame.end - frame.begin, frame.begin, "row") as row,
            kernel.loop(phases.count, name="column") as column,
        ):
            along = phases.along(column) + start
            x = frame.tensors[0].load(source.origin + row * source.pitch + along, lanes)
            x = tir.cast(x, "int16") - tir.splat(zero_x, f"int16x{lanes}")
            product = kernel.bind(tir.cast(x, "int32") * tir.cast(gates, "int32"), "product")
            epilogue = operator.epilogue
            value = isa.requantize(tir.split(product, native), factors, zero_y, epilogue.low, epilogue.high, fits_int16)
            kernel.store(frame.tensors[2], target.origin + row * target.pitch + along, value)
    shape = f"{operator.input.height}x{operator.input.width}_c{operator.input.channels}"
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_qs8_gate_{shape}__{isa.name}",
        offsets=(source.offset, gate.offset, target.offset),
        units=operator.output.height,
        scalars=(
            operator.input.qparams.zero_point,
            operator.gate.qparams.zero_point,
            operator.epilogue.zero_point,
        ),
        constants=operator.epilogue.multiplier.tobytes(),
    )


def load_gate(kernel: Kernel, source: Pointer, gate: Placement, lanes: int, start: int) -> Expr:
    """Return the gate of each lane of a phase; where a phase wraps around the channels it is put together."""
    pixel = gate.pixel
    pieces, at, left = [], start % pixel, lanes
    while left:
        step = min(left, pixel - at)
        while step & (step - 1):
            step &= step - 1  # the largest power of two: loads have the width of a vector
        pieces.append(kernel.bind(source.load(gate.origin + at, step), "gate"))
        at, left = (at + step) % pixel, left - step
    return pieces[0] if len(pieces) == 1 else tir.shuffle(pieces, range(lanes))
