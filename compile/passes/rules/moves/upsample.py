"""Maps enlarged by whole factors, each pixel copied."""

from __future__ import annotations

import numpy as np

from calib.integer.program import NearestUpsample
from compile.ir.qdq_graph import Node, QdqGraph
from compile.passes.rules.common import OTHER_SCALE, Refusal, RuleResult, tensor_of

ROUNDED = ("round_prefer_floor", "round_prefer_ceil")
# Coordinates and roundings of them that give pixel i // factor for every whole factor.
COPIES = {
    "asymmetric": ("floor",),
    "tf_half_pixel_for_nn": ("floor",),
    **dict.fromkeys(("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric"), ROUNDED),
}
# Two copies: 1 / 2 is rounded to 0, where 2 / 3 would be to 1; i (n - 1) / (2 n - 1) is less than 1 / 2 from i // 2.
COPIES_OF_TWO = {**COPIES, "asymmetric": ("floor", "round_prefer_floor"), "align_corners": ROUNDED}


def upsample(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower a Resize to the nearest pixel by whole factors."""
    if node.operator != "Resize":
        return None
    x, y = tensor_of(graph, node.inputs[0]), tensor_of(graph, node.output)
    mode = node.attributes.get("mode", "nearest")
    if mode != "nearest":
        return Refusal(f"mode {mode!r}; only nearest is supported")
    if y.height % x.height or y.width % x.width or x.channels != y.channels or not _scales_fit(graph, node):
        return Refusal(f"it makes {y.shape} of {x.shape}; only whole factors for height and width are supported")
    rows, columns = y.height // x.height, y.width // x.width
    coordinates = node.attributes.get("coordinate_transformation_mode", "half_pixel")
    rounding = node.attributes.get("nearest_mode", "round_prefer_floor")
    if rounding not in (COPIES_OF_TWO if max(rows, columns) <= 2 else COPIES).get(coordinates, ()):
        return Refusal(
            f"coordinates {coordinates!r} with nearest_mode {rounding!r} do not copy each pixel equally often; export "
            "with 'asymmetric' and 'floor'"
        )
    if x.qparams != y.qparams or node.bounds != (-np.inf, np.inf):
        return Refusal(OTHER_SCALE)
    return NearestUpsample(node.name, x, y, rows, columns)


def _scales_fit(graph: QdqGraph, node: Node) -> bool:
    """Return whether the scales, where there are any, are exactly the ratios of the sizes: 2.2 can give 8 of 4, too."""
    name = node.inputs[2] if len(node.inputs) > 2 else ""
    if not name or (name in graph.constants and not graph.constants[name].size):  # sizes are given instead
        return True
    before, after = graph.shapes[node.inputs[0]], graph.shapes[node.output]
    scales = graph.constants[name].reshape(-1).tolist() if name in graph.constants else [0]
    axes = [axis % len(before) for axis in node.attributes.get("axes", range(len(before)))]
    return len(axes) == len(scales) and all(s * before[a] == after[a] for a, s in zip(axes, scales, strict=True))
