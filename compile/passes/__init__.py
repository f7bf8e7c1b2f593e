"""From the checked QDQ graph to the integer program: one pass, one file; the order is the pipeline below.

`quantization/` has the passes over Q/DQ nodes and scales, `fusion/` those that make one node of several, `rules/` the
way from a node to an operator. Here stand what runs them and the passes that rewrite a layer as other layers.
"""

from __future__ import annotations

import math

import numpy as np

from calib.integer.program import Output, Program
from compile.ir.qdq_graph import QdqGraph
from compile.passes.fusion.drop_softmax import drop_softmax
from compile.passes.fusion.fold_channel_constants import fold_channel_constants
from compile.passes.fusion.fold_lookups import fold_lookups
from compile.passes.fusion.fold_pads import fold_pads
from compile.passes.fusion.fold_shuffles import fold_shuffles
from compile.passes.fusion.fold_views import fold_views
from compile.passes.fusion.fuse_activation import fuse_activation
from compile.passes.fusion.fuse_residual import fuse_residual
from compile.passes.matmul_to_gemm import matmul_to_gemm
from compile.passes.plan import LoweredNode, check_covered, plan
from compile.passes.quantization.fold_channel_scales import fold_channel_scales
from compile.passes.quantization.fold_constants import fold_constants
from compile.passes.quantization.fold_quantization import fold_quantization
from compile.passes.quantization.fold_weights import fold_weights
from compile.passes.quantization.keep_scales import keep_scales
from compile.passes.quantization.merge_quantization import merge_quantization
from compile.passes.rules.common import tensor_of
from compile.passes.split_groups import split_groups
from compile.passes.verify import verify

PASSES = (
    drop_softmax,  # before what stands between it and the output is taken for scores
    merge_quantization,  # equal Q nodes of one tensor become one
    fold_constants,  # int32 biases and in-graph weight quantization become constants
    fold_weights,  # DequantizeLinear of an int8 constant becomes a weight with scales, or a real constant
    fold_channel_scales,  # one scale per channel before a depthwise convolution; while Q and DQ still say so
    matmul_to_gemm,  # after the weights, which it asks for
    fold_quantization,  # Q/DQ nodes vanish; int8 tensors carry their scale and zero point
    fold_channel_constants,  # products and sums with one constant per channel; before the views, which hide the axes
    fold_shuffles,  # Reshape, Transpose, Reshape become a channel shuffle; while the first is more than a view
    fold_views,  # Flatten, Reshape, Dropout vanish
    keep_scales,  # MaxPool, Concat, Slice and the like work on integers of one scale; before the tables change it
    fold_pads,  # Pad becomes the border of convolutions and max pools; once it keeps its scale
    fold_lookups,  # functions of one int8 tensor become tables; what is left of Relu follows a float result
    fuse_activation,  # Relu and Clip become bounds
    fuse_residual,  # Add becomes part of a convolution; after the activations, which may follow the add
    split_groups,  # convolutions of many groups; last, with what became part of them
)


def simplify(graph: QdqGraph) -> QdqGraph:
    """Run every pass, and check the graph after each."""
    verify(graph, "the frontend")
    for run in PASSES:
        with np.errstate(all="ignore"):  # what leaves float32 here is refused by the rules, with the layer's name
            graph = run(graph)
        verify(graph, run.__name__)
    return graph


def explain(graph: QdqGraph) -> tuple[LoweredNode, ...]:
    """Return the operator of each node, or the reason why it has none."""
    return plan(simplify(graph))


def lower(graph: QdqGraph) -> Program:
    """Return the integer program of a QDQ graph.

    Raises:
        UsageError: naming every node that cannot be computed in integers.
    """
    operators = check_covered(explain(graph))
    _, channels, height, width = graph.shapes[graph.input]
    classes = sum(math.prod(graph.shapes[name]) for name in graph.outputs)
    outputs = tuple(_output(graph, name) for name in graph.outputs) if graph.other_outputs else ()
    return Program(operators, height, width, classes, graph.digest, channels, outputs)


def _output(graph: QdqGraph, name: str) -> Output:
    tensor = tensor_of(graph, name)
    return Output(name, *tensor.shape)
