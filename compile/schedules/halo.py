"""The border of an activation, filled with its zero point before the operator that writes the inside."""

from __future__ import annotations

from compile.ir import tir
from compile.ir.float_program import FloatTensor
from compile.ir.memory_plan import AnyTensor
from compile.ir.tir import Expr, Kernel, Pointer
from compile.schedules.base import NAMES, Context, KernelFrame, Scheduled, lanes_of


def schedule_halo(tensor: AnyTensor, context: Context) -> Scheduled | None:
    """Return the kernel that fills a tensor's border; None if it has none."""
    place = context.place(tensor)
    if place.halo == 0:
        return None
    element = tensor.element
    lanes = lanes_of(context.isa, element)
    frame = KernelFrame(f"{tensor.name}.halo", 1, 1, element)
    kernel, target = frame.kernel, frame.tensors[0]
    zero = 0 if isinstance(tensor, FloatTensor) else tensor.qparams.zero_point
    value = tir.splat(frame.scalars[0], element)
    inside = place.origin + tensor.width * place.pixel  # the first byte right of the first row
    side = place.halo * place.pixel
    below = place.origin + tensor.height * place.pitch
    fill(kernel, target, 0, place.origin, value, lanes)
    with kernel.loop(tensor.height, name="row") as row:
        fill(kernel, target, inside + row * place.pitch, side, value, lanes)
    fill(kernel, target, below, place.halo * place.pitch, value, lanes)
    return Scheduled(
        function=kernel.finish(),
        name=(
            f"rg_{NAMES[element]}_halo{place.halo}_{tensor.height}x{tensor.width}_c{tensor.channels}"
            f"__{context.isa.name}"
        ),
        offsets=(place.offset,),
        units=1,
        scalars=(zero,),
    )


def fill(kernel: Kernel, target: Pointer, start: Expr, length: int, value: Expr, lanes: int) -> None:
    """Store `value` to `length` elements, a multiple of four; the last store overlaps the one before."""
    while lanes > length:
        lanes //= 2
    vector = tir.splat(value, f"{target.element}x{lanes}")
    whole = length // lanes
    with kernel.loop(whole, name="fill") as index:
        kernel.store(target, start + index * lanes, vector)
    if length % lanes:
        kernel.store(target, start + (length - lanes), vector)
