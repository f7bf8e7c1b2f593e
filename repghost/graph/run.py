"""The interpreter of a graph: one loop over its operators, and a table of kernels that says what each computes.

A kernel is called with an operator and the values of its inputs and returns the value of its output. What a value is
depends on the table: a float tensor here, int8 numbers in `calib.simulate.exact`, a pair of tensors in
`calib.ptq.bias_correction`. A new operator needs a row in every table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar

import torch
from torch.nn import functional as F

from repghost.graph import canonical
from repghost.graph.functions import FAST_STEPS, evaluate
from repghost.graph.operators import (
    UNBOUNDED,
    Add,
    AveragePool,
    ChannelSlopes,
    Clamp,
    Classifier,
    Concat,
    Convolution,
    Function,
    GlobalAveragePool,
    Graph,
    Layer,
    MaxPool,
    Multiply,
    Narrow,
    Operator,
    Pad,
    Resize,
    ShuffleChannels,
    Slice,
    Subtract,
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


def numbers_of(results: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the numbers of several results, [N, C, H, W] each, as [N, numbers]: [H, W, C] of one after another."""
    return torch.cat([value.permute(0, 2, 3, 1).flatten(1) for value in results], 1)


def run_operator(operator: Operator, kernels: Kernels[V], values: Mapping[str, V]) -> V:
    """Return the value of one operator's output from those of its inputs, by name."""
    return kernels[type(operator)](operator, *(values[name] for name in operator.inputs))


def float_kernels(
    weights: Tensors | None = None, biases: Tensors | None = None, parts: int = 1
) -> Kernels[torch.Tensor]:
    """Return the kernels of float32 evaluation, to the same bits on every machine; they have gradients.

    Args:
        weights: by layer, of its weight's shape, for layers that compute with others than their own.
        biases: the same for biases, [O].
        parts: that the images consist of; the bits of each are those it has alone, and there are no gradients.
    """
    weights, biases = weights or {}, biases or {}

    def parameters(op: Layer) -> tuple[torch.Tensor, torch.Tensor]:
        weight, bias = weights.get(op.name), biases.get(op.name)
        return (
            torch.from_numpy(op.weight) if weight is None else weight,
            torch.from_numpy(op.bias) if bias is None else bias,
        )

    def convolution(op: Convolution, x: torch.Tensor) -> torch.Tensor:
        y = canonical.convolve(x, *parameters(op), op.strides, op.pads, op.dilations, op.groups, parts)
        return _clamped_result(y, op.clamp)

    return {
        **WEIGHTLESS,
        Convolution: convolution,
        GlobalAveragePool: lambda op, x: canonical.average(x, parts),
        Classifier: lambda op, x: canonical.classify(x, *parameters(op), parts),
    }


def clamped(x: torch.Tensor, clamp: Clamp) -> torch.Tensor:
    """Return the numbers limited to an interval."""
    if clamp == UNBOUNDED:
        return x
    return torch.relu(x) if clamp == (0.0, float("inf")) else torch.clamp(x, *clamp)


def _clamped_result(x: torch.Tensor, clamp: Clamp) -> torch.Tensor:
    """Return the same of numbers that nothing else reads: in their place, unless gradients are wanted."""
    if torch.is_grad_enabled() or clamp == UNBOUNDED:
        return clamped(x, clamp)
    return torch.relu_(x) if clamp == (0.0, float("inf")) else torch.clamp_(x, *clamp)


def convolve(op: Convolution, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return a convolution without its clamp, as fast as the machine can: [N, O, H, W]."""
    if (*x.shape[2:], *weight.shape[2:], op.groups) == (1, 1, 1, 1, 1) and not any(op.pads):
        # A matrix product; oneDNN's convolution of one position takes 4 to 12 times as long (AVX-512, batch 128).
        return F.linear(x.flatten(1), weight.flatten(1), bias)[:, :, None, None]
    top, left, bottom, right = op.pads
    if (top, left) != (bottom, right):
        x, top, left = F.pad(x, (left, right, top, bottom)), 0, 0
    return F.conv2d(x, weight, bias, op.strides, (top, left), op.dilations, op.groups)


def _max_pool(op: MaxPool, x: torch.Tensor) -> torch.Tensor:
    top, left, bottom, right = op.pads
    x = F.pad(x, (left, right, top, bottom), value=float("-inf")) if any(op.pads) else x
    return F.max_pool2d(x, op.size, op.strides, dilation=op.dilations)


def _slice(op: Slice, x: torch.Tensor) -> torch.Tensor:
    return x[(slice(None), *map(slice, op.start, op.end, op.step))]


def _pad(op: Pad, x: torch.Tensor) -> torch.Tensor:
    top, left, bottom, right = op.pads
    return F.pad(x, (left, right, top, bottom))


def _average_pool(op: AveragePool, x: torch.Tensor) -> torch.Tensor:
    return canonical.average_window(x, op.size, op.strides, op.pads, op.padding_counts)


# Of operators that only move numbers; what a number is does not matter.
MOVES: Kernels[torch.Tensor] = {
    MaxPool: _max_pool,
    Concat: lambda op, *x: torch.cat(x, 1),
    Slice: _slice,
    ShuffleChannels: lambda op, x: F.channel_shuffle(x, op.groups),
    Pad: _pad,
}
# Of operators without weights, to the same bits on every machine.
WEIGHTLESS: Kernels[torch.Tensor] = {
    **MOVES,
    Add: lambda op, x, other: _clamped_result(x + other, op.clamp),
    Subtract: lambda op, x, other: _clamped_result(x - other, op.clamp),
    Multiply: lambda op, x, other: _clamped_result(canonical.gated(x, other), op.clamp),
    Function: lambda op, x: evaluate(op.steps, x),
    ChannelSlopes: lambda op, x: torch.where(x < 0, x * torch.from_numpy(op.slopes)[:, None, None], x),
    GlobalAveragePool: lambda op, x: canonical.average(x),
    AveragePool: _average_pool,
    Resize: lambda op, x: canonical.resize(x, op.size, op.mode, op.coordinates, op.rounding),
    Narrow: lambda op, x: x,
}
# The same for training: as fast as the machine can, on every device, rounded as it likes.
FAST: Kernels[torch.Tensor] = {
    **WEIGHTLESS,
    Multiply: lambda op, x, other: _clamped_result(x * other, op.clamp),
    Function: lambda op, x: evaluate(op.steps, x, FAST_STEPS),
    ChannelSlopes: lambda op, x: F.prelu(x, torch.from_numpy(op.slopes).to(x)),
    GlobalAveragePool: lambda op, x: x.mean((2, 3), keepdim=True),
}
FLOAT = float_kernels()


def fast_kernels(parameters: Callable[[Layer], tuple[torch.Tensor, torch.Tensor]]) -> Kernels[torch.Tensor]:
    """Return the kernels of fast float evaluation, on every device; they have gradients.

    Args:
        parameters: returns a layer's weight and bias.
    """
    return {
        **FAST,
        Convolution: lambda op, x: _clamped_result(convolve(op, x, *parameters(op)), op.clamp),
        Classifier: lambda op, x: F.linear(x.flatten(1), *parameters(op)),
    }


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
        graph: the float network.
        images: float32 [N, channels, H, W], normalized.
        observe: see `run`; tensors are float32 [N, C, H, W].
    """
    return run(graph, FLOAT, images, observe).flatten(1)
