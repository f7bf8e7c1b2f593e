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
from calib.analysis.sensitivity import Change, FloatTape, tapes
from calib.integer.qparams import QParams
from calib.observers import TensorStatistics, make_observer
from calib.ptq.useful_range import useful_range
from calib.settings.config import LayerSettings, QuantConfig
from calib.settings.policy import find_policy, qparams_of_range
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
CHANGED = 4  # one in so many images comes first for the others


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
    taped = _Tapes(graph, batches)
    taken = suspects(graph, taped[0], present)
    options = {name: _options(graph, statistics[name], config) for name in taken}
    least = least_change(graph, batches, {name: tuple(found.values()) for name, found in options.items()}, taped)
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


def certainly_largest(values: Mapping[str, float], errors: Mapping[str, float], share: float) -> list[str] | None:
    """Return what `largest` does for all values that are at most so far from these, or None where they differ in it."""
    chosen = largest(values, share)
    low, high = _bounds(values, errors)
    others = [name for name in values if name not in chosen]
    if not chosen or _overlapping(low, high, chosen, others):
        return None
    # What the chosen have beyond their share, and what all but the least of them have.
    surplus = (1 - share) * sum(low[name] for name in chosen) - share * sum(high[name] for name in others)
    without = (1 - share) * sum(high[name] for name in chosen) - share * sum(low[name] for name in others)
    return chosen if surplus > 0 > without - min(low[name] for name in chosen) else None


def _bounds(values: Mapping[str, float], errors: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the least and the largest that each value can be."""
    return {name: x - errors[name] for name, x in values.items()}, {
        name: x + errors[name] for name, x in values.items()
    }


def _overlapping(
    low: Mapping[str, float], high: Mapping[str, float], chosen: Sequence[str], others: Sequence[str]
) -> list[str]:
    """Return the names of values that may not be on their side of the cut between the chosen ones and the others."""
    least, most = (
        min((low[name] for name in chosen), default=0.0),
        max((high[name] for name in others), default=-np.inf),
    )
    some = [name for name in chosen if not low[name] > most]
    return [*some, *(name for name in others if not high[name] < least)]


class _Tapes:
    """The tapes of batches; one is alive at a time, the last that was asked for."""

    def __init__(self, graph: Graph, batches: Sequence[NDArray[np.float32]]) -> None:
        self._graph, self._batches = graph, batches
        self._alive: tuple[int, FloatTape] | None = None

    def __getitem__(self, index: int) -> FloatTape:
        """Return the tape of a batch."""
        if self._alive is None or self._alive[0] != index:
            self._alive = None
            self._alive = index, next(tapes(self._graph, self._batches[index : index + 1]))
        return self._alive[1]


def suspects(graph: Graph, tape: FloatTape, present: Mapping[str, QParams]) -> list[str]:
    """Return the tensors that make up most of the change on a tape's images, each alone in int8.

    Quick arithmetic says it of most tensors; those that it cannot are computed exactly, in the end all of them.
    """
    quick, images = QuickTape(graph, tape), len(tape.logits)
    estimates = quick.estimates([_change(quick.tensors, name, q) for name, q in present.items()])
    values, errors = {}, {}
    for name, estimate in zip(present, estimates, strict=True):
        # An exact one below the resolution counts as 0.
        values[name], errors[name] = estimate.value / images, (estimate.error + 2 * tape.resolution) / images
    while (found := certainly_largest(values, errors, MOST)) is None:
        chosen = largest(values, MOST)
        others = [name for name in values if name not in chosen]
        unclear = [name for name in _overlapping(*_bounds(values, errors), chosen, others) if errors[name]]
        unclear = unclear or [name for name in values if errors[name]]
        if not unclear:
            return chosen
        exact = tape.divergences([_change(tape.tensors, name, present[name]) for name in unclear])
        for name, divergence in zip(unclear, exact, strict=True):
            values[name], errors[name] = divergence / images if divergence >= tape.resolution else 0.0, 0.0
    return found


def least_change(
    graph: Graph,
    batches: Sequence[NDArray[np.float32]],
    options: Mapping[str, Sequence[QParams]],
    taped: _Tapes | None = None,
) -> dict[str, int]:
    """Return which option of each tensor has the least sum of divergences over the batches, the first of equals.

    A divergence is never negative. So the option that leads after a few images is computed to the end, and another one
    only until its sum exceeds the leader's: on those images first of which the leaders change most. Options that quick
    arithmetic cannot tell apart are computed exactly.
    """
    taped = taped or _Tapes(graph, batches)
    few = max(1, sum(map(len, batches)) // LEADING)
    values, errors = ({name: np.zeros(len(found)) for name, found in options.items()} for _ in range(2))

    def add(index: int, images: NDArray[np.int64], tried: Mapping[str, Sequence[int]]) -> NDArray[np.float64]:
        """Add the divergences of a batch's images, and return their sum over the options."""
        pairs, total = _pairs(tried), np.zeros(len(images))
        if not pairs or not len(images):
            return total
        quick = QuickTape(graph, taped[index].part(images))
        changes = [_change(quick.tensors, name, options[name][option]) for name, option in pairs]
        for (name, option), estimate in zip(pairs, quick.estimates(changes), strict=True):
            values[name][option] += estimate.value
            errors[name][option] += estimate.error
            total += estimate.by_image
        return total

    places = [np.arange(len(batch)) for batch in batches]
    add(0, places[0][:few], {name: range(len(found)) for name, found in options.items()})
    places[0] = places[0][few:]
    leader = {name: int(np.argmin(found)) for name, found in values.items()}
    changed = [
        add(index, images, {name: [best] for name, best in leader.items()}) for index, images in enumerate(places)
    ]
    limit = {name: values[name][index] + errors[name][index] for name, index in leader.items()}
    left = {name: _not_above(values[name] - errors[name], limit[name]) for name in options}
    # Back and forth, so that each time the first tape is the one at hand.
    for index, images in _by_change(places, changed):
        add(index, images, {name: [option for option in some if option != leader[name]] for name, some in left.items()})
        left = {name: _not_above(values[name] - errors[name], limit[name]) for name in options}
    highest = {name: (values[name] + errors[name])[indices].min() for name, indices in left.items()}
    near = {name: _not_above(values[name] - errors[name], highest[name]) for name in options}
    return _exactly_least(graph, batches, options, near)


def _by_change(
    places: Sequence[NDArray[np.int64]], changed: Sequence[NDArray[np.float64]]
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield some images of each batch, from the last to the first: those that change most; then, back, the others."""
    ordered = [images[np.argsort(-change, kind="stable")] for images, change in zip(places, changed, strict=True)]
    cuts = [len(images) // CHANGED for images in ordered]
    for index in reversed(range(len(ordered))):
        yield index, ordered[index][: cuts[index]]
    for index, images in enumerate(ordered):
        yield index, images[cuts[index] :]


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
