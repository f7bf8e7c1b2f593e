"""From an operator to a kernel: one operator family, one file. The first rule that answers is taken.

What integers and floats share is in this folder: register tiles (`tiles`), depthwise tiles, phases, borders. `float/`
also calls the gates, copies and colour tables of `int8/`, whose max pool serves both.
"""

from __future__ import annotations

from compile.ir.memory_plan import AnyOperator
from compile.schedules.base import Context, Scheduled
from compile.schedules.float.copies import schedule_float_copy, schedule_float_pad, schedule_float_scores
from compile.schedules.float.depthwise import schedule_float_depthwise
from compile.schedules.float.gates import schedule_float_gate, schedule_float_pixel_gate
from compile.schedules.float.gemm import schedule_float_gemm
from compile.schedules.float.input import schedule_float_input
from compile.schedules.float.maps import schedule_float_map
from compile.schedules.float.pools import schedule_float_average_pool, schedule_float_pool
from compile.schedules.float.resize import schedule_float_resize
from compile.schedules.halo import schedule_halo
from compile.schedules.int8.add import schedule_add
from compile.schedules.int8.broadcast import schedule_broadcast
from compile.schedules.int8.channel_slopes import schedule_channel_slopes
from compile.schedules.int8.depthwise import schedule_depthwise
from compile.schedules.int8.depthwise_dot import schedule_depthwise_dot
from compile.schedules.int8.dequantize import schedule_dequantize
from compile.schedules.int8.gemm import schedule_gemm
from compile.schedules.int8.input_table import schedule_input_table
from compile.schedules.int8.linear_resize import schedule_linear_resize
from compile.schedules.int8.lookup import schedule_lookup
from compile.schedules.int8.moves.copy import schedule_concat, schedule_crop, schedule_upsample
from compile.schedules.int8.moves.pad import schedule_pad
from compile.schedules.int8.moves.select_pixels import schedule_select_pixels
from compile.schedules.int8.moves.shuffle_channels import schedule_shuffle_channels
from compile.schedules.int8.multiply import schedule_multiply
from compile.schedules.int8.pools.average_pool import schedule_average_pool
from compile.schedules.int8.pools.max_pool import schedule_max_pool
from compile.schedules.int8.pools.pool import schedule_pool
from compile.schedules.int16.add import schedule_rescale, schedule_wide_add
from compile.schedules.int16.pools import schedule_wide_pool
from repghost.errors import UsageError

RULES = (
    schedule_gemm,
    schedule_depthwise_dot,
    schedule_depthwise,
    schedule_multiply,
    schedule_wide_pool,
    schedule_wide_add,
    schedule_rescale,
    schedule_average_pool,
    schedule_pool,
    schedule_lookup,
    schedule_channel_slopes,
    schedule_add,
    schedule_broadcast,
    schedule_input_table,
    schedule_max_pool,
    schedule_concat,
    schedule_crop,
    schedule_upsample,
    schedule_select_pixels,
    schedule_pad,
    schedule_linear_resize,
    schedule_shuffle_channels,
    schedule_dequantize,
    schedule_float_gemm,
    schedule_float_depthwise,
    schedule_float_gate,
    schedule_float_pixel_gate,
    schedule_float_pool,
    schedule_float_average_pool,
    schedule_float_input,
    schedule_float_map,
    schedule_float_copy,
    schedule_float_pad,
    schedule_float_resize,
    schedule_float_scores,
)


def schedule(operator: AnyOperator, context: Context) -> Scheduled:
    """Return the kernel of an operator from the first rule that answers.

    Raises:
        UsageError: if no rule does.
    """
    for rule in RULES:
        answer = rule(operator, context)
        if answer is not None:
            return answer
    raise UsageError(f"no schedule for operator {operator.name!r} of type {type(operator).__name__}.")


__all__ = ["Context", "Scheduled", "schedule", "schedule_halo"]
