"""Each layer's share of the network's multiply-adds (MACs): an estimate of what it costs to leave the layer in float.

A float multiply-add costs more than an int8 one on every machine, by a factor that depends on the machine; the share
of the multiply-adds does not.
"""

from __future__ import annotations

from repghost.graph.operators import Graph
from repghost.graph.shapes import shapes_of
from repghost.sizes import Size


def shares_of_work(graph: Graph, size: Size) -> dict[str, float]:
    """Return each layer's share of all multiply-adds, by the layer's name; the shares sum to 1.

    Args:
        graph: the float network.
        size: height and width of the image, in pixels.
    """
    shapes = shapes_of(graph, size)
    counts = {op.name: op.weight.size * shapes[op.name][1] * shapes[op.name][2] for op in graph.layers()}
    total = sum(counts.values())
    return {name: count / total for name, count in counts.items()}
