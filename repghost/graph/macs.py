"""Each layer's share of the network's multiply-adds (MACs): an estimate of what it costs to leave the layer in float.

A float multiply-add costs more than an int8 one on every machine, by a factor that depends on the machine; the share
of the multiply-adds does not.
"""

from __future__ import annotations

import torch

from repghost.graph.operators import Classifier, Convolution, Graph
from repghost.graph.run import run_float


def shares_of_work(graph: Graph, size: int) -> dict[str, float]:
    """Return each layer's share of all multiply-adds, by the layer's name; the shares sum to 1.

    Args:
        graph: from `repghost.graph.trace.graph_of`.
        size: of the square image, in pixels.
    """
    pixels: dict[str, int] = {}

    def observe(name: str, value: torch.Tensor) -> None:
        pixels[name] = value[0, 0].numel()  # 1 for the logits

    run_float(graph, torch.zeros(1, graph.channels, size, size), observe)
    counts = {op.name: op.weight.size * pixels[op.name] for op in graph.operators
              if isinstance(op, Convolution | Classifier)}  # fmt: skip
    total = sum(counts.values())
    return {name: count / total for name, count in counts.items()}
