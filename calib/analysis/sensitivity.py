"""Sensitivity: how much the predictions change when one tensor or one layer alone is quantized.

The change is the Kullback-Leibler divergence of the class probabilities from those of the float network, in nats, mean
over the images. It needs no labels, and unlike top-1 it is smooth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from calib.settings.quantspec import QuantSpec
from calib.simulate.float32 import dequantized_weight, through_int8
from repghost.graph.elementary import exp, log
from repghost.graph.operators import INPUT, Classifier, Convolution, Graph, Operator
from repghost.graph.run import FLOAT, float_kernels, run, run_float, run_operator


@dataclass(frozen=True)
class Sensitivity:
    """How much quantizing one layer changes the predictions, in nats.

    Attributes:
        name: of the layer, or of a tensor that no layer with weights makes.
        activation: with its output alone in int8.
        weight: with its weights alone in int8; None where it has none.
    """

    name: str
    activation: float | None
    weight: float | None

    @property
    def total(self) -> float:
        """Both together; small changes add up."""
        return (self.activation or 0.0) + (self.weight or 0.0)


@dataclass(frozen=True)
class Dependents:
    """The operators that a tensor reaches, in execution order, and that tensor."""

    operators: tuple[Operator, ...]
    input: str

    @property
    def output(self) -> str:
        """The name of the last operator, or of the tensor where nothing reads it."""
        return self.operators[-1].name if self.operators else self.input


def dependents(graph: Graph, tensor: str) -> Dependents:
    """Return the operators whose output changes when a tensor does; the last is that of the logits."""
    changed, operators = {tensor}, []
    for op in graph.operators:
        if op.name not in changed and not changed.isdisjoint(op.inputs):
            changed.add(op.name)
            operators.append(op)
    return Dependents(tuple(operators), tensor)


class FloatTape:
    """A float network's tensors for some images, from which it can be run again with one of them changed.

    Args:
        graph: from `repghost.graph.trace.graph_of`.
        images: float32 [N, C, H, W], normalized; every tensor is kept.
    """

    def __init__(self, graph: Graph, images: torch.Tensor) -> None:
        self._graph = graph
        self.tensors: dict[str, torch.Tensor] = {}
        self.logits = run_float(graph, images, self.tensors.__setitem__)
        self._log = _log_softmax(self.logits)
        self._probability = exp(self._log)

    @torch.no_grad()
    def change(self, name: str, value: torch.Tensor) -> float:
        """Return the sum over the images of the divergence when a tensor has another value."""
        return self.divergence(run(dependents(self._graph, name), FLOAT, value, given=self.tensors))

    def divergence(self, logits: torch.Tensor) -> float:
        """Return the sum over the images of the divergence of other logits."""
        return float((self._probability * (self._log - _log_softmax(logits))).sum())


def _log_softmax(logits: torch.Tensor) -> NDArray[np.float64]:
    """Return the logarithms of the probabilities, float64 [N, classes], the same on every machine."""
    real = logits.double().numpy()
    shifted = real - real.max(axis=1, keepdims=True)
    logarithms: NDArray[np.float64] = shifted - log(exp(shifted).sum(axis=1, keepdims=True))
    return logarithms


def tapes(graph: Graph, batches: Iterable[NDArray[np.float32]]) -> Iterator[FloatTape]:
    """Yield the tape of each batch, float32 [N, C, H, W] normalized; one is alive at a time."""
    for batch in batches:
        yield FloatTape(graph, torch.from_numpy(np.ascontiguousarray(batch, np.float32)))


def measure_sensitivity(
    graph: Graph,
    spec: QuantSpec,
    batches: Iterable[NDArray[np.float32]],
    on_batch: Callable[[int], None] | None = None,
) -> tuple[Sensitivity, ...]:
    """Return the sensitivity of every layer and tensor, in execution order.

    Args:
        graph: from `repghost.graph.trace.graph_of`; the one that `spec` belongs to.
        spec: what it does not name is left out.
        batches: float32 [N, C, H, W] each, normalized.
        on_batch: called with the number of images of each batch once it is done.
    """
    activation: dict[str, float] = dict.fromkeys(spec.activations, 0.0)
    weight: dict[str, float] = dict.fromkeys(spec.weight_scales, 0.0)
    layers = {op.name: op for op in graph.operators if isinstance(op, Convolution | Classifier)}
    images = 0
    for tape in tapes(graph, batches):
        for name, qparams in spec.activations.items():
            activation[name] += tape.change(name, through_int8(tape.tensors[name], qparams))
        for name, scales in spec.weight_scales.items():
            kernels = float_kernels({name: dequantized_weight(layers[name], scales)})
            weight[name] += tape.change(name, run_operator(layers[name], kernels, tape.tensors))
        images += len(tape.logits)
        if on_batch is not None:
            on_batch(len(tape.logits))
    names = [INPUT, *(op.name for op in graph.operators)]
    return tuple(
        Sensitivity(name, _mean(activation, name, images), _mean(weight, name, images))
        for name in names
        if name in activation or name in weight
    )


def _mean(sums: dict[str, float], name: str, images: int) -> float | None:
    return sums[name] / max(images, 1) if name in sums else None
