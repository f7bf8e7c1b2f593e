"""Results of a file that quantizes them: int8 to float."""

from __future__ import annotations

import numpy as np

from calib.integer.program import Dequantize
from compile.ir import tir
from compile.ir.memory_plan import AnyOperator
from compile.schedules.base import NAMES, Context, KernelFrame, MaybeScheduled, Scheduled

LANES = (16, 8, 4, 1)  # numbers at a time


def schedule_dequantize(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule an operator that makes a result of integers; None for anything else."""
    if not isinstance(operator, Dequantize):
        return None
    if operator.start or operator.output.height * operator.output.width > 1:
        return _schedule_map(operator, context)
    source, classes = context.place(operator.input), operator.output.channels
    frame = KernelFrame(operator.name, 1, 1)
    kernel = frame.kernel
    scale = kernel.bind(frame.constants("float32").load(0), "scale")
    # int8 [1, 1, classes] -> float32 [classes]
    with kernel.when(frame.begin < frame.end), kernel.loop(classes, name="class") as index:
        steps = tir.cast(frame.tensors[0].load(source.origin + index), tir.INDEX) - frame.scalars[0]
        kernel.store(frame.logits, index, tir.cast(tir.cast(steps, "int32"), "float32") * scale)
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_s8_dequantize_c{classes}__{context.isa.name}",
        offsets=(source.offset,),
        units=1,
        scalars=(operator.input.qparams.zero_point,),
        constants=np.float32(operator.input.qparams.scale).tobytes(),
    )


def _schedule_map(operator: Dequantize, context: Context) -> Scheduled:
    """Schedule a result that is a map, or not the first: [height, width, channels] numbers from `start` on, by rows."""
    source, output = context.place(operator.input), operator.output
    frame = KernelFrame(operator.name, 1, 2, operator.input.element)
    kernel, (zero_point, start) = frame.kernel, frame.scalars
    scale = kernel.bind(frame.constants("float32").load(0), "scale")
    lanes = max(count for count in LANES if count <= output.channels)
    with kernel.loop(frame.end - frame.begin, frame.begin, "row") as row, kernel.loop(output.width, name="x") as x:
        here = source.origin + row * source.pitch + x * source.pixel
        there = start + (row * output.width + x) * output.channels
        for first, count in ((0, lanes), (output.channels // lanes * lanes, 1)):
            groups = (output.channels if count == 1 else output.channels // lanes * lanes) - first
            if groups > 0:
                with kernel.loop(groups // count, name="group") as group:
                    at = first + group * count
                    steps = tir.cast(frame.tensors[0].load(here + at, count), "int32")
                    steps = steps - tir.splat(zero_point, tir.vector("int32", count))
                    number = tir.cast(steps, "float32") * tir.splat(scale, tir.vector("float32", count))
                    kernel.store(frame.logits, there + at, number)
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_{NAMES[operator.input.element]}_dequantize_{output.height}x{output.width}_c{output.channels}"
        f"__{context.isa.name}",
        offsets=(source.offset,),
        units=output.height,
        scalars=(operator.input.qparams.zero_point, operator.start),
        constants=np.float32(operator.input.qparams.scale).tobytes(),
    )
