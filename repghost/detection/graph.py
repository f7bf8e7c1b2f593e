"""From a fused SSDLite to its graph: what is calibrated, quantized and compiled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from repghost.detection.pyramid import TAPS
from repghost.detection.ssdlite import SSDLite, fuse_ssdlite
from repghost.graph.operators import Graph, Operator
from repghost.graph.trace import check_finite, convolution, stages_of


def graph_of_detector(model: SSDLite) -> Graph:
    """Return the graph of a detector in evaluation mode, trained or fused; its results are as `BoxRule` says.

    Raises:
        UsageError: when it is in training mode, or a weight is not finite.
    """
    size = (model.preprocess.height, model.preprocess.width)
    fused: Any = fuse_ssdlite(model)
    operators: list[Operator] = []
    maps: list[str] = []
    stages = {TAPS[stride] for stride in fused.backbone.body.strides}
    for stage, made in enumerate(stages_of(fused.backbone.body.conv_stem, fused.backbone.body.blocks), -1):
        operators += made
        if stage in stages:
            maps.append(made[-1].name)
    for number, extra in enumerate(fused.backbone.extras):
        operators += _units(f"extras.{number}", maps[-1], extra)
        maps.append(operators[-1].name)
    results = []
    for kind, heads in (("scores", fused.head.scores), ("boxes", fused.head.boxes)):
        for number, head in enumerate(heads):
            name = f"{kind}.{number}"
            operators.append(convolution(f"{name}.depthwise", maps[number], head[0][0], relu=True))
            operators.append(convolution(name, operators[-1].name, head[1], relu=False))
            results.append(name)
    graph = Graph(tuple(operators), 3, size, tuple(results))
    for layer in graph.layers():
        check_finite(layer)
    return graph


def _units(name: str, source: str, units: nn.Sequential) -> Iterator[Operator]:
    """Yield the convolutions of an extra map."""
    for unit, kind in zip(units, ("reduce", "depthwise", "expand"), strict=True):
        yield convolution(f"{name}.{kind}", source, unit[0], relu=True)  # type: ignore[index]
        source = f"{name}.{kind}"
