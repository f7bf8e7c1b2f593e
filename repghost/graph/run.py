"""Evaluating a graph in float32."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
from torch.nn import functional as F

from repghost.graph.operators import (
    INPUT,
    AveragePool,
    Classifier,
    Convolution,
    Gate,
    Graph,
    HardSigmoid,
    Operator,
    ResidualAdd,
    operator_inputs,
)


@torch.no_grad()
def run_float(
    graph: Graph, images: torch.Tensor, observe: Callable[[str, torch.Tensor], None] | None = None
) -> torch.Tensor:
    """Return the float32 logits [N, classes], showing every tensor to `observe` as soon as it exists.

    Args:
        images: float32 [N, channels, H, W], normalized.
        observe: called with a tensor's name and its value.
    """
    readers = Counter(name for operator in graph.operators for name in operator_inputs(operator))
    tensors = {INPUT: images}
    if observe is not None:
        observe(INPUT, images)
    for operator in graph.operators:
        tensors[operator.name] = run_operator(operator, tensors)
        if observe is not None:
            observe(operator.name, tensors[operator.name])
        for name in operator_inputs(operator):
            readers[name] -= 1
            if not readers[name]:
                tensors.pop(name, None)
    return tensors[graph.operators[-1].name]


def run_operator(operator: Operator, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return one operator's float output from its inputs by name."""
    x = tensors[operator.input]
    match operator:
        case Convolution():
            weight, bias = torch.from_numpy(operator.weight), torch.from_numpy(operator.bias)
            y = F.conv2d(x, weight, bias, operator.stride, operator.padding, groups=operator.groups)
            return F.relu_(y) if operator.relu else y
        case ResidualAdd():
            return x + tensors[operator.other]
        case AveragePool():
            return x.mean((2, 3), keepdim=True)
        case HardSigmoid():
            return F.hardsigmoid(x)
        case Gate():
            return x * tensors[operator.gate]
        case Classifier():
            return F.linear(x.flatten(1), torch.from_numpy(operator.weight), torch.from_numpy(operator.bias))
