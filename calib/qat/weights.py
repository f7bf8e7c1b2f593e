"""Float weights under training: the interface of their sources, and the source that holds a fused network's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import torch
from torch import nn

from repghost.graph.operators import Classifier, Convolution, Graph

Layer = Convolution | Classifier


class WeightSource(Protocol):
    """Float weights by layer, their batch-norm statistics if any, and their parameters."""

    @property
    def observes(self) -> bool:
        """Whether a layer's weight depends on the input that it sees in the same step."""
        ...

    def layer(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a layer's fused float32 weight and bias; gradients reach the parameters they are computed from."""
        ...

    def observe(self, name: str, x: torch.Tensor) -> None:
        """Take a layer's input in training, float32 [N, C, H, W], into its statistics."""
        ...

    def freeze_statistics(self) -> None:
        """Make every batch-norm statistic final."""
        ...

    def groups(self) -> Iterator[tuple[str, list[torch.Tensor]]]:
        """Yield the parameters that learn, each with its kind."""
        ...


def key(name: str) -> str:
    """Return a layer's or tensor's name as PyTorch accepts it for a parameter: no dot, and no attribute of a module."""
    return "=" + name.replace("%", "%25").replace(".", "%2E")


def layers_of(graph: Graph) -> tuple[Layer, ...]:
    """Return the operators that have weights."""
    return tuple(op for op in graph.operators if isinstance(op, Convolution | Classifier))


def relative_groups(tensors: Iterable[list[torch.Tensor]], learning_rate: float) -> list[dict[str, Any]]:
    """Return a parameter group for each list of tensors, with a rate relative to their mean magnitude.

    After fusion the magnitudes of two layers differ up to a hundredfold.
    """
    return [{"params": tensor, "lr": learning_rate * _typical(tensor)} for tensor in tensors]


def _typical(parameters: list[torch.Tensor]) -> float:
    """Return the mean magnitude, or 1e-3 for what begins at 0."""
    mean = sum(float(parameter.detach().abs().mean()) for parameter in parameters) / len(parameters)
    return mean if mean > 0 else 1e-3


class FusedWeights(nn.Module):
    """The fused network's weights and biases, each a parameter.

    Args:
        graph: the float network; its arrays are copied.
    """

    observes = False

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        layers = layers_of(graph)
        self.weight = nn.ParameterDict({key(op.name): nn.Parameter(torch.tensor(op.weight)) for op in layers})
        self.bias = nn.ParameterDict({key(op.name): nn.Parameter(torch.tensor(op.bias)) for op in layers})

    def layer(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a layer's weight and bias."""
        return self.weight[key(name)], self.bias[key(name)]

    def observe(self, name: str, x: torch.Tensor) -> None:
        """Do nothing: a fused network has no statistics."""

    def freeze_statistics(self) -> None:
        """Do nothing: a fused network has no statistics."""

    def groups(self) -> Iterator[tuple[str, list[torch.Tensor]]]:
        """Yield weights and biases."""
        yield from (("weight", [parameter]) for parameter in self.weight.values())
        yield from (("bias", [parameter]) for parameter in self.bias.values())
