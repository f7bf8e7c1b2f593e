"""Global average pooling, in the three ways ONNX has for it."""

from __future__ import annotations

from calib.integer.lower import integer_bounds, lower_pool
from calib.integer.program import GlobalAveragePool
from calib.integer.qparams import INT32_MAX
from calib.integer.values import Tensor
from compile.ir.qdq_graph import Node, QdqGraph
from compile.passes.rules.common import Refusal, RuleResult, exceeds_int32, tensor_of

SPELLINGS = ("GlobalAveragePool", "ReduceMean", "AveragePool")
LARGEST_MAP = 1 << 20  # pixels; keeps 255 * pixels far inside int32


def pool(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower the mean over height and width."""
    if node.operator not in SPELLINGS:
        return None
    x = tensor_of(graph, node.inputs[0])
    count = x.height * x.width
    if not _is_global(graph, node, x.height, x.width):
        return Refusal("only the mean over the whole height and width is supported")
    if count > LARGEST_MAP:
        return Refusal(f"its map has {count} pixels; up to {LARGEST_MAP} are supported")
    output = tensor_of(graph, node.output)
    if output.shape != (1, 1, x.channels):
        return Refusal("its result is not one value for each channel")
    bias, epilogue = lower_pool(count, x.qparams, output.qparams, *integer_bounds(node.bounds, output.qparams))
    refusal = too_many(x, count) or exceeds_int32(x.qparams.farthest * count, epilogue.multiplier)
    return refusal or GlobalAveragePool(node.name, x, output, bias, epilogue)


def too_many(x: Tensor, pixels: int) -> Refusal | None:
    """Return a refusal where the sum of so many pixels could leave int32."""
    if pixels * x.qparams.farthest <= INT32_MAX:
        return None
    return Refusal(f"the sum of {pixels} pixels of 16 bits could leave int32; quantize what it reads to 8 bits")


def _is_global(graph: QdqGraph, node: Node, height: int, width: int) -> bool:
    if len(graph.shapes[node.inputs[0]]) != 4:
        return False
    if node.operator == "GlobalAveragePool":
        return True
    if node.operator == "AveragePool":
        return node.attributes.get("kernel_shape") == (height, width) and not any(node.attributes.get("pads", ()))
    axes = node.attributes.get("axes", ())
    if len(node.inputs) > 1 and node.inputs[1] in graph.constants:  # an input since opset 18
        axes = tuple(int(axis) for axis in graph.constants[node.inputs[1]].reshape(-1))
    return {axis % 4 for axis in axes} == {2, 3}
