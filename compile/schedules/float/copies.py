"""Float operators that only move numbers: concatenations, crops, shuffles, a number around a map, the scores.

Every pixel is stored in a multiple of four channels. Those behind its last are numbers too, as a product with a weight
of 0 is one only then: whoever writes a pixel channel by channel clears them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from compile.ir import tir
from compile.ir.float_program import FloatConcat, FloatCrop, FloatPad, FloatScores, FloatShuffleChannels
from compile.ir.memory_plan import AnyOperator, TensorPlace
from compile.ir.tir import Expr, Kernel, Pointer
from compile.schedules.base import FLOAT_NAMES, Context, KernelFrame, MaybeScheduled, Scheduled
from compile.schedules.halo import fill
from compile.schedules.int8.moves.copy import copy_channels, pixel_at
from compile.schedules.int8.moves.shuffle_channels import shuffle_pixel

MOST_STEP = 4  # channels from one to the next of a crop that are picked from whole vectors


def schedule_float_copy(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a concatenation, a crop or a shuffle; None for anything else."""
    if not isinstance(operator, FloatConcat | FloatCrop | FloatShuffleChannels):
        return None
    sources, target = [context.place(tensor) for tensor in operator.inputs], context.place(operator.output)
    y, lanes = operator.output, context.isa.float_lanes
    frame = KernelFrame(operator.name, len(sources) + 1, element=y.element)
    kernel, result = frame.kernel, frame.tensors[-1]
    with _pixels(frame, y.width) as (row, column):
        there = pixel_at(target, row, column)
        if isinstance(operator, FloatShuffleChannels):
            pointers = (frame.tensors[0], result)
            shuffle_pixel(kernel, pointers, pixel_at(sources[0], row, column), there, operator, lanes)
        elif isinstance(operator, FloatCrop):
            down, across, step = operator.steps
            here = pixel_at(sources[0], row * down + operator.row, column * across + operator.column)
            _copy_stepped(kernel, frame.tensors[0], here + operator.channel, result, there, (y.channels, step, lanes))
        else:
            first = 0
            for source, pointer in zip(sources, frame.tensors, strict=False):
                here, channels = pixel_at(source, row, column), source.tensor.channels
                copy_channels(kernel, pointer, here, result, there + first, channels, lanes)
                first += channels
        clear_padding(kernel, result, there, target)
    what = {FloatConcat: "concat", FloatCrop: "crop", FloatShuffleChannels: "shuffle"}[type(operator)]
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_{FLOAT_NAMES[y.element]}_{what}_{y.height}x{y.width}_c{y.channels}__{context.isa.name}",
        offsets=(*(source.offset for source in sources), target.offset),
        units=y.height,
    )


def _copy_stepped(
    kernel: Kernel, source: Pointer, here: Expr, target: Pointer, there: Expr, sizes: tuple[int, int, int]
) -> None:
    """Copy every so-manieth channel of a pixel.

    Args:
        kernel: that is written.
        source: of the pixel.
        here: where its first channel is that is copied.
        target: of the copy.
        there: where the copy begins.
        sizes: channels of the copy, channels from one to the next, most lanes.
    """
    channels, step, lanes = sizes
    if step == 1:
        copy_channels(kernel, source, here, target, there, channels, lanes)
        return
    lanes = lanes if 1 < step <= MOST_STEP else 1
    while lanes > channels:
        lanes //= 2
    with kernel.loop(-(-channels // lanes), name="part") as part:
        first = part * lanes if channels % lanes == 0 else tir.minimum(part * lanes, tir.const(channels - lanes))
        first = kernel.bind(first, "first") if channels > lanes else tir.const(0)
        if lanes == 1:
            kernel.store(target, there + first, source.load(here + first * step))
        else:  # the last vector may read behind the pixel what is not used
            starts = [here + first * step + at * lanes for at in range(step)]
            vectors = [kernel.bind(source.load(start, lanes), "channels") for start in starts]
            kernel.store(target, there + first, tir.shuffle(vectors, range(0, lanes * step, step)))


def clear_padding(kernel: Kernel, target: Pointer, there: Expr, place: TensorPlace) -> None:
    """Store zeros behind the last channel of a pixel that begins at `there`."""
    for channel in range(place.tensor.channels, place.pixel):
        kernel.store(target, there + channel, tir.splat(0.0, target.element))


def schedule_float_pad(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a number around a map; None for anything else."""
    if not isinstance(operator, FloatPad):
        return None
    source, target = context.place(operator.input), context.place(operator.output)
    x, y = operator.input, operator.output
    frame = KernelFrame(operator.name, 2, element=y.element)
    kernel, lanes, (pointer, result) = frame.kernel, context.isa.float_lanes, frame.tensors
    # [x.height, x.width, x.channels] into [y.height, y.width, y.channels], whose row is filled before
    with kernel.loop(frame.end - frame.begin, frame.begin, "row") as row:
        there = kernel.bind(pixel_at(target, row, 0), "there")
        fill(kernel, result, there, y.width * target.pixel, tir.splat(operator.value, y.element), lanes)
        with kernel.when(tir.inside(row, operator.row, operator.row + x.height)):
            here = kernel.bind(pixel_at(source, row - operator.row, 0), "here")
            there = there + operator.column * target.pixel + operator.channel
            if x.channels == y.channels:
                copy_channels(kernel, pointer, here, result, there, x.width * source.pixel, lanes)
            else:
                with kernel.loop(x.width, name="column") as column:
                    at = here + column * source.pixel
                    copy_channels(kernel, pointer, at, result, there + column * target.pixel, x.channels, lanes)
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_{FLOAT_NAMES[y.element]}_pad_{y.height}x{y.width}_c{y.channels}__{context.isa.name}",
        offsets=(source.offset, target.offset),
        units=y.height,
    )


def schedule_float_scores(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule the last operator of a network whose scores no convolution writes; None for anything else."""
    if not isinstance(operator, FloatScores):
        return None
    source, classes, lanes = context.place(operator.input), operator.output.channels, context.isa.float_lanes
    frame = KernelFrame(operator.name, 1, element=operator.input.element)
    kernel = frame.kernel
    while lanes > classes:
        lanes //= 2
    # [1, 1, classes] -> float32 [classes]; the last vector overlaps the one before
    with kernel.when(frame.begin < frame.end), kernel.loop(-(-classes // lanes), name="part") as part:
        first = part * lanes if classes % lanes == 0 else tir.minimum(part * lanes, tir.const(classes - lanes))
        value = frame.tensors[0].load(source.origin + first, lanes)
        kernel.store(frame.logits, first, tir.cast(value, "float32"))
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_{FLOAT_NAMES[operator.input.element]}_scores_c{classes}__{context.isa.name}",
        offsets=(source.offset,),
        units=1,
    )


@contextmanager
def _pixels(frame: KernelFrame, width: int) -> Iterator[tuple[Expr, Expr]]:
    """Open the loops over the pixels of the rows of a call; yields row and column."""
    with (
        frame.kernel.loop(frame.end - frame.begin, frame.begin, "row") as row,
        frame.kernel.loop(width, name="column") as column,
    ):
        yield row, column
