"""Parts of maps copied to other places: concatenation of channels, crops, and pixels several times."""

from __future__ import annotations

from collections.abc import Callable

from calib.integer.program import Concat, Crop, NearestUpsample
from compile.ir import tir
from compile.ir.memory_plan import AnyOperator, TensorPlace
from compile.ir.tir import Expr, Kernel, Pointer
from compile.schedules.base import NAMES, Context, KernelFrame, MaybeScheduled, Scheduled, lanes_of


def schedule_concat(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a concatenation; None for anything else."""
    if not isinstance(operator, Concat):
        return None
    sources, target = [context.place(tensor) for tensor in operator.inputs], context.place(operator.output)
    element = operator.output.element
    frame = KernelFrame(operator.name, len(sources) + 1, element=element)
    kernel, width, first, lanes = frame.kernel, operator.output.width, 0, lanes_of(context.isa, element)
    # each input [H, W, channels] into [H, W, first : first + channels] of the output
    for source, pointer in zip(sources, frame.tensors, strict=False):
        channels = source.tensor.channels
        with (
            kernel.loop(frame.end - frame.begin, frame.begin, "row") as row,
            kernel.loop(width, name="column") as column,
        ):
            here = pixel_at(source, row, column)
            there = pixel_at(target, row, column) + first
            copy_channels(kernel, pointer, here, frame.tensors[-1], there, channels, lanes)
        first += channels
    parts = "_".join(str(source.tensor.channels) for source in sources)
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_{NAMES[element]}_concat_{operator.output.height}x{width}_c{parts}__{context.isa.name}",
        offsets=(*(source.offset for source in sources), target.offset),
        units=operator.output.height,
    )


def schedule_crop(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a crop; None for anything else."""
    if not isinstance(operator, Crop):
        return None

    def source_pixel(source: TensorPlace, row: Expr, column: Expr) -> Expr:
        return pixel_at(source, row + operator.row, column + operator.column) + operator.channel

    return _copy_pixels(operator, context, "crop", source_pixel)


def schedule_upsample(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule an enlargement by whole factors; None for anything else."""
    if not isinstance(operator, NearestUpsample):
        return None

    def source_pixel(source: TensorPlace, row: Expr, column: Expr) -> Expr:
        return pixel_at(source, tir.floordiv(row, operator.rows), column)

    return _copy_pixels(
        operator, context, f"upsample{operator.rows}x{operator.columns}", source_pixel, operator.columns
    )


def _copy_pixels(
    operator: Crop | NearestUpsample,
    context: Context,
    name: str,
    source_pixel: Callable[[TensorPlace, Expr, Expr], Expr],
    copies: int = 1,
) -> Scheduled:
    """Schedule a kernel that writes each pixel of its output from one of its input.

    Args:
        operator: with one input.
        context: places and instruction set.
        name: of what is done, in the kernel's name.
        source_pixel: how many elements lie between the start of the input and what is read for a row of the output and
            a column, which counts groups of copies.
        copies: pixels of the output beside each other that are the same.
    """
    source, target, y = context.place(operator.input), context.place(operator.output), operator.output
    frame = KernelFrame(operator.name, 2, element=y.element)
    kernel, lanes = frame.kernel, lanes_of(context.isa, y.element)
    # a pixel [C] of the input into each pixel of the output [y.height, y.width, C]
    with (
        kernel.loop(frame.end - frame.begin, frame.begin, "row") as row,
        kernel.loop(y.width // copies, name="column") as column,
        kernel.loop(copies, name="copy") as copy,
    ):
        here = source_pixel(source, row, column)
        there = pixel_at(target, row, column * copies + copy)
        copy_channels(kernel, frame.tensors[0], here, frame.tensors[1], there, y.channels, lanes)
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_{NAMES[y.element]}_{name}_{y.height}x{y.width}_c{y.channels}__{context.isa.name}",
        offsets=(source.offset, target.offset),
        units=y.height,
    )


def pixel_at(place: TensorPlace, row: Expr, column: Expr) -> Expr:
    """Return how many elements lie between the start of a tensor and its first channel at a place."""
    return place.origin + row * place.pitch + column * place.pixel


def copy_channels(
    kernel: Kernel, source: Pointer, here: Expr, target: Pointer, there: Expr, channels: int, most_lanes: int
) -> None:
    """Copy the channels of a pixel and not one more: behind them are those of another tensor.

    Args:
        kernel: the kernel that is written.
        source: what is read.
        here: elements before the first channel there.
        target: what is written.
        there: elements before the first channel there.
        channels: how many.
        most_lanes: of one vector.
    """
    lanes = most_lanes
    while lanes > channels:
        lanes //= 2
    with kernel.loop(channels // lanes, name="part") as part:
        kernel.store(target, there + part * lanes, source.load(here + part * lanes, lanes))
    if channels % lanes:  # the last vector overlaps the one before
        kernel.store(target, there + (channels - lanes), source.load(here + (channels - lanes), lanes))
