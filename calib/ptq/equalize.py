"""Cross-layer equalization: the channels of a tensor brought to one range, without changing the float network.

Where a tensor has one reader, dividing a channel by s in the layer that makes it and multiplying by s in the layer
that reads it changes nothing, also through a ReLU, a PReLU or a LeakyReLU (s > 0), zero padding and any pool. The
tensor has one scale for all channels, so channels of one range waste fewer of its steps. Nagel et al. 2019 equalize
weights; the weights here have a scale per channel already, so it is the activations that are equalized, by what the
images show of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from repghost.graph.operators import (
    RELU,
    UNBOUNDED,
    AveragePool,
    ChannelSlopes,
    Classifier,
    Convolution,
    Function,
    GlobalAveragePool,
    Graph,
    MaxPool,
    Operator,
    Pad,
    Resize,
    Step,
)
from repghost.graph.run import run_float

# A depthwise weight that shrinks by more leaves its int16 multiplier too few integers to choose from.
LARGEST_FACTOR = 8.0


@dataclass(frozen=True)
class Pair:
    """Two layers between which channels can be rescaled.

    Attributes:
        first: makes the tensor.
        second: the only layer that reads it, perhaps through operators of `_scales_along`.
    """

    first: str
    second: str


def find_pairs(graph: Graph) -> tuple[Pair, ...]:
    """Return every pair of layers for which equalization is exact, in execution order."""
    readers = graph.readers
    reader = {name: op for op in graph.operators for name in op.inputs}
    pairs = []
    for op in graph.operators:
        if not isinstance(op, Convolution) or op.clamp not in (UNBOUNDED, RELU):  # other clamps do not scale along
            continue
        tensor, following = op.name, reader.get(op.name)
        while readers[tensor] == 1 and _scales_along(following):
            assert following is not None
            tensor, following = following.name, reader.get(following.name)
        if readers[tensor] == 1 and following is not None and _scales_inputs(following):
            pairs.append(Pair(op.name, following.name))
    return tuple(pairs)


def _scales_along(op: Operator | None) -> bool:
    """Return whether a channel of an operator's result is multiplied by s > 0 where that of what it reads is."""
    match op:
        case GlobalAveragePool() | AveragePool() | MaxPool() | Pad() | Resize() | ChannelSlopes():
            return True
        case Function(steps=(Step("Relu" | "LeakyRelu", (0,)),)):
            return True
    return False


def _scales_inputs(op: Operator) -> bool:
    """Return whether the weights of an operator can take factors for the channels that it reads."""
    if isinstance(op, Convolution):
        return op.groups == 1 or (op.is_depthwise and len(op.weight) == op.groups)
    return isinstance(op, Classifier)


def equalize(graph: Graph, batches: Iterable[NDArray[np.float32]]) -> Graph:
    """Return the graph with rescaled channels; its float logits are the same up to rounding.

    Args:
        graph: the float network.
        batches: float32 [N, C, H, W] each, normalized; nothing is rescaled when there is none.
    """
    pairs = find_pairs(graph)
    extremes = _channel_extremes(graph, {pair.first for pair in pairs}, batches)
    layers: dict[str, Operator] = {op.name: op for op in graph.operators}
    for pair in pairs:
        first, second = layers[pair.first], layers[pair.second]
        assert isinstance(first, Convolution) and isinstance(second, Convolution | Classifier)
        if pair.first in extremes:
            factor = channel_factors(extremes[pair.first], second)
            layers[first.name], layers[second.name] = rescale(first, second, factor)
    return replace(graph, operators=tuple(layers[op.name] for op in graph.operators))


def channel_factors(extremes: NDArray[np.float64], second: Convolution | Classifier) -> NDArray[np.float64]:
    """Return what each channel is divided by, float64 [C] in [1 / LARGEST_FACTOR, 1].

    A depthwise reader has a weight scale for each of these channels, so they can all get the same range. A dense one
    has one weight scale for a whole row over them, so activation and weight share the difference: s = sqrt(r / w).

    Args:
        extremes: float64 [C], the largest magnitude of each channel.
        second: the layer that reads the channels.
    """
    wanted = extremes.astype(np.float64)
    if not (isinstance(second, Convolution) and second.is_depthwise):
        weight = np.abs(second.weight.astype(np.float64))
        columns = weight.reshape(len(weight), len(wanted), -1).max(axis=(0, 2))  # a classifier may read every pixel
        wanted = np.sqrt(np.divide(extremes, columns, out=np.zeros_like(wanted), where=columns > 0))
    largest = wanted.max(initial=0.0)
    if not (np.isfinite(largest) and largest > 0):
        return np.ones_like(wanted)
    factor = np.clip(wanted / largest, 1 / LARGEST_FACTOR, 1.0)
    return np.where(wanted > 0, factor, 1.0)  # a dead channel has nothing to equalize


def rescale(
    first: Convolution, second: Convolution | Classifier, factor: NDArray[np.float64]
) -> tuple[Convolution, Convolution | Classifier]:
    """Return both layers with the channels between them divided by `factor`, float64 [C]."""
    column = factor.reshape(-1, 1, 1, 1)
    made = replace(
        first,
        weight=(first.weight / column).astype(np.float32),
        bias=(first.bias / factor).astype(np.float32),
    )
    depthwise = isinstance(second, Convolution) and second.is_depthwise
    shape = (len(factor), 1, -1) if depthwise else (len(second.weight), len(factor), -1)
    scaled = second.weight.reshape(shape) * factor.reshape((-1, 1, 1) if depthwise else (1, -1, 1))
    return made, replace(second, weight=scaled.reshape(second.weight.shape).astype(np.float32))


def _channel_extremes(
    graph: Graph, tensors: set[str], batches: Iterable[NDArray[np.float32]]
) -> dict[str, NDArray[np.float64]]:
    """Return each channel's largest magnitude, averaged over the images so that one odd image does not set it."""
    totals: dict[str, NDArray[np.float64]] = {}
    images = 0

    def observe(name: str, value: torch.Tensor) -> None:
        if name in tensors:
            extreme = value.abs().amax((2, 3)).double().numpy().sum(axis=0)
            totals[name] = totals.get(name, 0.0) + extreme

    for batch in batches:
        run_float(graph, torch.from_numpy(np.ascontiguousarray(batch, np.float32)), observe)
        images += len(batch)
    return {name: total / max(images, 1) for name, total in totals.items()}
