"""Rounding learned block by block: whether each weight goes up or down (AdaRound, Nagel et al. 2020).

A weight lies between two int8 values. Rounding to the nearest one is best for the weight and not for the layer: errors
of neighbouring weights add up where inputs correlate. Here the choice is learned. Within a block, a weight is
s * (floor(w / s) + h(v)) with h(v) from 0 to 1 (see `calib.ptq.soft_layer`), and v minimizes

    |block(x) - y|**2 / |block with nearest rounding(x) - y|**2 + strength * mean(1 - |2 h(v) - 1|**beta)

over calibration images, where x is the output of the quantized blocks before, y the output of the float block, and
beta falls, which drives every h to 0 or 1. Biases are learned too. A block keeps what it learned only where its error
on held-out images became smaller, so no block becomes worse.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from calib.ptq.blocks import Block, find_blocks, numbers_of
from calib.ptq.soft_layer import SoftLayer
from calib.settings.quantspec import QuantSpec
from calib.simulate.float32 import dequantized_weight, simulation_kernels, through_int8
from repghost.graph.canonical import exact_sum
from repghost.graph.operators import INPUT, Graph, Operator
from repghost.graph.run import FLOAT, Kernels, Tensors, run
from repghost.graph.shapes import shapes_of

BETA = (20.0, 2.0)  # from, to
MOST_PIXELS = 4 << 20  # of all images together
MOST_NUMBERS = 50 << 20  # of any tensor between blocks, all images together: 200 MB
MOST_OF_A_STEP = 64 << 20  # numbers that the products of a block have: 256 MB, and some times that for gradients
HELD_OUT = 0.125  # of the images: they evaluate a block and are not learned from


@dataclass(frozen=True)
class RoundingSettings:
    """How long and how fast rounding learns.

    Attributes:
        steps: per block.
        batch: images per step.
        rate: of v, for Adam.
        bias_rate: of the biases, in units of the largest weight times one step of the input.
        strength: of the term that drives h to 0 or 1.
        warm_up: the share of the steps before that term begins.
        seed: chooses the images of each step.
    """

    steps: int = 400
    batch: int = 32
    rate: float = 2e-2
    bias_rate: float = 2e-2
    strength: float = 1.0
    warm_up: float = 0.2
    seed: int = 0


def learn_rounding(
    graph: Graph,
    spec: QuantSpec,
    images: NDArray[np.float32],
    settings: RoundingSettings | None = None,
    on_block: Callable[[str], None] | None = None,
) -> Graph:
    """Return the graph with learned weights and biases; the weights lie on their int8 steps, and scales stay.

    Args:
        graph: the float network, perhaps equalized or corrected.
        spec: from `calib.ptq.calibrate.calibrate`.
        images: float32 [N, C, H, W], normalized; as many are used as fit memory.
        settings: None takes the defaults.
        on_block: called with each block's name once it is done.
    """
    settings = RoundingSettings() if settings is None else settings
    size = (images.shape[2], images.shape[3])
    shapes, blocks = shapes_of(graph, size), find_blocks(graph)
    largest = max(math.prod(shapes[name]) for name in (INPUT, *(block.output for block in blocks)))
    count = max(2, min(MOST_PIXELS // math.prod(size), MOST_NUMBERS // largest))
    x = torch.from_numpy(np.ascontiguousarray(images[:count], np.float32))
    real, seen = {INPUT: x}, {INPUT: through_int8(x, spec.activations.get(INPUT))}
    layers: dict[str, Operator] = {}
    left = Counter(graph.readers)
    for block in blocks:
        target = run_block(block, real)
        if any(layer.name in spec.weight_scales for layer in block.layers()):
            fitting = max(4, MOST_OF_A_STEP // numbers_of(block.operators, shapes))
            part = replace(settings, batch=min(settings.batch, fitting))
            block = _learn_block(block, graph, spec, seen, target, part)
        layers |= {op.name: op for op in block.operators}
        real[block.output] = target
        seen[block.output] = simulate_block(block, spec, seen, weights_of(block, spec))
        left.subtract(name for op in block.operators for name in op.inputs)
        real, seen = ({name: value for name, value in them.items() if left[name] > 0} for them in (real, seen))
        if on_block is not None:
            on_block(block.name)
    return replace(graph, operators=tuple(layers[op.name] for op in graph.operators))


@torch.no_grad()
def run_block(block: Block, x: Tensors, step: int = 64) -> torch.Tensor:
    """Return the float block's output, float32 [N, C, H, W] or [N, classes], computed `step` images at a time.

    Args:
        block: a part of a network.
        x: its inputs, float32 [N, C, H, W], by name; others are not read.
        step: images.
    """
    return torch.cat([_run(block, FLOAT, part) for part in _split(block, x, step)])


def _run(block: Block, kernels: Kernels[torch.Tensor], x: Tensors) -> torch.Tensor:
    return run(block, kernels, x[block.input], given=x)


def _split(block: Block, x: Tensors, step: int) -> Iterator[dict[str, torch.Tensor]]:
    """Yield the inputs of a block, `step` images at a time."""
    for start in range(0, len(x[block.input]), step):
        yield chosen(block, x, slice(start, start + step))


def chosen(block: Block, x: Tensors, images: slice | torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the inputs of a block for some images."""
    return {name: x[name][images] for name in block.inputs}


def weights_of(block: Block, spec: QuantSpec) -> dict[str, torch.Tensor]:
    """Return the dequantized weights of a block's int8 layers by name."""
    return {
        layer.name: dequantized_weight(layer, spec.weight_scales[layer.name])
        for layer in block.layers()
        if layer.name in spec.weight_scales
    }


@torch.no_grad()
def simulate_block(block: Block, spec: QuantSpec, x: Tensors, weights: Tensors, step: int = 64) -> torch.Tensor:
    """Return the quantized block's output, computed `step` images at a time (see `run_block`)."""
    kernels = simulation_kernels(spec, weights)
    return torch.cat([_run(block, kernels, part) for part in _split(block, x, step)])


def _learn_block(
    block: Block, graph: Graph, spec: QuantSpec, x: Tensors, y: torch.Tensor, settings: RoundingSettings
) -> Block:
    """Return the block as learned, or as it was where learning did not help."""
    held = max(1, int(HELD_OUT * len(y)))
    if len(y) - held < 1:
        return block
    learning, held_out = (chosen(block, x, part) for part in (slice(None, -held), slice(-held, None)))
    start = _error(block, spec, held_out, y[-held:])
    soft = {
        layer.name: SoftLayer(layer, spec, settings.rate, settings.bias_rate)
        for layer in block.layers()
        if layer.name in spec.weight_scales
    }
    _descend(block, spec, soft, learning, y[:-held], settings)
    changed = {name: layer.rounded(graph, spec) for name, layer in soft.items()}
    learned = replace(block, operators=tuple(changed.get(op.name, op) for op in block.operators))
    return learned if _error(learned, spec, held_out, y[-held:]) < start else block


def _error(block: Block, spec: QuantSpec, x: Tensors, y: torch.Tensor) -> float:
    squares = (simulate_block(block, spec, x, weights_of(block, spec)) - y).double().square()
    return float(exact_sum(squares, tuple(range(squares.ndim)))) / squares.numel()


def _descend(
    block: Block,
    spec: QuantSpec,
    soft: Mapping[str, SoftLayer],
    x: Tensors,
    y: torch.Tensor,
    settings: RoundingSettings,
) -> None:
    """Minimize the block's error over its choices and biases."""
    unit = max(_error(block, spec, x, y), float(np.finfo(np.float32).tiny))
    strength = settings.strength / sum(layer.v.numel() for layer in soft.values())
    for progress, images in _batches(len(y), settings):
        weights = {name: layer.weight for name, layer in soft.items()}
        biases = {name: layer.bias for name, layer in soft.items()}
        found = _run(block, simulation_kernels(spec, weights, biases), chosen(block, x, images))
        found.backward((found.detach() - y[images]) * (2.0 / (found.numel() * unit)))
        over = progress - settings.warm_up
        share = over / (1.0 - settings.warm_up) if over > 0 else 0.0
        beta = BETA[0] + (BETA[1] - BETA[0]) * share * share * (3.0 - 2.0 * share)  # slowly at both ends
        for layer in soft.values():
            layer.learn(round(beta), strength if share else 0.0)


def _batches(count: int, settings: RoundingSettings) -> Iterator[tuple[float, torch.Tensor]]:
    """Yield each step's progress in [0, 1] and its images."""
    generator = torch.Generator().manual_seed(settings.seed)
    for step in range(settings.steps):
        yield step / settings.steps, torch.randperm(count, generator=generator)[: settings.batch]
