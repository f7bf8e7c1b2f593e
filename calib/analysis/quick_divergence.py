"""Divergences computed as fast as the machine can, with a bound on how far they are from the exact ones.

`FloatTape` computes the same bits on every machine and takes three times as long. Where two changes differ by more than
the bounds, the quick divergences order them as the exact ones would; only the rest has to be computed exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from calib.analysis.sensitivity import Change, FloatTape, changed_logits, in_runs, log_softmax
from repghost.graph.operators import Convolution, Graph, Layer
from repghost.graph.run import Kernel, Kernels, clamped, fast_kernels

MARGIN = 2.0  # what a change may make of the logits' difference: as much again as the unchanged network shows


class Estimate(NamedTuple):
    """A sum of divergences, in nats, how far the exact one may be from it, and its terms."""

    value: float
    error: float
    by_image: NDArray[np.float64]


class QuickTape:
    """The network of a tape in fast arithmetic.

    Args:
        graph: the float network.
        tape: its exact tensors.

    Attributes:
        tensors: the same numbers, in memory as fast arithmetic wants them; a change begins with them, so that
            quantizing rounds no value to another step.
    """

    def __init__(self, graph: Graph, tape: FloatTape) -> None:
        self._graph = graph
        self._tape = tape
        self._parameters: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        fast = fast_kernels(self._parameters_of)
        self._kernels: Kernels[torch.Tensor] = {**fast, Convolution: partial(self._convolve, fast[Convolution])}
        self.tensors: Mapping[str, torch.Tensor] = _ChannelsLast(tape.tensors)
        (unchanged,) = self._logits([Change(graph.input, lambda: tape.tensors[graph.input])])
        self._slack = MARGIN * float((unchanged - tape.logits).abs().max())

    def estimates(self, changes: Iterable[Change]) -> list[Estimate]:
        """Return for each change alone the sum over the images of the divergence."""
        return in_runs(self._estimates, self._graph, changes, self._tape.together)

    def _estimates(self, changes: Sequence[Change]) -> list[Estimate]:
        return [self._estimate(logits) for logits in self._logits(changes)]

    def _estimate(self, logits: torch.Tensor) -> Estimate:
        """Return the estimate of one change from its logits.

        With p the probabilities of the float network, q those of the changed one, and logits that are off by at most d,
        a divergence is off by the sum of (p - q) times what its logits are off, which is at most d |p - q|, and by at
        most d^2 of second order.
        """
        logarithm = log_softmax(logits)
        probability, real = self._tape.probability, self._tape.log_probability
        apart = np.abs(probability - np.exp(logarithm)).sum() + len(logarithm) * self._slack
        by_image = (probability * (real - logarithm)).sum(axis=1)
        return Estimate(float(by_image.sum()), float(self._slack * apart), by_image)

    def _parameters_of(self, layer: Layer) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a layer's weight, in memory as fast arithmetic wants it, and its bias."""
        if layer.name not in self._parameters:
            weight = _channels_last(torch.from_numpy(layer.weight))
            self._parameters[layer.name] = weight, torch.from_numpy(layer.bias)
        return self._parameters[layer.name]

    def _convolve(self, usual: Kernel[torch.Tensor], op: Convolution, x: torch.Tensor) -> torch.Tensor:
        """Return a convolution; of maps of one pixel it is a product of matrices, which costs a quarter of it."""
        weight, bias = self._parameters_of(op)
        if x.shape[2:] != (1, 1) or weight.shape[2:] != (1, 1) or op.groups > 1 or op.strides != (1, 1) or any(op.pads):
            return usual(op, x)
        y = F.linear(x.flatten(1), weight.flatten(1), bias)
        return clamped(y, op.clamp)[:, :, None, None]

    @torch.no_grad()
    def _logits(self, changes: Sequence[Change]) -> tuple[torch.Tensor, ...]:
        return changed_logits(self._graph, changes, self._kernels, self.tensors, _joined)


class _ChannelsLast(dict[str, torch.Tensor]):
    """Tensors as fast convolutions want them, each made when it is first asked for."""

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self._exact = tensors

    def __missing__(self, name: str) -> torch.Tensor:
        self[name] = _channels_last(self._exact[name])
        return self[name]


def _channels_last(x: torch.Tensor) -> torch.Tensor:
    """Return a map as fast convolutions want it, with the channels innermost in memory."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return _channels_last(parts[0] if len(parts) == 1 else torch.cat([_channels_last(part) for part in parts]))
