"""What a layer gains by reading 16 bits: how much nearer to the float network the answers are, with the rest in int8.

The quantized network is simulated in float32 (`calib.simulate.float32`). The layer alone is computed again from what it
would read in int16, and what follows from that. Gains of several layers do not quite add up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from calib.analysis.sensitivity import Change, FloatTape
from calib.integer.qparams import WIDEST
from calib.settings.policy import moves, wide_qparams
from calib.settings.quantspec import QuantSpec
from calib.settings.wide import obstacle
from calib.simulate.float32 import dequantized_weight, through_int8
from repghost.graph.operators import INPUT, Concat, Graph, Narrow, Operator
from repghost.graph.run import Kernels, float_kernels, followed_by, run, run_operator


def candidates(graph: Graph, spec: QuantSpec) -> tuple[str, ...]:
    """Return the layers that could read 16 bits, and read 8.

    Args:
        graph: the float network, as it was calibrated.
        spec: its scales.
    """
    operators = {op.name: op for op in graph.operators}
    return tuple(
        op.name
        for op in graph.operators
        if obstacle(graph, op, operators) is None
        if not all(spec.activations[name].is_wide for name in op.inputs if name in spec.activations)
    )


def measure_wide_gains(
    graph: Graph,
    spec: QuantSpec,
    batches: Iterable[NDArray[np.float32]],
    layers: Sequence[str],
    on_batch: Callable[[int], None] | None = None,
) -> tuple[float, dict[str, float]]:
    """Return the divergence of the quantized network from the float one, and what it loses by each layer in 16 bits.

    Args:
        graph: the float network, with copies where layers read int16 already.
        spec: its scales.
        batches: float32 [N, C, H, W] each, normalized.
        layers: from `candidates`.
        on_batch: called with the number of images of each batch once it is done.

    Returns:
        In nats, mean over the images; a gain below 0 is a loss, one of 0 may be rounding alone.
    """
    base, images, resolution, sums = 0.0, 0, 0.0, dict.fromkeys(layers, 0.0)
    for batch in batches:
        tape = QuantizedTape(graph, spec, torch.from_numpy(np.ascontiguousarray(batch, np.float32)))
        divergences = tape.divergences(Change(name, partial(tape.reading_16_bits, name)) for name in layers)
        for name, divergence in zip(layers, divergences, strict=True):
            sums[name] += tape.divergence - divergence
        base, images, resolution = base + tape.divergence, images + len(batch), resolution + tape.resolution
        if on_batch is not None:
            on_batch(len(batch))
    # A change d of the logits changes a divergence D by at most d sqrt(2 D), by Pinsker's inequality.
    least = 2 * math.sqrt(base * resolution)
    gains = {name: value / max(images, 1) if abs(value) >= least else 0.0 for name, value in sums.items()}
    return base / max(images, 1), gains


class QuantizedTape(FloatTape):
    """A quantized network's tensors for some images, as real numbers; divergences are from the float network's scores.

    Args:
        graph: the float network.
        spec: its scales.
        images: float32 [N, C, H, W], normalized.
    """

    def __init__(self, graph: Graph, spec: QuantSpec, images: torch.Tensor) -> None:
        super().__init__(graph, images)
        self._spec, self._operators = spec, {op.name: op for op in graph.operators}
        self._weights = {op.name: dequantized_weight(op, spec.weight_scales[op.name]) for op in graph.layers()}
        self._plain = float_kernels(self._weights)
        self.tensors = {}
        x = through_int8(images, spec.activations.get(INPUT))
        with torch.no_grad():
            scores = run(graph, self._kernels(1), x, self.tensors.__setitem__).flatten(1)
        self.divergence = self._divergence(scores)

    def _kernels(self, parts: int) -> Kernels[torch.Tensor]:
        return followed_by(float_kernels(self._weights, parts=parts), self._quantized)

    def _quantized(self, op: Operator, value: torch.Tensor) -> torch.Tensor:
        return through_int8(value, self._spec.activations.get(op.name))

    @torch.no_grad()
    def reading_16_bits(self, layer: str) -> torch.Tensor:
        """Return the output of a layer that reads int16, float32 [N, C, H, W]."""
        op = self._operators[layer]
        return self._quantized(op, run_operator(op, self._plain, {name: self._wide(name) for name in op.inputs}))

    def _wide(self, tensor: str) -> torch.Tensor:
        """Return a tensor as int16 holds it; what an add takes from a convolution is no integer before."""
        real = self._real(tensor)
        if tensor not in self._spec.activations:
            return real
        return through_int8(real, wide_qparams(float(real.min()), float(real.max()), WIDEST))

    def _real(self, tensor: str) -> torch.Tensor:
        """Return a tensor before it is quantized; what only moves numbers moves those."""
        op = self._operators[tensor]
        if moves(op) or isinstance(op, Concat | Narrow):
            return run_operator(op, self._plain, {name: self._real(name) for name in op.inputs})
        return run_operator(op, self._plain, self.tensors)
