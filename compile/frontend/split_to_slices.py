"""ONNX operators with several outputs that are several operators with one."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import onnx
from numpy.typing import NDArray

from compile.ir.qdq_graph import Node
from repghost.errors import UsageError

SPLIT, SLICE = "Split", "Slice"


def split_into_slices(
    node: onnx.NodeProto, attributes: Mapping[str, Any], constants: Mapping[str, NDArray[Any]], size: int
) -> list[Node]:
    """Return one Slice for each used output of a Split.

    Args:
        node: a Split.
        attributes: of the node.
        constants: where its sizes may be.
        size: of the input along the axis.

    Raises:
        UsageError: when the sizes are computed by the graph.
    """
    axis, count = attributes.get("axis", 0), len(node.output)
    if len(node.input) > 1 and node.input[1]:
        if node.input[1] not in constants:
            raise UsageError(
                f"node {node.name!r} (Split): its sizes depend on the picture; sizes that follow from constants are "
                "understood."
            )
        sizes = [int(part) for part in constants[node.input[1]].reshape(-1)]
    else:
        sizes = list(attributes.get("split", ())) or _equal_parts(size, count)
    ends = list(accumulate(sizes))
    name = node.name or node.output[0]
    return [
        Node(f"{name}.{index}", SLICE, (node.input[0],), output,
             {"starts": (end - part,), "ends": (end,), "axes": (axis,)})
        for index, (output, part, end) in enumerate(zip(node.output, sizes, ends, strict=False))
        if output
    ]  # fmt: skip


def _equal_parts(size: int, count: int) -> list[int]:
    """Return the sizes ONNX gives: equal parts, the last one smaller where they do not fit."""
    part = -(-size // count)
    return [min(part, size - part * index) for index in range(count)]
