"""Choosing an observer for each tensor: the one with which int8 for that tensor alone changes predictions least.

No observer is best everywhere: rare large values may be noise in one tensor and decide the class in another. The result
is a configuration with an entry for each tensor that gets another observer, so it can be read, edited and repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
import torch
from numpy.typing import NDArray

from calib.analysis.quick_divergence import QuickTape
from calib.analysis.sensitivity import Change, FloatTape, measure_sensitivity, tapes
from calib.integer.qparams import QParams
from calib.observers import TensorStatistics, make_observer
from calib.ptq.useful_range import useful_range
from calib.settings.config import LayerSettings, QuantConfig
from calib.settings.policy import find_policy, qparams_of_range
from calib.settings.quantspec import QuantSpec
from calib.simulate.float32 import through_int8
from repghost.graph.operators import Graph

# Tried beside the present one, from the widest to the narrowest; of equals the first is taken.
CANDIDATES: tuple[tuple[str, float], ...] = (
    ("min_max", 100.0),
    ("percentile", 99.999),
    ("percentile", 99.99),
    ("percentile", 99.97),
    ("percentile", 99.9),
    ("percentile", 99.5),
)
MOST = 0.95  # of the change of all tensors
LEADING = 16  # one in so many images tells which option of a tensor is computed to the end


def choose_observers(
    graph: Graph,
    statistics: Mapping[str, TensorStatistics],
    batches: Sequence[NDArray[np.float32]],
    config: QuantConfig,
) -> QuantConfig:
    """Return the configuration with an entry for each tensor for which another observer is better than its present one.

    Candidates are tried only for the tensors that make up most of the change on the first batch.

    Args:
        graph: the float network.
        statistics: from `calib.ptq.calibrate.collect_statistics`.
        batches: float32 [N, C, H, W] each, normalized; those of the statistics or a part of them.
        config: its policy counts; its entries by layer stay and come first.
    """
    present = {
        name: qparams
        for name, entry in statistics.items()
        if (qparams := _scale(graph, entry, config, config.settings(name))) is not None
    }
    screened = measure_sensitivity(graph, QuantSpec(present, {}), batches[:1])
    suspects = largest({entry.name: entry.activation or 0.0 for entry in screened}, MOST)
    options = {name: _options(graph, statistics[name], config) for name in suspects}
    least = least_change(graph, batches, {name: tuple(found.values()) for name, found in options.items()})
    entries = list(config.layers)
    for name, found in options.items():
        settings = config.settings(name)
        observer, percentile = list(found)[least[name]]
        if (observer, percentile) != (settings.observer, settings.percentile):
            wanted = replace(settings, observer=observer, percentile=percentile)
            entries.append((name, _differences(settings, wanted)))
    return replace(config, layers=tuple(entries))


def largest(values: Mapping[str, float], share: float) -> list[str]:
    """Return the names of the fewest values that make up a share of the sum, in the order of the mapping."""
    ordered = sorted(values, key=lambda name: -values[name])
    total = np.cumsum([values[name] for name in ordered])
    count = int(np.searchsorted(total, share * total[-1])) + 1 if len(total) and total[-1] > 0 else 0
    chosen = set(ordered[:count])
    return [name for name in values if name in chosen]


def least_change(
    graph: Graph, batches: Sequence[NDArray[np.float32]], options: Mapping[str, Sequence[QParams]]
) -> dict[str, int]:
    """Return which option of each tensor has the least sum of divergences over the batches, the first of equals.

    A divergence is never negative. So the option that leads after a few images is computed to the end, and another one
    only until its sum exceeds the leader's. Options that quick arithmetic cannot tell apart are computed exactly.
    """
    few = max(1, sum(map(len, batches)) // LEADING)
    values, errors = ({name: np.zeros(len(found)) for name, found in options.items()} for _ in range(2))

    def add(tape: FloatTape, tried: Mapping[str, Sequence[int]]) -> None:
        pairs, quick = _pairs(tried), QuickTape(graph, tape)
        changes = [_change(quick.tensors, name, options[name][index]) for name, index in pairs]
        for (name, index), estimate in zip(pairs, quick.estimates(changes), strict=True):
            values[name][index] += estimate.value
            errors[name][index] += estimate.error

    def rest() -> Iterator[FloatTape]:
        """Yield the tapes of all images but the first few."""
        for index, tape in enumerate(tapes(graph, batches)):
            if index or len(tape.logits) > few:
                yield tape if index else tape.part(slice(few, None))

    add(next(tapes(graph, batches)).part(slice(few)), {name: range(len(found)) for name, found in options.items()})
    leader = {name: int(np.argmin(found)) for name, found in values.items()}
    for tape in rest():
        add(tape, {name: [index] for name, index in leader.items()})
    limit = {name: values[name][index] + errors[name][index] for name, index in leader.items()}
    left = {name: _not_above(values[name] - errors[name], limit[name]) for name in options}
    for tape in rest():
        add(tape, {name: [index for index in indices if index != leader[name]] for name, indices in left.items()})
        left = {name: _not_above(values[name] - errors[name], limit[name]) for name in options}
    highest = {name: (values[name] + errors[name])[indices].min() for name, indices in left.items()}
    near = {name: _not_above(values[name] - errors[name], highest[name]) for name in options}
    return _exactly_least(graph, batches, options, near)


def _exactly_least(
    graph: Graph,
    batches: Sequence[NDArray[np.float32]],
    options: Mapping[str, Sequence[QParams]],
    near: Mapping[str, Sequence[int]],
) -> dict[str, int]:
    """Return the least of some options of each tensor; where there is one only, that one."""
    pairs = _pairs({name: indices for name, indices in near.items() if len(indices) > 1})
    sums = {name: dict.fromkeys(indices, 0.0) for name, indices in near.items()}
    for tape in tapes(graph, batches if pairs else []):
        found = tape.divergences(_change(tape.tensors, name, options[name][index]) for name, index in pairs)
        for (name, index), divergence in zip(pairs, found, strict=True):
            sums[name][index] += divergence
    return {name: min(found, key=lambda index: found[index]) for name, found in sums.items()}


def _pairs(indices: Mapping[str, Sequence[int]]) -> list[tuple[str, int]]:
    return [(name, index) for name, some in indices.items() for index in some]


def _not_above(values: NDArray[np.float64], limit: float) -> list[int]:
    """Return the places of the values that are at most a limit, or no number."""
    return [index for index, value in enumerate(values) if not value > limit]


def _change(tensors: Mapping[str, torch.Tensor], name: str, qparams: QParams) -> Change:
    """Return the change that one tensor in int8 is."""
    return Change(name, lambda: through_int8(tensors[name], qparams))


def _scale(graph: Graph, entry: TensorStatistics, config: QuantConfig, settings: LayerSettings) -> QParams | None:
    symmetric = find_policy(config.policy).symmetric
    low, high = make_observer(settings.observer, settings.percentile).find_range(entry, symmetric)
    return qparams_of_range(*useful_range(graph, entry.name, low, high), symmetric)


def _options(graph: Graph, entry: TensorStatistics, config: QuantConfig) -> dict[tuple[str, float], QParams]:
    """Return the scale of the present observer, then of each candidate that gives another one than those before it."""
    present = config.settings(entry.name)
    result: dict[tuple[str, float], QParams] = {}
    for observer, percentile in ((present.observer, present.percentile), *CANDIDATES):
        qparams = _scale(graph, entry, config, LayerSettings(observer, percentile))
        if qparams is not None and qparams not in result.values():
            result[observer, percentile] = qparams
    return result


def _differences(before: LayerSettings, after: LayerSettings) -> tuple[tuple[str, object], ...]:
    old = asdict(before)
    return tuple((key, value) for key, value in asdict(after).items() if value != old[key])
