"""The channels of several groups in turn."""

from __future__ import annotations

from calib.integer.program import ShuffleChannels
from compile.ir import tir
from compile.ir.float_program import FloatShuffleChannels
from compile.ir.memory_plan import AnyOperator
from compile.ir.tir import Expr, Kernel, Pointer
from compile.schedules.base import NAMES, Context, KernelFrame, MaybeScheduled, Scheduled, lanes_of
from compile.schedules.int8.moves.copy import pixel_at

MOST_GROUPS = 4  # interleaved in registers: each vector of the result is made of as many


def schedule_shuffle_channels(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a channel shuffle; None for anything else."""
    if not isinstance(operator, ShuffleChannels):
        return None
    source, target, y = context.place(operator.input), context.place(operator.output), operator.output
    frame = KernelFrame(operator.name, 2, element=y.element)
    kernel, lanes = frame.kernel, lanes_of(context.isa, y.element)
    # [H, W, groups, C / groups] -> [H, W, C / groups, groups]
    with (
        kernel.loop(frame.end - frame.begin, frame.begin, "row") as row,
        kernel.loop(y.width, name="column") as column,
    ):
        here, there = pixel_at(source, row, column), pixel_at(target, row, column)
        shuffle_pixel(kernel, (frame.tensors[0], frame.tensors[1]), here, there, operator, lanes)
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_{NAMES[y.element]}_shuffle{operator.groups}_{y.height}x{y.width}_c{y.channels}__{context.isa.name}",
        offsets=(source.offset, target.offset),
        units=y.height,
    )


def shuffle_pixel(
    kernel: Kernel,
    pointers: tuple[Pointer, Pointer],
    here: Expr,
    there: Expr,
    operator: ShuffleChannels | FloatShuffleChannels,
    most_lanes: int,
) -> None:
    """Store the channels of a pixel.

    Args:
        kernel: that is written.
        pointers: of the input and the output.
        here: where the pixel is.
        there: where the result begins.
        operator: groups and channels.
        most_lanes: of a vector.
    """
    groups = operator.groups
    size = operator.output.channels // groups
    lanes = most_lanes if groups <= MOST_GROUPS else 1
    while lanes > size:
        lanes //= 2
    with kernel.loop(-(-size // lanes), name="part") as part:
        first = part * lanes if size % lanes == 0 else tir.minimum(part * lanes, tir.const(size - lanes))
        first = kernel.bind(first, "first")  # of each group; the last vector overlaps the one before
        here, there = here + first, there + first * groups
        if lanes == 1:
            with kernel.loop(groups, name="group") as group:
                kernel.store(pointers[1], there + group, pointers[0].load(here + group * size))
        else:
            _interleave(kernel, pointers, here, there, (groups, size, lanes))


def _interleave(
    kernel: Kernel, pointers: tuple[Pointer, Pointer], here: Expr, there: Expr, sizes: tuple[int, int, int]
) -> None:
    """Store `lanes` channels of each group in turn.

    Args:
        pointers: of the input and the output.
        here: where the channels of the first group are.
        there: where the result begins.
        sizes: groups, channels of a group, lanes.
    """
    groups, size, lanes = sizes
    vectors = [kernel.bind(pointers[0].load(here + group * size, lanes), "group") for group in range(groups)]
    for piece in range(groups):  # [lanes] of the [groups * lanes] in turn
        order = [at % groups * lanes + at // groups for at in range(piece * lanes, (piece + 1) * lanes)]
        kernel.store(pointers[1], there + piece * lanes, tir.shuffle(vectors, order))
