"""Lower every node by the first rule that answers, and name every node that no rule can lower."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from calib.integer.program import Operator
from compile.ir.qdq_graph import DEQUANTIZE, DEQUANTIZE_SCORES, QUANTIZE, REQUANTIZE, SCALE_CHANNELS, Node, QdqGraph
from compile.passes.fusion.fold_channel_constants import CONSTANT_OPERATORS
from compile.passes.fusion.fuse_residual import HOSTS
from compile.passes.quantization.keep_scales import MOVERS
from compile.passes.rules import RULES, Refusal
from compile.passes.rules.common import map_sizes
from compile.passes.rules.pools.pool import SPELLINGS
from repghost.errors import UsageError

OF_MAPS_ALONE = (*CONSTANT_OPERATORS, "Concat")  # what reads no constants once the passes have run

# Operators of tensors of 16 bits; what is computed by a table of 256 has none.
WIDE_FORMS = (*HOSTS, *SPELLINGS, *MOVERS, "Add", "Sub", REQUANTIZE, SCALE_CHANNELS)

LARGEST_TENSOR, LARGEST_SIDE = 1 << 28, 1 << 16  # a tensor lies in memory


@dataclass(frozen=True, eq=False)
class LoweredNode:
    """A node and what it becomes: an operator of the integer program, or the reason why not."""

    node: Node
    result: Operator | Refusal


def plan(graph: QdqGraph) -> tuple[LoweredNode, ...]:
    """Return, for each node of a graph after all passes, its operator or the reason why it has none."""
    return tuple(LoweredNode(node, _result(graph, node)) for node in graph.nodes)


def check_covered(lowered: tuple[LoweredNode, ...]) -> tuple[Operator, ...]:
    """Return the operators of a plan without refusals.

    Raises:
        UsageError: naming every node that cannot be done in integers, with the reason.
    """
    refused = [item for item in lowered if isinstance(item.result, Refusal)]
    if refused:
        lines = [f"  {item.node.name} ({item.node.operator}): {item.result.reason}" for item in refused
                 if isinstance(item.result, Refusal)]  # fmt: skip
        raise UsageError(
            f"{len(refused)} of {len(lowered)} operators cannot be computed in integers:",
            *lines,
            "See all layers with 'repghost explain FILE.qdq.onnx'.",
        )
    return tuple(item.result for item in lowered if not isinstance(item.result, Refusal))


def _result(graph: QdqGraph, node: Node) -> Operator | Refusal:
    """Return the first rule's answer, or the reason why no rule can have one."""
    if refusal := _float_edges(graph, node):
        return refusal
    for rule in RULES:
        try:
            with np.errstate(over="raise", invalid="raise", divide="raise"):
                answer = rule(graph, node)
        except FloatingPointError:
            return Refusal("its scales are so far apart that their ratio leaves float32; calibrate with other pictures")
        except UsageError as error:  # an accumulator that could overflow
            return Refusal(str(error))
        if answer is not None:
            return answer
    return Refusal(f"there is no integer rule for {node.operator}")


def _float_edges(graph: QdqGraph, node: Node) -> Refusal | None:
    """Refuse a node whose operands or result are float tensors, which no rule could serve."""
    if node.operator == QUANTIZE:
        return Refusal(_why_quantize_is_left(graph, node))
    if node.operator == DEQUANTIZE:
        return Refusal(_why_dequantize_is_left(graph, node))
    stored = [name for name in node.operands if name in graph.constants or name in graph.weights]
    real = [name for name in node.operands if name not in graph.qparams and name not in stored]
    if real and node.operator == REQUANTIZE:
        return Refusal(
            f"{real[0]!r} is quantized here and also used elsewhere in float; quantize it once for all readers"
        )
    if refusal := _wide_misfit(graph, node):
        return refusal
    if real:
        return Refusal(f"it reads {real[0]!r} in float; put QuantizeLinear and DequantizeLinear before it")
    if refusal := _constant_operand(graph, node, stored):
        return refusal
    odd = [name for name in (*node.operands, node.output) if name not in stored and not map_sizes(graph.shapes[name])]
    large = [name for name in (*node.operands, node.output) if name not in stored and _is_large(graph.shapes[name])]
    if large and not odd:
        return Refusal(
            f"the shape of {large[0]!r} is {list(graph.shapes[large[0]])}; at most {LARGEST_SIDE:,} rows and columns "
            f"and {LARGEST_TENSOR:,} numbers are supported"
        )
    if odd:
        return Refusal(
            f"the shape of {odd[0]!r} is {list(graph.shapes[odd[0]])}; [1, C], [1, C, H] and [1, C, H, W] are supported"
        )
    if node.output not in graph.qparams and node.output not in graph.outputs:
        return Refusal(f"its result {node.output!r} stays float; put QuantizeLinear and DequantizeLinear after it")
    scores = node.output not in graph.qparams
    if (
        scores
        and node.operator != DEQUANTIZE_SCORES
        and (node.operator not in (*HOSTS, SCALE_CHANNELS) or node.attributes.get("group", 1) != 1)
    ):
        return Refusal("the network's scores must be the result of a dense convolution or a linear layer")
    return None


def _wide_misfit(graph: QdqGraph, node: Node) -> Refusal | None:
    """Refuse 16 bits where an operator has no form for them."""
    wide = [name for name in (*node.operands, node.output) if name in graph.qparams and graph.qparams[name].is_wide]
    linear = node.operator == "Resize" and node.attributes.get("mode") == "linear"
    if not wide or (node.operator in WIDE_FORMS and not linear):
        return None
    what = "writes" if wide[0] == node.output else "reads"
    return Refusal(
        f"it {what} {wide[0]!r} in 16 bits, which convolutions, linear layers, sums, averages and what only moves "
        "numbers have a form for; quantize that tensor to 8 bits"
    )


def _is_large(shape: tuple[int, ...]) -> bool:
    return math.prod(shape) > LARGEST_TENSOR or max(shape[2:], default=1) > LARGEST_SIDE


def _constant_operand(graph: QdqGraph, node: Node, stored: list[str]) -> Refusal | None:
    """Refuse a constant in a place where a tensor computed from the image is needed."""
    maps = node.inputs if node.operator in OF_MAPS_ALONE else node.inputs[:1]
    fixed = [name for name in maps if name in stored]
    if not fixed:
        return None
    return Refusal(
        f"it reads the constant {fixed[0]!r} of shape {list(graph.shapes.get(fixed[0], ()))}; a tensor computed from "
        "the picture is needed, or one constant for the tensor or for each channel"
    )


def _why_quantize_is_left(graph: QdqGraph, node: Node) -> str:
    if graph.constants[node.inputs[1]].size > 1:
        return (
            "it has one scale per channel, which only a tensor between one convolution and depthwise convolutions may "
            "have, without limits that differ between channels"
        )
    readers = graph.consumers.get(node.output, ())
    others = [reader.name for reader in readers if reader.operator != DEQUANTIZE]
    if readers and not others:  # the passes dropped what lay between, as a view or an activation
        return "a node between it and its DequantizeLinear reads int8; put that one before this node or behind both"
    return f"{(others or ['the network'])[0]!r} reads its int8 result without a DequantizeLinear between"


def _why_dequantize_is_left(graph: QdqGraph, node: Node) -> str:
    if node.inputs[0] in graph.constants:
        return "an int8 constant with a zero point other than 0; weights are symmetric"
    return f"it reads {node.inputs[0]!r} with another scale or zero point than QuantizeLinear wrote it with"
