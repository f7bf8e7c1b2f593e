"""From a node between int8 tensors to an operator of the integer program: one rule, one file.

A rule answers with an operator, with a `Refusal` (the node is its own, but cannot be done in integers), or with None
(the node is not its own). A new operator is one rule and one line below.
"""

from compile.passes.rules.add import add
from compile.passes.rules.average_pool import average_pool
from compile.passes.rules.channel_slopes import channel_slopes
from compile.passes.rules.common import Refusal, Rule
from compile.passes.rules.concat import concat
from compile.passes.rules.conv import conv, depthwise
from compile.passes.rules.crop import crop
from compile.passes.rules.dequantize import dequantize
from compile.passes.rules.gemm import gemm
from compile.passes.rules.input_table import input_table
from compile.passes.rules.lookup import lookup
from compile.passes.rules.max_pool import max_pool
from compile.passes.rules.multiply import multiply
from compile.passes.rules.pad import pad
from compile.passes.rules.pool import pool
from compile.passes.rules.scale_channels import scale_channels
from compile.passes.rules.shuffle_channels import shuffle_channels
from compile.passes.rules.upsample import upsample

RULES: tuple[Rule, ...] = (
    input_table,
    conv,
    depthwise,
    average_pool,
    pool,
    gemm,
    lookup,
    channel_slopes,
    multiply,
    add,
    max_pool,
    concat,
    crop,
    upsample,
    shuffle_channels,
    pad,
    scale_channels,
    dequantize,
)

__all__ = ["RULES", "Refusal", "Rule"]
