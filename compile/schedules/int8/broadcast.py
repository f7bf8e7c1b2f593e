"""Products and sums of a map and a tensor of its size, or of one value for each pixel, row, column or channel."""

from __future__ import annotations

from calib.integer.program import Add, Multiply
from compile.ir import tir
from compile.ir.memory_plan import AnyOperator, TensorPlace
from compile.ir.tir import Expr, Pointer
from compile.schedules.base import Context, KernelFrame, MaybeScheduled, Scheduled
from compile.schedules.int8.add import add_scalars_of, add_values
from compile.schedules.int8.multiply import multiply_scalars, multiply_values
from compile.schedules.phases import phase_runs, pixel_phases


def schedule_broadcast(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule such a product or sum; None for anything else."""
    if not isinstance(operator, Multiply | Add):
        return None
    isa, y = context.isa, operator.output
    second = operator.gate if isinstance(operator, Multiply) else operator.other
    if second.shape == ((1, 1, y.channels) if isinstance(operator, Multiply) else y.shape):
        return None  # `multiply` and `add` have kernels of their own for these
    source, other, target = (context.place(tensor) for tensor in (operator.input, second, y))
    phases = pixel_phases(isa.lanes8, target)
    scalars = multiply_scalars(operator) if isinstance(operator, Multiply) else add_scalars_of(operator)
    frame = KernelFrame(operator.name, 3, len(scalars))
    kernel = frame.kernel
    multiplier = (
        kernel.bind(frame.constants("float32").load(0), "multiplier") if isinstance(operator, Multiply) else None
    )
    for first, step, count in phase_runs(phases.starts):
        with (
            kernel.loop(frame.end - frame.begin, frame.begin, "row") as row,
            kernel.loop(y.width, name="column") as column,
            kernel.loop(count, name="phase") as phase,
        ):
            channel = phases.starts[first] + phase * step
            along = row * source.pitch + column * source.pixel + channel
            left = frame.tensors[0].load(source.origin + along, phases.lanes)
            right = load_spread(frame.tensors[1], other, (row, column, channel), phases.lanes)
            if isinstance(operator, Multiply):
                value = multiply_values(kernel, isa, operator, (left, right), frame.scalars, multiplier)
            else:
                value = add_values(isa, operator, (left, right), frame.scalars)
            kernel.store(frame.tensors[2], target.origin + row * target.pitch + column * target.pixel + channel, value)
    what = "mul" if isinstance(operator, Multiply) else "add"
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_qs8_{what}_{'x'.join(map(str, y.shape))}_by_{'x'.join(map(str, second.shape))}__{isa.name}",
        offsets=(source.offset, other.offset, target.offset),
        units=y.height,
        scalars=scalars,
        constants=operator.epilogue.multiplier.tobytes() if isinstance(operator, Multiply) else b"",
    )


def load_spread(pointer: Pointer, place: TensorPlace, at: tuple[Expr, Expr, Expr], lanes: int) -> Expr:
    """Return the values that meet some channels of a pixel; along an axis of size 1 they are the same everywhere."""
    (row, column, channel), tensor = at, place.tensor
    index = place.origin
    for size, position, step in ((tensor.height, row, place.pitch), (tensor.width, column, place.pixel)):
        index = index + position * step if size > 1 else index
    if tensor.channels > 1:
        return pointer.load(index + channel, lanes)
    return tir.splat(pointer.load(index), f"{pointer.element}x{lanes}")
