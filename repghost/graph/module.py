"""A graph as a PyTorch module: to predict with and to train, on any device."""

from __future__ import annotations

import torch
from torch import nn

from repghost.graph.operators import Graph, Layer
from repghost.graph.run import fast_kernels, run


class GraphModule(nn.Module):
    """The operators of a graph, whose weights and biases are parameters.

    Args:
        graph: the network; its arrays are copied.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        self._index: dict[str, int] = {}
        for layer in graph.layers():
            self._index[layer.name] = len(self.weights)
            self.weights.append(nn.Parameter(torch.tensor(layer.weight)))
            self.biases.append(nn.Parameter(torch.tensor(layer.bias)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the scores [N, classes] of normalized images [N, C, H, W]."""
        return run(self.graph, fast_kernels(self.parameters_of), images).flatten(1)

    def parameters_of(self, layer: Layer) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a layer's weight and bias."""
        index = self._index[layer.name]
        return self.weights[index], self.biases[index]
