"""From the scales of a QDQ graph to the integers of the program: biases, multipliers, offsets, tables.

The passes in `compile` and the exact fake-quant in `calib.simulate.exact` call the same functions, so they cannot
disagree.
"""

from __future__ import annotations

from calib.integer.lower.dense import lower_dense, lower_logits
from calib.integer.lower.depthwise import lower_depthwise, lower_q15
from calib.integer.lower.elementwise import (
    LARGEST_RATIO,
    lower_add,
    lower_linear,
    lower_multiply,
    lower_pool,
    lower_rescale,
    lower_slopes,
    lower_wide_add,
)
from calib.integer.lower.layer import IntegerLayer, LayerOutput, integer_bounds

__all__ = [
    "LARGEST_RATIO",
    "IntegerLayer",
    "LayerOutput",
    "integer_bounds",
    "lower_add",
    "lower_dense",
    "lower_depthwise",
    "lower_linear",
    "lower_logits",
    "lower_multiply",
    "lower_pool",
    "lower_q15",
    "lower_rescale",
    "lower_slopes",
    "lower_wide_add",
]
