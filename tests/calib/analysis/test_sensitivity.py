"""Sensitivity against running the whole network again, and the choice of observers by it."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from calib.analysis import sensitivity
from calib.analysis.quick_divergence import QuickTape
from calib.analysis.sensitivity import Change, FloatTape, measure_sensitivity
from calib.integer.qparams import QParams
from calib.ptq import choose_observers as choose_observers_module
from calib.ptq.calibrate import choose_spec, collect_statistics
from calib.ptq.choose_observers import MOST, certainly_largest, choose_observers, largest, least_change, suspects
from calib.settings.config import QuantConfig, config_from_dict
from calib.settings.quantspec import QuantSpec
from calib.simulate.float32 import SimulatedNetwork, through_int8
from repghost.graph.operators import INPUT, Graph, Layer
from repghost.graph.run import FLOAT, float_kernels, run_float, run_operator

SOME = ("input", "conv_stem", "blocks.3.0.ghost1.primary", "blocks.3.0.se.gate", "blocks.3.0.add", "classifier")


def divergence(real: torch.Tensor, other: torch.Tensor) -> float:
    p, q = real.double().softmax(1), other.double().softmax(1)
    return float((p * (p / q).log()).sum(1).mean())


def with_one_tensor_quantized(graph: Graph, images: torch.Tensor, name: str, qparams: QParams) -> torch.Tensor:
    """Return the logits where every layer is float and reads one tensor as int8."""
    tensors = {INPUT: through_int8(images, qparams) if name == INPUT else images}
    with torch.no_grad():
        for op in graph.operators:
            value = run_operator(op, FLOAT, tensors)
            tensors[op.name] = through_int8(value, qparams) if op.name == name else value
    return tensors[graph.operators[-1].name]


@pytest.mark.parametrize("name", SOME)
def test_it_is_the_divergence_with_that_one_thing_quantized(
    name: str, graph: Graph, spec: QuantSpec, images: NDArray[np.float32]
) -> None:
    activations = {key: q for key, q in spec.activations.items() if key == name}
    weights = {key: scales for key, scales in spec.weight_scales.items() if key == name}
    batches = [images[:5], images[5:]]  # a batch of another size may round otherwise, and an int8 value jump a step
    (entry,) = measure_sensitivity(graph, QuantSpec(activations, weights), batches)
    parts = [torch.from_numpy(batch) for batch in batches]
    real = torch.cat([run_float(graph, x) for x in parts])
    # Equal logits; log p and log q are of size 1 and rounded to float64, so the divergence is to a few of its epsilons.
    close = partial(pytest.approx, rel=1e-9, abs=1e-13)
    if entry.activation is not None:
        changed = torch.cat([with_one_tensor_quantized(graph, x, name, spec.activations[name]) for x in parts])
        assert entry.activation == close(divergence(real, changed))
    if entry.weight is not None:
        changed = torch.cat([SimulatedNetwork(graph, QuantSpec({}, weights))(x) for x in parts])
        assert entry.weight == close(divergence(real, changed))
    assert entry.total == (entry.activation or 0.0) + (entry.weight or 0.0) > 0


@pytest.mark.slow
def test_what_the_last_bit_of_the_weights_changes_is_no_sensitivity(
    graph: Graph, spec: QuantSpec, images: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    def next_float(op: Layer, scales: NDArray[np.float32]) -> torch.Tensor:
        return torch.from_numpy(np.nextafter(op.weight, np.float32(np.inf)))

    monkeypatch.setattr(sensitivity, "dequantized_weight", next_float)
    tape = FloatTape(graph, torch.from_numpy(images[:4]))
    op = next(op for op in graph.layers() if op.name == "classifier")
    kernels = float_kernels({op.name: next_float(op, np.ones(1, np.float32))})
    (raw,) = tape.divergences([Change(op.name, partial(run_operator, op, kernels, tape.tensors))])
    assert raw != 0 and abs(raw) < tape.resolution < 1e-9
    only = QuantSpec({}, {op.name: spec.weight_scales[op.name]})
    (entry,) = measure_sensitivity(graph, only, [images[:4]])
    assert entry.weight == 0


@pytest.mark.slow
def test_changes_measured_together_are_those_measured_alone(
    graph: Graph, spec: QuantSpec, images: NDArray[np.float32]
) -> None:
    tape = FloatTape(graph, torch.from_numpy(images[:2]))
    names = [*spec.activations][::3] * 2  # twice the same tensor in one run, and not in execution order
    changes = [Change(name, partial(through_int8, tape.tensors[name], spec.activations[name])) for name in names]
    assert tape.divergences(changes) == [tape.divergences([change])[0] for change in changes]
    assert tape.divergences([]) == []


def test_the_tape_of_some_images_has_their_bits(graph: Graph, spec: QuantSpec, images: NDArray[np.float32]) -> None:
    tape = FloatTape(graph, torch.from_numpy(images[:4]))
    part = tape.part(slice(1, 3))
    assert torch.equal(part.logits, tape.logits[1:3])
    assert all(torch.equal(x, tape.tensors[name][1:3]) for name, x in part.tensors.items())
    assert np.array_equal(part.probability, tape.probability[1:3])


def test_a_quick_divergence_is_as_near_the_exact_one_as_it_says(
    graph: Graph, spec: QuantSpec, images: NDArray[np.float32]
) -> None:
    tape = FloatTape(graph, torch.from_numpy(images[:6]))
    changes = [Change(name, partial(through_int8, tape.tensors[name], q)) for name, q in spec.activations.items()]
    estimates = QuickTape(graph, tape).estimates(changes)
    for estimate, exact in zip(estimates, tape.divergences(changes), strict=True):
        assert abs(estimate.value - exact) <= estimate.error + tape.resolution
        assert estimate.value == estimate.by_image.sum() and len(estimate.by_image) == 6
    largest_sum = max(estimates, key=lambda estimate: estimate.value)
    assert 0 < largest_sum.error < 0.02 * largest_sum.value  # so that it tells options apart


@pytest.mark.parametrize("together", [1, 3, 1000])
def test_however_many_changes_run_together_each_has_its_own_result(
    graph: Graph, spec: QuantSpec, images: NDArray[np.float32], together: int
) -> None:
    tape = FloatTape(graph, torch.from_numpy(images[:2]))
    changes = [Change(name, partial(through_int8, tape.tensors[name], q)) for name, q in spec.activations.items()][::-9]
    tape.together = together
    exact = tape.divergences(changes)
    assert exact == [tape.divergences([change])[0] for change in changes]
    for estimate, divergence in zip(QuickTape(graph, tape).estimates(changes), exact, strict=True):
        assert abs(estimate.value - divergence) <= estimate.error + tape.resolution


def test_every_layer_and_tensor_is_in_the_table(graph: Graph, spec: QuantSpec, images: NDArray[np.float32]) -> None:
    counts: list[int] = []
    entries = measure_sensitivity(graph, spec, [images[:4]], counts.append)
    assert counts == [4]
    assert {entry.name for entry in entries} == {*spec.activations, *spec.weight_scales}
    assert all(entry.total >= -1e-9 for entry in entries)


def test_the_fewest_that_make_up_a_share() -> None:
    values = {"a": 1.0, "b": 6.0, "c": 0.5, "d": 2.5}
    assert largest(values, 0.6) == ["b"]
    assert largest(values, 0.85) == ["b", "d"]
    assert largest(values, 1.0) == ["a", "b", "c", "d"]
    assert largest({"a": 0.0}, 0.9) == [] and largest({}, 0.9) == []


def test_the_fewest_are_certain_only_where_no_error_changes_them() -> None:
    random = np.random.default_rng(0)
    certain = 0
    for size in np.repeat([0.0, 1e-3, 0.02, 0.1], 50):
        values = {str(index): float(value) for index, value in enumerate(random.exponential(size=8))}
        errors = {name: float(size * random.random()) for name in values}
        found = certainly_largest(values, errors, 0.8)
        certain += found is not None
        for _ in range(20):
            exact = {name: value + errors[name] * random.uniform(-1, 1) for name, value in values.items()}
            assert found in (None, largest({name: max(value, 0.0) for name, value in exact.items()}, 0.8))
    assert 100 < certain < 200
    assert certainly_largest({"a": 0.0}, {"a": 0.0}, 0.9) is None
    assert certainly_largest({"a": 2.0, "b": float("nan")}, {"a": 0.0, "b": 0.0}, 0.9) is None


def test_the_tensors_that_change_most_are_those_by_exact_divergences(
    graph: Graph, spec: QuantSpec, images: NDArray[np.float32]
) -> None:
    exact = measure_sensitivity(graph, QuantSpec(spec.activations, {}), [images[:6]])
    expected = largest({entry.name: entry.activation or 0.0 for entry in exact}, MOST)
    assert suspects(graph, FloatTape(graph, torch.from_numpy(images[:6])), spec.activations) == expected


@pytest.mark.slow
def test_a_tensor_whose_range_is_far_too_wide_gets_another_observer(graph: Graph, images: NDArray[np.float32]) -> None:
    statistics = collect_statistics(graph, [images])
    wide = {"blocks.2.0.add", "blocks.5.0.ghost1.primary"}
    for name in wide:  # one value of thousands is 50 times as large as any other
        statistics[name].update(np.asarray([[50.0 * statistics[name].maximum]], np.float32))
    config = config_from_dict({"observer": "min_max", "layers": {"classifier": {"percentile": 98.0}}})
    chosen = choose_observers(graph, statistics, [images], config)
    assert chosen.layers[0] == config.layers[0] and chosen.defaults == config.defaults
    assert {name for name, _ in chosen.layers[1:]} >= wide
    x = torch.from_numpy(images)
    real = run_float(graph, x)
    before, after = (
        divergence(real, SimulatedNetwork(graph, choose_spec(graph, statistics, c))(x)) for c in (config, chosen)
    )
    assert after < 0.5 * before


@pytest.mark.slow
def test_the_least_change_is_that_of_the_sums_over_all_batches(
    graph: Graph, spec: QuantSpec, images: NDArray[np.float32]
) -> None:
    batches = [images[start : start + 2] for start in (0, 2, 4)]
    factors = {"blocks.2.0.add": (64.0, 1.0, 1.1, 1.0), "blocks.5.0.ghost1.primary": (1.0, 0.9), "input": (2.0,)}
    options = {
        name: [QParams(factor * spec.activations[name].scale, spec.activations[name].zero_point) for factor in some]
        for name, some in factors.items()
    }
    sums = {name: np.zeros(len(found)) for name, found in options.items()}
    for batch in batches:
        tape = FloatTape(graph, torch.from_numpy(batch))
        for name, found in options.items():
            sums[name] += tape.divergences(Change(name, partial(through_int8, tape.tensors[name], q)) for q in found)
    assert least_change(graph, batches, options) == {name: int(np.argmin(found)) for name, found in sums.items()}


@pytest.mark.slow
def test_options_that_quick_arithmetic_cannot_tell_apart_are_computed_exactly(
    graph: Graph, spec: QuantSpec, images: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose_observers_module, "LEADING", 2)
    name = "blocks.2.0.add"
    q = spec.activations[name]
    scales = [q.scale, q.scale, float(np.nextafter(np.float32(q.scale), np.float32(0))), 64 * q.scale]
    options = [QParams(scale, q.zero_point) for scale in scales]
    batches, sums = [images[:4], images[4:6]], np.zeros(len(options))
    for batch in batches:
        tape = FloatTape(graph, torch.from_numpy(batch))
        sums += tape.divergences(Change(name, partial(through_int8, tape.tensors[name], q)) for q in options)
    assert least_change(graph, batches, {name: options}) == {name: int(np.argmin(sums))}
    assert least_change(graph, batches, {name: options[:2]}) == {name: 0}  # the first of equals


@pytest.mark.slow
def test_a_choice_repeats_itself_from_its_json(graph: Graph, images: NDArray[np.float32]) -> None:
    statistics = collect_statistics(graph, [images[:4]])
    chosen = choose_observers(graph, statistics, [images[:4]], QuantConfig())
    again = config_from_dict(chosen.to_dict())
    assert choose_spec(graph, statistics, again).to_dict() == choose_spec(graph, statistics, chosen).to_dict()
