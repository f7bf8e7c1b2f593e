"""Scores of a file that quantizes them: int8 to float."""

from __future__ import annotations

import numpy as np

from calib.integer.program import Dequantize
from compile.ir import tir
from compile.ir.memory_plan import AnyOperator
from compile.schedules.base import Context, KernelFrame, MaybeScheduled, Scheduled


def schedule_dequantize(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule the last operator of a file with quantized scores; None for anything else."""
    if not isinstance(operator, Dequantize):
        return None
    source, classes = context.place(operator.input), operator.output.channels
    frame = KernelFrame(operator.name, 1, 1)
    kernel = frame.kernel
    scale = kernel.bind(frame.constants("float32").load(0), "scale")
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
