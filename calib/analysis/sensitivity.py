"""Sensitivity: how much the predictions change when one tensor or one layer alone is quantized.

The change is the Kullback-Leibler divergence of the class probabilities from those of the float network, in nats, mean
over the images. It needs no labels, and unlike top-1 it is smooth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from calib.settings.quantspec import QuantSpec
from calib.simulate.float32 import dequantized_weight, through_int8
from repghost.graph.elementary import exp, log
from repghost.graph.operators import INPUT, Classifier, Convolution, Graph, Operator
from repghost.graph.run import Kernels, float_kernels, followed_by, run, run_float, run_operator
from repghost.graph.threads import in_parallel

T = TypeVar("T")

# What roundings make of a logit, a sum of some thousand float32 products, as a share of it: a few of its last bits.
ROUNDING = 8 * 2.0**-23
PIXELS = 1 << 18  # of the images of a run: the fewer it has, the more of it is the cost of its calls


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
class Change:
    """Another value for one of a float network's tensors.

    Attributes:
        name: of the tensor.
        value: returns it, float32 of the tensor's shape, as soon as it is needed.
    """

    name: str
    value: Callable[[], torch.Tensor]


@dataclass(frozen=True)
class Dependents:
    """The operators that some tensors reach, in execution order, and the first of those tensors."""

    operators: tuple[Operator, ...]
    input: str

    @property
    def output(self) -> str:
        """The name of the last operator, or of the tensor where nothing reads it."""
        return self.operators[-1].name if self.operators else self.input


def dependents(graph: Graph, tensors: Sequence[str]) -> Dependents:
    """Return the operators whose output changes when one of the tensors does; the last is that of the logits."""
    changed, operators = {*tensors}, []
    for op in graph.operators:
        if not changed.isdisjoint(op.inputs):
            changed.add(op.name)
            operators.append(op)
    return Dependents(tuple(operators), tensors[0])


class FloatTape:
    """A float network's tensors for some images, from which it can be run again with one of them changed.

    Args:
        graph: the float network.
        images: float32 [N, C, H, W], normalized; every tensor is kept.
    """

    def __init__(self, graph: Graph, images: torch.Tensor) -> None:
        self._graph = graph
        self.tensors: dict[str, torch.Tensor] = {}
        self.logits = run_float(graph, images, self.tensors.__setitem__)
        self.log_probability = log_softmax(self.logits)
        self.probability = exp(self.log_probability)
        self.together = max(1, PIXELS // max(1, images[:, 0].numel()))  # changes in a run

    def part(self, images: slice | NDArray[np.int64]) -> FloatTape:
        """Return the tape of some of the images, by place: the bits that they have among all."""
        result = copy(self)
        result.tensors = {name: x[images] for name, x in self.tensors.items()}
        result.logits, result.log_probability = self.logits[images], self.log_probability[images]
        result.probability = self.probability[images]
        result.together = max(1, self.together * len(self.logits) // max(1, len(result.logits)))
        return result

    @property
    def resolution(self) -> float:
        """The sum over the images of the divergence that roundings of the logits make; less says nothing.

        A change d of the logits makes a divergence of half the variance of d under the probabilities, to second order,
        which is at most d^2 / 2.
        """
        return float((0.5 * (ROUNDING * self.logits.double().abs().amax(1)) ** 2).sum())

    def divergences(self, changes: Iterable[Change]) -> list[float]:
        """Return for each change alone the sum over the images of the divergence; several are computed at a time."""
        return in_runs(self._divergences, self._graph, changes, self.together)

    @torch.no_grad()
    def _divergences(self, changes: Sequence[Change]) -> list[float]:
        found = changed_logits(self._graph, changes, self._kernels(len(changes)), self.tensors, side_by_side)
        # In memory as each is alone.
        return [self._divergence(part.movedim(0, -1).contiguous().movedim(-1, 0)) for part in found]

    def _kernels(self, parts: int) -> Kernels[torch.Tensor]:
        """Return what every operator computes, for images of several parts side by side."""
        return float_kernels(parts=parts)

    def _divergence(self, logits: torch.Tensor) -> float:
        return float((self.probability * (self.log_probability - log_softmax(logits))).sum())


def in_runs(
    function: Callable[[Sequence[Change]], list[T]], graph: Graph, changes: Iterable[Change], together: int
) -> list[T]:
    """Return what a function makes of each change, where it takes several at a time, those of near operators.

    Args:
        function: returns a result for each of some changes.
        graph: whose tensors they change.
        changes: in any order, in which the results are returned.
        together: how many the function takes.
    """
    order = {name: index for index, name in enumerate(graph.names())}
    numbered = sorted(enumerate(changes), key=lambda entry: order[entry[1].name])
    parts = [numbered[start : start + together] for start in range(0, len(numbered), together)]
    results = in_parallel(function, [[change for _, change in part] for part in parts])
    places = [index for index, _ in numbered]
    found = dict(zip(places, [result for some in results for result in some], strict=True))
    return [found[index] for index in range(len(found))]


def changed_logits(
    graph: Graph,
    changes: Sequence[Change],
    kernels: Kernels[torch.Tensor],
    tensors: Mapping[str, torch.Tensor],
    join: Callable[[Sequence[torch.Tensor]], torch.Tensor],
) -> tuple[torch.Tensor, ...]:
    """Return the logits of each change alone, float32 [N, classes]; all are computed in one run, as parts of a batch.

    Args:
        graph: the float network.
        changes: in the order of its operators.
        kernels: what every operator computes, for as many parts.
        tensors: of the unchanged network by name, [N, ...].
        join: makes one batch of parts.
    """
    reached = dependents(graph, [change.name for change in changes])
    read = {reached.input, *(name for op in reached.operators for name in op.inputs)}
    made = {op.name for op in reached.operators}
    size = len(tensors[reached.input])

    def change(name: str, x: torch.Tensor) -> torch.Tensor:
        """Return a tensor of all parts with the values of those parts that change it."""
        own = {index: change.value() for index, change in enumerate(changes) if change.name == name}
        return join([own.get(index, part) for index, part in enumerate(x.split(size))]) if own else x

    given = {name: change(name, join([tensors[name]] * len(changes))) for name in read - made}
    changed = followed_by(kernels, lambda op, x: change(op.name, x))
    return run(reached, changed, given[reached.input], given=given).flatten(1).split(size)


def mean_divergence(real: torch.Tensor, other: torch.Tensor) -> float:
    """Return the divergence of the probabilities of `other` from those of `real`, in nats, mean over the images.

    Args:
        real: float32 logits [N, classes].
        other: those of another network.
    """
    logarithm = log_softmax(real)
    return float((exp(logarithm) * (logarithm - log_softmax(other))).sum()) / len(real)


def side_by_side(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return batches [N, ...] as one, with the images innermost in memory, as `repghost.graph.canonical` wants them."""
    return torch.cat([x.movedim(0, -1) for x in tensors], -1).movedim(-1, 0)


def log_softmax(logits: torch.Tensor) -> NDArray[np.float64]:
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
    """Return the sensitivity of every layer and tensor, in execution order; 0 where it is rounding alone.

    Args:
        graph: the float network; the one that `spec` belongs to.
        spec: what it does not name is left out.
        batches: float32 [N, C, H, W] each, normalized.
        on_batch: called with the number of images of each batch once it is done.
    """
    activation: dict[str, float] = dict.fromkeys(spec.activations, 0.0)
    weight: dict[str, float] = dict.fromkeys(spec.weight_scales, 0.0)
    layers = {op.name: op for op in graph.operators if isinstance(op, Convolution | Classifier)}
    kernels = {
        name: float_kernels({name: dequantized_weight(layers[name], scales)})
        for name, scales in spec.weight_scales.items()
    }
    images, resolution = 0, 0.0
    for tape in tapes(graph, batches):
        resolution += tape.resolution
        outputs = [Change(name, partial(through_int8, tape.tensors[name], q)) for name, q in spec.activations.items()]
        for name, divergence in zip(activation, tape.divergences(outputs), strict=True):
            activation[name] += divergence
        reweighted = [Change(name, partial(run_operator, layers[name], kernels[name], tape.tensors)) for name in weight]
        for name, divergence in zip(weight, tape.divergences(reweighted), strict=True):
            weight[name] += divergence
        images += len(tape.logits)
        if on_batch is not None:
            on_batch(len(tape.logits))
    names = [INPUT, *(op.name for op in graph.operators)]
    return tuple(
        Sensitivity(name, *(_mean(sums.get(name), images, resolution) for sums in (activation, weight)))
        for name in names
        if name in activation or name in weight
    )


def _mean(total: float | None, images: int, resolution: float) -> float | None:
    if total is None:
        return None
    return total / max(images, 1) if total >= resolution else 0.0
