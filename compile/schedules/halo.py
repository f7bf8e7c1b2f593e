"""The border of an activation, filled with its zero point before the operator that writes the inside."""

from __future__ import annotations

from calib.program import Tensor
from compile import tir
from compile.schedules.base import Context, KernelFrame, Scheduled
from compile.tir import Expr, Kernel, Pointer


def schedule_halo(tensor: Tensor, context: Context) -> Scheduled | None:
    """Return the kernel that fills a tensor's border; None if it has none."""
    place = context.place(tensor)
    if place.halo == 0:
        return None
    frame = KernelFrame(f"{tensor.name}.halo", 1, 1)
    kernel, target = frame.kernel, frame.tensors[0]
    value = frame.scalars[0]
    inside = place.origin + tensor.width * place.pixel  # the first byte right of the first row
    side = place.halo * place.pixel
    below = place.origin + tensor.height * place.pitch
    _fill(kernel, target, 0, place.origin, value, context.isa.lanes8)
    with kernel.loop(tensor.height, name="row") as row:
        _fill(kernel, target, inside + row * place.pitch, side, value, context.isa.lanes8)
    _fill(kernel, target, below, place.halo * place.pitch, value, context.isa.lanes8)
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_s8_halo{place.halo}_{tensor.height}x{tensor.width}_c{tensor.channels}__{context.isa.name}",
        offsets=(place.offset,),
        units=1,
        scalars=(tensor.qparams.zero_point,),
    )


def _fill(kernel: Kernel, target: Pointer, start: Expr, length: int, value: Expr, lanes: int) -> None:
    """Store `value` to `length` bytes, a multiple of four; the last store overlaps the one before."""
    while lanes > length:
        lanes //= 2
    vector = tir.splat(value, f"int8x{lanes}")
    whole = length // lanes
    with kernel.loop(whole, name="fill") as index:
        kernel.store(target, start + index * lanes, vector)
    if length % lanes:
        kernel.store(target, start + (length - lanes), vector)
