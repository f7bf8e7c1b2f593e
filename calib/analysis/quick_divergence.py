"""Divergences computed as fast as the machine can, with a bound on how far they are from the exact ones.

`FloatTape` computes the same bits on every machine and takes three times as long. Where two changes differ by more than
the bounds, the quick divergences order them as the exact ones would; only the rest has to be computed exactly.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch

from calib.analysis.sensitivity import Change, FloatTape, dependents, log_softmax
from repghost.graph.operators import Graph, Layer
from repghost.graph.run import fast_kernels, run
from repghost.graph.threads import in_parallel

MARGIN = 2.0  # what a change may make of the logits' difference: as much again as the unchanged network shows


class Estimate(NamedTuple):
    """A sum of divergences, in nats, and how far the exact one may be from it."""

    value: float
    error: float


class QuickTape:
    """The network of a tape in fast arithmetic.

    Args:
        graph: the float network.
        tape: its exact tensors; a change begins with them, so that quantizing rounds no value to another step.
    """

    def __init__(self, graph: Graph, tape: FloatTape) -> None:
        self._graph = graph
        self._tape = tape
        self._kernels = fast_kernels(_parameters)
        self._tensors: dict[str, torch.Tensor] = {}
        unchanged = self._logits(Change(graph.input, lambda: tape.tensors[graph.input]))
        self._slack = MARGIN * float((unchanged - tape.logits).abs().max())

    def estimates(self, changes: Iterable[Change]) -> list[Estimate]:
        """Return for each change alone the sum over the images of the divergence."""
        return in_parallel(self._estimate, list(changes))

    def _estimate(self, change: Change) -> Estimate:
        """Return the estimate of one change.

        With p the probabilities of the float network, q those of the changed one, and logits that are off by at most d,
        a divergence is off by the sum of (p - q) times what its logits are off, which is at most d |p - q|, and by at
        most d^2 of second order.
        """
        logarithm = log_softmax(self._logits(change))
        probability, real = self._tape.probability, self._tape.log_probability
        apart = np.abs(probability - np.exp(logarithm)).sum() + len(logarithm) * self._slack
        return Estimate(float((probability * (real - logarithm)).sum()), float(self._slack * apart))

    @torch.no_grad()
    def _logits(self, change: Change) -> torch.Tensor:
        reached = dependents(self._graph, [change.name])
        made = {change.name, *(op.name for op in reached.operators)}
        given = {name: self._tensor(name) for op in reached.operators for name in op.inputs if name not in made}
        return run(reached, self._kernels, _channels_last(change.value()), given=given).flatten(1)

    def _tensor(self, name: str) -> torch.Tensor:
        if name not in self._tensors:
            self._tensors[name] = _channels_last(self._tape.tensors[name])
        return self._tensors[name]


def _parameters(layer: Layer) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(layer.weight), torch.from_numpy(layer.bias)


def _channels_last(x: torch.Tensor) -> torch.Tensor:
    """Return a map as fast convolutions want it, with the channels innermost in memory."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
