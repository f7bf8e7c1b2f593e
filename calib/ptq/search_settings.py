"""Searching settings: levers are tried in order of their cost until one loses no more than is allowed.

Each trial compares the integer program with the float network on held-out labelled images, which calibrate nothing. No
image that a report measures accuracy on is read here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calib.analysis.sensitivity import measure_sensitivity
from calib.analysis.wide_cost import added_shares
from calib.analysis.wide_gain import candidates, measure_wide_gains
from calib.ptq.apply import batches, check_channels, check_float_layers, choose_ranges, correct
from calib.ptq.blocks import Block, find_blocks
from calib.ptq.calibrate import collect_statistics
from calib.ptq.equalize import equalize
from calib.ptq.levers import LEVERS, Lever, in_16_bits, in_float, patterns_of
from calib.settings.config import QuantConfig
from calib.settings.policy import find_policy, float_parts
from calib.settings.quantspec import QuantSpec
from calib.settings.wide import widened
from calib.simulate.exact import ExactNetwork
from calib.simulate.float32 import SimulatedNetwork
from repghost.data.images.preprocess import Preprocess
from repghost.errors import AccuracyGateError, UsageError, option
from repghost.evaluation.accuracy import PairedDifference, paired_difference
from repghost.graph.macs import shares_of_work
from repghost.graph.operators import Graph
from repghost.graph.run import run_float

MOST_FLOAT = 4  # blocks that the last resort leaves in float, one more in each trial
WIDE_COUNTS = (1, 2, 4, 8, 16)  # of layers in 16-bit activations, more in each trial
MOST_ADDED = 0.25  # of the network's instructions, that layers in 16-bit activations may add
SENSITIVITY_IMAGES = 64


@dataclass(frozen=True, eq=False)
class SearchImages:
    """What a search reads; no image is in both sets.

    Attributes:
        calibration: uint8 [N, height, width, channels].
        held_out: uint8 [M, height, width, channels], which evaluate trials and nothing else.
        labels: int64 [M], of the held-out images.
        preprocess: of all of them.
    """

    calibration: NDArray[np.uint8]
    held_out: NDArray[np.uint8]
    labels: NDArray[np.int64]
    preprocess: Preprocess


@dataclass(frozen=True)
class Trial:
    """One lever and what it lost.

    Attributes:
        name: of the lever.
        cost: in words.
        config: the settings that were tried.
        difference: top-1 of int8 minus float32 on the held-out images.
    """

    name: str
    cost: str
    config: QuantConfig
    difference: PairedDifference

    @property
    def drop_points(self) -> float:
        """Percentage points of top-1 that were lost; negative where int8 is better."""
        return -100.0 * self.difference.difference

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        change = self.difference
        return {
            "name": self.name,
            "cost": self.cost,
            "drop_points": round(self.drop_points, 4),
            "interval_points": [round(-100.0 * change.high, 4), round(-100.0 * change.low, 4)],
            "agreement": round(change.agreeing / change.pictures, 6),
        }


@dataclass(frozen=True)
class Search:
    """What a search tried and what it kept; `graph` and `spec` are those of the last trial."""

    trials: tuple[Trial, ...]
    graph: Graph
    spec: QuantSpec
    max_drop: float

    @property
    def chosen(self) -> Trial:
        """The trial that was kept."""
        return self.trials[-1]

    def to_dict(self) -> dict[str, Any]:
        """Return the record that is written into the file and beside it."""
        return {
            "max_drop_points": self.max_drop,
            "held_out_pictures": self.chosen.difference.pictures,
            "trials": [trial.to_dict() for trial in self.trials],
            "chosen": self.chosen.name,
        }


def search_settings(
    graph: Graph,
    images: SearchImages,
    config: QuantConfig,
    max_drop: float,
    on_trial: Callable[[Trial], None] | None = None,
) -> Search:
    """Return the cheapest settings whose loss on the held-out images is within `max_drop` points.

    Args:
        graph: of the fused float network.
        images: which calibrate, and which evaluate.
        config: the settings to start from.
        max_drop: percentage points of top-1.
        on_trial: called with each trial once it is evaluated.

    Raises:
        AccuracyGateError: when no lever is enough; the message names the best.
    """
    runner = _TrialRunner(graph, images)
    trials: list[Trial] = []
    for lever in _levers(runner, config):
        wanted = lever.change(config)
        if any(wanted == trial.config for trial in trials):
            continue
        trial, quantized, spec = runner.evaluate(lever, wanted)
        trials.append(trial)
        if on_trial is not None:
            on_trial(trial)
        if trial.drop_points <= max_drop:
            return Search(tuple(trials), quantized, spec, max_drop)
    best = min(trials, key=lambda trial: trial.drop_points)
    raise AccuracyGateError(
        f"no setting loses at most {max_drop:g} points of top-1 on {len(images.labels)} held-out pictures; the best, "
        f"{best.name!r}, loses {best.drop_points:.2f}. Nothing was written. {_beyond(config)}Allow more with "
        f"{option('max_drop')}, calibrate on more pictures with {option('images')}, or train under quantization with "
        "`repghost qat`."
    )


def _beyond(config: QuantConfig) -> str:
    """Return the sentence that says why no layer was tried in float, or an empty text."""
    if not find_policy(config.policy).integer_only:
        return ""
    way = option("policy", "tensorrt")
    return f"No layer was tried in float: an integer program has none, only files for TensorRT do ({way}). "


def _levers(runner: _TrialRunner, config: QuantConfig) -> Iterator[Lever]:
    """Yield the levers in order of their cost; layers of 16 bits or float blocks come last, where a policy has them."""
    yield from LEVERS
    if find_policy(config.policy).int16_activations:
        yield from runner.wide_levers(replace(config, ranges_by_answers=True))
    if not find_policy(config.policy).integer_only:
        yield from runner.float_levers(replace(config, ranges_by_answers=True))


class _TrialRunner:
    """What all trials share: the float network's predictions, and the statistics of its tensors."""

    def __init__(self, graph: Graph, images: SearchImages) -> None:
        if len(images.labels) == 0:
            raise UsageError(
                "a search needs labelled pictures that calibrate nothing, and the set has none left. Give "
                f"{option('data')} a larger set, or fewer {option('images')}."
            )
        self._graph, self._held_out, self._labels = graph, images.held_out, images.labels
        self._images, self._preprocess = images.calibration, images.preprocess
        check_channels(graph, self._preprocess)
        self._float = self._predictions(lambda x: run_float(graph, x))
        self._statistics = collect_statistics(graph, batches(self._images, self._preprocess))

    def _predictions(self, network: Callable[[torch.Tensor], torch.Tensor]) -> NDArray[np.int64]:
        parts = [
            network(torch.from_numpy(batch)).argmax(1).numpy() for batch in batches(self._held_out, self._preprocess)
        ]
        return np.concatenate(parts)

    def evaluate(self, lever: Lever, config: QuantConfig) -> tuple[Trial, Graph, QuantSpec]:
        """Return a lever's trial, and the network as it quantized it."""
        config.check_patterns(self._graph.names())
        check_float_layers(self._graph, config)
        graph, statistics = self._graph, self._statistics
        if config.equalize:
            graph = equalize(graph, batches(self._images, self._preprocess))
            statistics = collect_statistics(graph, batches(self._images, self._preprocess))
        graph = widened(graph, config)
        spec = choose_ranges(graph, statistics, self._images, self._preprocess, config)
        graph, spec = correct(graph, spec, self._images, self._preprocess, config)
        network = SimulatedNetwork(graph, spec) if float_parts(graph, spec) else ExactNetwork(graph, spec)
        difference = paired_difference(self._float, self._predictions(network), self._labels)
        return Trial(lever.name, lever.cost, config, difference), graph, spec

    def wide_levers(self, config: QuantConfig) -> Iterator[Lever]:
        """Yield levers in which the layers that gain most by it read 16 bits, more in each, within the allowed cost."""
        graph = widened(self._graph, config)
        spec = choose_ranges(graph, self._statistics, self._images, self._preprocess, config)
        few = batches(self._images[:SENSITIVITY_IMAGES], self._preprocess)
        _, gains = measure_wide_gains(graph, spec, few, candidates(graph, spec))
        chosen: list[str] = []
        for name in sorted(gains, key=lambda name: -gains[name]):
            if gains[name] > 0 and added_shares(graph, self._preprocess.size, (*chosen, name)) <= MOST_ADDED:
                chosen.append(name)
        for count in WIDE_COUNTS:
            names = chosen[:count]
            if len(chosen) > count // 2:  # or the lever before has them all
                added = added_shares(graph, self._preprocess.size, names)
                what = ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
                yield Lever(f"{what} in 16 bits", f"seconds; about {added:+.1%} instructions", in_16_bits(names))

    def float_levers(self, config: QuantConfig) -> list[Lever]:
        """Return levers that leave the most sensitive blocks in float, one more in each."""
        spec = choose_ranges(self._graph, self._statistics, self._images, self._preprocess, config)
        few = list(batches(self._images[:SENSITIVITY_IMAGES], self._preprocess))
        harm = block_sensitivity(self._graph, spec, few)
        worst = sorted(harm, key=lambda block: -harm[block])[:MOST_FLOAT]
        shares = shares_of_work(self._graph, self._preprocess.size)
        levers = []
        for count in range(1, len(worst) + 1):
            blocks = worst[:count]
            share = sum(shares[layer.name] for block in blocks for layer in block.layers())
            cost = f"float kernels for {share:.1%} of the multiply-adds"
            patterns = [pattern for block in blocks for pattern in patterns_of(self._graph, block)]
            levers.append(Lever(f"{', '.join(block.name for block in blocks)} in float", cost, in_float(patterns)))
        return levers


def block_sensitivity(graph: Graph, spec: QuantSpec, few: list[NDArray[np.float32]]) -> Mapping[Block, float]:
    """Return the sum of the sensitivities of each block's layers and tensors.

    Only blocks of several layers count, where the network has any: between layers of one, int8 tensors stay.
    """
    blocks = [block for block in find_blocks(graph) if block.layers()]
    blocks = [block for block in blocks if len(block.layers()) > 1] or blocks
    found = {entry.name: entry.total for entry in measure_sensitivity(graph, spec, few)}
    return {block: sum(found.get(op.name, 0.0) for op in block.operators) for block in blocks}
