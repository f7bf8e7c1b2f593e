"""The interpreter of a graph: one loop over its operators, and a table of kernels that says what each computes.

A kernel is called with an operator and the values of its inputs and returns the value of its output. What a value is
depends on the table: a float tensor here, int8 numbers in `calib.simulate.exact`, a pair of tensors in
`calib.ptq.bias_correction`. A new operator needs a row in every table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar

import torch
from torch.nn import functional as F

from repghost.graph import canonical
from repghost.graph.operators import (
    AveragePool,
    Classifier,
    Convolution,
    Gate,
    Graph,
    HardSigmoid,
    Operator,
    ResidualAdd,
)

V = TypeVar("V")
Kernel: TypeAlias = Callable[..., V]  # (operator, value of each input) -> value of the output
Kernels: TypeAlias = Mapping[type[Operator], Kernel[V]]  # by the operator's class
Tensors: TypeAlias = Mapping[str, torch.Tensor]


class Subgraph(Protocol):
    """Operators in execution order from one tensor to another: a whole `Graph` or a part of one."""

    @property
    def operators(self) -> tuple[Operator, ...]:
        """The operators."""
        ...

    @property
    def input(self) -> str:
        """The name of the tensor that a run begins with."""
        ...

    @property
    def output(self) -> str:
        """The name of the tensor that a run returns."""
        ...


def run(
    graph: Subgraph,
    kernels: Kernels[V],
    x: V,
    observe: Callable[[str, V], None] | None = None,
    given: Mapping[str, V] | None = None,
) -> V:
    """Return the value of the graph's output; a value in between is dropped once its last reader has run.

    Args:
        graph: the operators.
        kernels: what each of their classes computes.
        x: the value of the graph's input.
        observe: called with each tensor's name and value as soon as it exists, the input's first.
        given: values of other tensors that the operators read, by name.
    """
    readers = Counter(name for operator in graph.operators for name in operator.inputs)
    values = {**(given or {}), graph.input: x}
    if observe is not None:
        observe(graph.input, x)
    for operator in graph.operators:
        values[operator.name] = run_operator(operator, kernels, values)
        if observe is not None:
            observe(operator.name, values[operator.name])
        for name in operator.inputs:
            readers[name] -= 1
            if not readers[name]:
                del values[name]
    return values[graph.output]


def run_operator(operator: Operator, kernels: Kernels[V], values: Mapping[str, V]) -> V:
    """Return the value of one operator's output from those of its inputs, by name."""
    return kernels[type(operator)](operator, *(values[name] for name in operator.inputs))


def float_kernels(weights: Tensors | None = None, biases: Tensors | None = None) -> Kernels[torch.Tensor]:
    """Return the kernels of float32 evaluation, to the same bits on every machine; they have gradients.

    Args:
        weights: by layer, of its weight's shape, for layers that compute with others than their own.
        biases: the same for biases, [O].
    """
    weights, biases = weights or {}, biases or {}

    def parameters(op: Convolution | Classifier) -> tuple[torch.Tensor, torch.Tensor]:
        weight, bias = weights.get(op.name), biases.get(op.name)
        return (
            torch.from_numpy(op.weight) if weight is None else weight,
            torch.from_numpy(op.bias) if bias is None else bias,
        )

    def convolution(op: Convolution, x: torch.Tensor) -> torch.Tensor:
        y = canonical.convolve(x, *parameters(op), op.stride, op.padding, op.groups)
        return torch.relu(y) if op.relu else y

    return {
        **FAST,
        Convolution: convolution,
        AveragePool: lambda op, x: canonical.average(x),
        HardSigmoid: lambda op, x: canonical.hard_sigmoid(x),
        Gate: lambda op, x, gate: canonical.gated(x, gate),
        Classifier: lambda op, x: canonical.classify(x, *parameters(op)),
    }


# Of operators without weights, for training: as fast as the machine can, on every device, rounded as it likes.
FAST: Kernels[torch.Tensor] = {
    ResidualAdd: lambda op, x, other: x + other,
    AveragePool: lambda op, x: x.mean((2, 3), keepdim=True),
    HardSigmoid: lambda op, x: F.hardsigmoid(x),
    Gate: lambda op, x, gate: x * gate,
}
FLOAT = float_kernels()


def followed_by(kernels: Kernels[V], change: Callable[[Any, V], V]) -> Kernels[V]:
    """Return the kernels with `change(operator, value)` applied to every value that they return."""

    def both(kernel: Kernel[V], operator: Operator, *inputs: V) -> V:
        return change(operator, kernel(operator, *inputs))

    return {kind: partial(both, kernel) for kind, kernel in kernels.items()}


@torch.no_grad()
def run_float(
    graph: Graph, images: torch.Tensor, observe: Callable[[str, torch.Tensor], None] | None = None
) -> torch.Tensor:
    """Return the float32 logits [N, classes].

    Args:
        graph: from `repghost.graph.trace.graph_of`.
        images: float32 [N, channels, H, W], normalized.
        observe: see `run`; tensors are float32 [N, C, H, W].
    """
    return run(graph, FLOAT, images, observe)
