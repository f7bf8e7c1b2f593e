"""A graph as a PyTorch module: to predict with and to train, on any device."""

from __future__ import annotations

import torch
from torch import nn

from repghost.graph.operators import Classifier, Convolution, Graph, Layer
from repghost.graph.run import FAST, Kernels, clamped, convolve, run


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
        self._kernels: Kernels[torch.Tensor] = {
            **FAST,
            Convolution: self._convolution,
            Classifier: self._classifier,
        }

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the scores [N, classes] of normalized images [N, C, H, W]."""
        return run(self.graph, self._kernels, images).flatten(1)

    def parameters_of(self, layer: Layer) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a layer's weight and bias."""
        index = self._index[layer.name]
        return self.weights[index], self.biases[index]

    def _convolution(self, op: Convolution, x: torch.Tensor) -> torch.Tensor:
        return clamped(convolve(op, x, *self.parameters_of(op)), op.clamp)

    def _classifier(self, op: Classifier, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x.flatten(1), *self.parameters_of(op))
