"""From a node between int8 tensors to an operator of the integer program: one rule, one file.

A rule answers with an operator, with a `Refusal` (the node is its own, but cannot be done in integers), or with None
(the node is not its own). A new operator is one rule, in the folder of its kind, and one line below; what is here
concerns all of them, or the two ends of the network.
"""

from compile.passes.rules.common import Refusal, Rule
from compile.passes.rules.convolutions.conv import conv, depthwise
from compile.passes.rules.convolutions.gemm import gemm
from compile.passes.rules.convolutions.scale_channels import scale_channels
from compile.passes.rules.dequantize import dequantize
from compile.passes.rules.elementwise.add import add
from compile.passes.rules.elementwise.channel_slopes import channel_slopes
from compile.passes.rules.elementwise.lookup import lookup
from compile.passes.rules.elementwise.multiply import multiply
from compile.passes.rules.elementwise.rescale import rescale
from compile.passes.rules.input_table import input_table
from compile.passes.rules.moves.concat import concat
from compile.passes.rules.moves.crop import crop
from compile.passes.rules.moves.pad import pad
from compile.passes.rules.moves.resize import resize
from compile.passes.rules.moves.shuffle_channels import shuffle_channels
from compile.passes.rules.pools.average_pool import average_pool
from compile.passes.rules.pools.max_pool import max_pool
from compile.passes.rules.pools.pool import pool

RULES: tuple[Rule, ...] = (
    input_table,
    conv,
    depthwise,
    average_pool,
    pool,
    gemm,
    lookup,
    rescale,
    channel_slopes,
    multiply,
    add,
    max_pool,
    concat,
    crop,
    resize,
    shuffle_channels,
    pad,
    scale_channels,
    dequantize,
)

__all__ = ["RULES", "Refusal", "Rule"]
