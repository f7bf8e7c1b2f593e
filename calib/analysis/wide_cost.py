"""How many instructions a layer in 16-bit activations adds: an estimate by products and results, not a count.

A count needs a build and an emulator (`repghost bench BUNDLE --count`). The estimate is for arm64 with dot products
(Cortex-A76), where int8 gains most; elsewhere 16 bits cost less. Its numbers are fitted to the counts of MobileNetV2
1.0 at 224 px, once in int8 and once with every layer in 16 bits.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import prod

from calib.settings.policy import moves
from repghost.graph.operators import Classifier, Concat, Convolution, Graph, Narrow, Operator
from repghost.graph.shapes import Shape, shapes_of
from repghost.sizes import Size


@dataclass(frozen=True)
class Price:
    """Instructions for a product and for a result."""

    product: float
    result: float


DENSE, WIDE_DENSE = Price(0.079, 1.36), Price(0.29, 1.9)
DEPTHWISE, WIDE_DEPTHWISE = Price(0.245, 0.03), Price(0.498, 0.06)
OTHER, WIDE_OTHER = Price(0.0, 1.0), Price(0.0, 2.0)  # of what has no weights, for each number of its largest map


def added_shares(graph: Graph, size: Size, layers: Collection[str]) -> float:
    """Return by which share of its instructions a network in int8 grows when some layers read 16 bits.

    Each tensor that they read becomes int16 for them, and where others read it too, a copy of 8 bits is made.

    Args:
        graph: the float network.
        size: height and width of the image, in pixels.
        layers: their names.
    """
    shapes, wide = shapes_of(graph, size), set(layers)
    base = sum(_price(op, shapes, False) for op in graph.operators)
    read = {name for op in graph.operators if op.name in wide for name in op.inputs}
    added = sum(_price(op, shapes, True) - _price(op, shapes, False) for op in graph.operators if op.name in wide)
    for op in graph.operators:
        if op.name in read and any(op.name in other.inputs and other.name not in wide for other in graph.operators):
            added += WIDE_OTHER.result * prod(shapes[op.name])
    return added / base


def _price(op: Operator, shapes: dict[str, Shape], wide: bool) -> float:
    results = prod(shapes[op.name])
    if isinstance(op, Convolution | Classifier):
        depthwise = isinstance(op, Convolution) and op.is_depthwise
        price = (WIDE_DEPTHWISE if wide else DEPTHWISE) if depthwise else (WIDE_DENSE if wide else DENSE)
        return price.product * results * op.weight[0].size + price.result * results
    if moves(op) or isinstance(op, Concat | Narrow):
        return OTHER.result * results / 16
    return (WIDE_OTHER if wide else OTHER).result * max(prod(shapes[name]) for name in (op.name, *op.inputs))
