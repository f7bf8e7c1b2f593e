"""Calibration: images through the float network, then scales for every tensor and every layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from calib.integer.qparams import ADD_SHIFT, INT8_MIN, WIDE_ADD_SHIFT, QParams
from calib.observers import TensorStatistics, make_observer
from calib.ptq.useful_range import useful_range
from calib.settings.config import QuantConfig
from calib.settings.policy import find_policy, qparams_of_range, quantized_tensors, scale_owners, wide_qparams
from calib.settings.quantspec import QuantSpec
from calib.weight_scales import planning as q15
from calib.weight_scales.int16 import plan_int16
from calib.weight_scales.wide import bits_notes, overflowing, plan_reaches
from repghost.errors import UsageError, option
from repghost.graph.operators import Classifier, Convolution, Graph, Narrow
from repghost.graph.run import run_float
from repghost.graph.threads import in_parallel


def calibrate(graph: Graph, batches: Iterable[NDArray[np.float32]], config: QuantConfig) -> QuantSpec:
    """Return the scales of a network from images like those it will see.

    Args:
        graph: the float network.
        batches: float32 [N, C, H, W] each, normalized.
        config: the user's decisions.

    Raises:
        UsageError: when there is no image, a value is not finite, or a config pattern matches no layer.
    """
    config.check_patterns(graph.names())
    return choose_spec(graph, collect_statistics(graph, batches), config)


def collect_statistics(
    graph: Graph, batches: Iterable[NDArray[np.float32]], on_batch: Callable[[int], None] | None = None
) -> dict[str, TensorStatistics]:
    """Return the statistics of every tensor that will be int8, from one pass over the images.

    Args:
        graph: the float network.
        batches: float32 [N, C, H, W] each, normalized.
        on_batch: called with the number of images of each batch once it is done.
    """
    statistics = {name: TensorStatistics(name) for name in quantized_tensors(graph)}
    tensors: dict[str, torch.Tensor] = {}

    def observe(name: str, value: torch.Tensor) -> None:
        if name in statistics:
            tensors[name] = value

    for batch in batches:
        run_float(graph, torch.from_numpy(np.ascontiguousarray(batch, np.float32)), observe)
        in_parallel(partial(_update, tensors), [*statistics.values()])
        if on_batch is not None:
            on_batch(len(batch))
    if not all(entry.count for entry in statistics.values()):
        raise UsageError(
            "the calibration set is empty; at least one picture is needed and a few hundred are usual. "
            f"Give {option('data')} a set with pictures and {option('images')} at least 1."
        )
    return statistics


def _update(tensors: Mapping[str, torch.Tensor], entry: TensorStatistics) -> None:
    entry.update(tensors[entry.name].numpy())


def choose_spec(graph: Graph, statistics: dict[str, TensorStatistics], config: QuantConfig) -> QuantSpec:
    """Return the scales that the config's observers and accumulators ask for.

    Args:
        graph: from `calib.settings.wide.widened`, where layers read int16.
        statistics: of every tensor; a copy of 8 bits has those of the tensor.
        config: the user's decisions.
    """
    clipped: set[str] = set()
    while True:
        spec = _spec(graph, statistics, config, plan_reaches(graph, config, clipped))
        found = overflowing(graph, spec) - clipped
        if not found:
            return spec
        clipped |= found  # weights so large that their scales are finer than they ask for


def _spec(
    graph: Graph, statistics: dict[str, TensorStatistics], config: QuantConfig, reaches: Mapping[str, int]
) -> QuantSpec:
    notes = bits_notes(graph, reaches)
    activations = _activation_qparams(graph, statistics, config, reaches, notes)
    weight_scales: dict[str, NDArray[np.float32]] = {}
    accumulators: dict[str, str] = {}
    for op in graph.operators:
        if config.stays_float(op.name):
            continue
        if isinstance(op, Classifier):
            weight_scales[op.name] = _dense_scales(op, config, activations[op.input], None, None)
        elif isinstance(op, Convolution):
            epilogue = graph.epilogue(op)
            output = activations.get(epilogue.output)  # None where only float layers read it
            residual = None if epilogue.residual is None else activations.get(epilogue.residual)
            scales = None
            wide = any(params is not None and params.is_wide for params in (activations[op.input], output, residual))
            if op.is_depthwise and output is not None and not wide and _wants_int16(config, op.name):
                scales = plan_int16(op, activations[op.input], output, residual, epilogue.clamp)
                if scales is None:
                    notes.append(f"{op.name}: no int16 accumulator fits its weights and bias, so it has int32 ones")
            if op.is_depthwise:
                accumulators[op.name] = "int32" if scales is None else "int16"
            if scales is None:
                scales = _dense_scales(op, config, activations[op.input], output, residual)
            weight_scales[op.name] = scales
    return QuantSpec(activations, weight_scales, accumulators, tuple(notes))


def _dense_scales(
    op: Convolution | Classifier, config: QuantConfig, x: QParams, y: QParams | None, residual: QParams | None
) -> NDArray[np.float32]:
    """Return the weight scales of a layer with int32 accumulators."""
    weight_range, scale_y = config.settings(op.name).weight_range, 1.0 if y is None else y.scale
    adds_wide = residual is not None and (residual.is_wide or (y is not None and y.is_wide))
    shift = WIDE_ADD_SHIFT if adds_wide else ADD_SHIFT
    return q15.plan_dense_scales(
        op.weight, op.bias, x.scale, scale_y, weight_range, residual is not None, x.farthest, shift
    )


def _wants_int16(config: QuantConfig, layer: str) -> bool:
    return find_policy(config.policy).int16_depthwise and config.settings(layer).depthwise_accumulator == "int16"


def _activation_qparams(
    graph: Graph,
    statistics: dict[str, TensorStatistics],
    config: QuantConfig,
    reaches: Mapping[str, int],
    notes: list[str],
) -> dict[str, QParams]:
    """Return each tensor's scale and zero point; a tensor that was always 0, or nearly, gets scale 1 and a note."""
    symmetric = find_policy(config.policy).symmetric
    tensors = quantized_tensors(graph, config.stays_float)
    owners = {name: owner for name, owner in scale_owners(graph).items() if owner in tensors}
    sources = {op.name: op.input for op in graph.operators if isinstance(op, Narrow)}
    result: dict[str, QParams] = {}
    for name in tensors:
        if name in owners:
            continue
        entry = statistics[sources.get(name, name)]
        settings = config.settings(sources.get(name, name))
        if name in reaches:
            qparams = wide_qparams(entry.minimum, entry.maximum, reaches[name])
        else:
            low, high = make_observer(settings.observer, settings.percentile).find_range(entry, symmetric)
            qparams = qparams_of_range(*useful_range(graph, name, low, high), symmetric)
        if qparams is None:
            notes.append(f"{name}: 0, or too small for a scale, on every calibration picture; it gets scale 1")
            zero = 0 if symmetric or entry.minimum < 0 or name in reaches else INT8_MIN
            qparams = QParams(1.0, zero, reaches.get(name))
        result[name] = qparams
    return {name: result[owners.get(name, name)] for name in tensors}
