"""Learned rounding, the simulated network it learns in, and its bounds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from calib.integer.qparams import quantize_weights
from calib.ptq.adaround import HELD_OUT, RoundingSettings, learn_rounding, run_block, simulate_block, weights_of
from calib.ptq.blocks import MOST_LAYERS, Block, find_blocks
from calib.ptq.calibrate import calibrate
from calib.ptq.soft_layer import SoftLayer
from calib.settings.config import QuantConfig
from calib.settings.quantspec import QuantSpec
from calib.simulate.exact import ExactNetwork
from calib.simulate.float32 import SimulatedNetwork, dequantized_weight, simulation_kernels, through_int8
from calib.weight_scales.int16 import fits_int16, magnitude_limits
from repghost.graph.operators import INPUT, RELU, Classifier, Concat, Convolution, Graph
from repghost.graph.run import run_float, run_operator
from tests.support.quantized_graphs import IMAGES, PREPROCESS, quantize
from tests.support.random_graphs import Builder

QUICK = RoundingSettings(steps=40, batch=8)


@pytest.fixture(scope="module")
def learned(graph: Graph, spec: QuantSpec, images: NDArray[np.float32]) -> Graph:
    return learn_rounding(graph, spec, images, QUICK)


def test_blocks_are_a_chain_with_one_tensor_between_each_two(graph: Graph) -> None:
    blocks = find_blocks(graph)
    assert [op for block in blocks for op in block.operators] == list(graph.operators)
    assert [block.input for block in blocks] == [INPUT, *(block.output for block in blocks[:-1])]
    for block in blocks:
        outside = {name for op in block.operators for name in op.inputs} - {op.name for op in block.operators}
        assert outside == {block.input} == {*block.inputs}


def dense_block(layers: int) -> Graph:
    """Return a network whose every layer reads the results of all layers before it."""
    builder = Builder(0)
    builder.dense()
    made = [builder.x]
    for _ in range(layers):
        joined = builder.append(Concat(builder.name("concat"), tuple(made)))
        made.append(builder.convolution(joined, 2, (3, 3), clamp=RELU))
    builder.x = builder.append(Concat(builder.name("concat"), tuple(made)))
    builder.end_with_classifier()
    return builder.graph()


def test_a_long_block_is_divided_where_one_new_tensor_is_read_behind() -> None:
    short, long = find_blocks(dense_block(MOST_LAYERS)), find_blocks(dense_block(MOST_LAYERS + 1))
    assert [len(block.layers()) for block in short] == [1, MOST_LAYERS, 0, 1]
    assert max(len(block.layers()) for block in long) == 1
    for block in long:
        inside = {op.name for op in block.operators}
        read = {name for other in long if other is not block for name in (*other.inputs, "classifier")}
        assert inside & read <= {block.output}
    assert max(len(block.inputs) for block in long) == MOST_LAYERS + 2


@pytest.mark.slow
def test_divided_blocks_learn() -> None:
    graph, spec = quantize(dense_block(MOST_LAYERS + 1))
    learned = learn_rounding(graph, spec, PREPROCESS.normalize(IMAGES), replace(QUICK, steps=20))
    x = torch.from_numpy(PREPROCESS.normalize(IMAGES))
    real = run_float(graph, x)
    errors = [(SimulatedNetwork(one, spec)(x) - real).square().mean() for one in (graph, learned)]
    assert errors[1] < errors[0]


@pytest.mark.slow
def test_every_weight_stays_beside_where_it_was(graph: Graph, spec: QuantSpec, learned: Graph) -> None:
    moved = 0
    for before, after in zip(graph.operators, learned.operators, strict=True):
        if not hasattr(before, "weight"):
            continue
        scales = spec.weight_scales[before.name]
        column = scales.reshape((-1,) + (1,) * (before.weight.ndim - 1))
        chosen = quantize_weights(after.weight, scales).astype(np.float64)
        exact = np.clip(before.weight / column, -127, 127)
        assert np.abs(chosen - exact).max() < 2.0  # 1 by choice, another where int16 has no room
        assert np.mean(np.abs(chosen - exact) > 1.0) < 0.01
        moved += int(np.sum(chosen != quantize_weights(before.weight, scales)))
    assert moved > 100


@pytest.mark.slow
def test_int16_layers_keep_their_bound(graph: Graph, spec: QuantSpec, learned: Graph) -> None:
    checked = 0
    for op in learned.operators:
        if isinstance(op, Convolution) and spec.accumulators.get(op.name) == "int16":
            sums = np.abs(quantize_weights(op.weight, spec.weight_scales[op.name]).astype(int)).sum(axis=(1, 2, 3))
            assert np.all(sums <= magnitude_limits(op, graph, spec)) and fits_int16(op, graph, spec)
            checked += 1
    assert checked > 20
    ExactNetwork(learned, spec)  # proves every accumulator again


def test_weights_that_all_want_up_are_held_by_the_bound(graph: Graph, spec: QuantSpec) -> None:
    layer = next(op for op in graph.operators if spec.accumulators.get(op.name) == "int16")
    assert isinstance(layer, Convolution)
    soft = SoftLayer(layer, spec)
    with torch.no_grad():  # outwards, wherever that is
        soft.v.copy_(torch.from_numpy(np.where(layer.weight > 0, 20.0, -20.0)))
    rounded = soft.rounded(graph, spec)
    sums = np.abs(quantize_weights(rounded.weight, spec.weight_scales[layer.name]).astype(int)).sum(axis=(1, 2, 3))
    assert np.all(sums <= magnitude_limits(layer, graph, spec))


@pytest.mark.slow
def test_no_block_becomes_worse_on_images_that_it_did_not_learn_from(
    graph: Graph, spec: QuantSpec, learned: Graph, images: NDArray[np.float32]
) -> None:
    operators = {op.name: op for op in learned.operators}
    held_out = max(1, int(HELD_OUT * len(images)))
    real = torch.from_numpy(images)
    seen = through_int8(real, spec.activations[INPUT])
    better = 0
    for block in find_blocks(graph):
        after = replace(block, operators=tuple(operators[op.name] for op in block.operators))
        target = run_block(block, {block.input: real})
        outputs = [
            simulate_block(one, spec, {one.input: seen[-held_out:]}, weights_of(one, spec)) for one in (block, after)
        ]
        errors = [float((output - target[-held_out:]).double().square().mean()) for output in outputs]
        assert errors[1] < errors[0] or after.operators == block.operators, block.name
        better += errors[1] < errors[0]
        real, seen = target, simulate_block(after, spec, {after.input: seen}, weights_of(after, spec))
    assert better > 0  # 11 of 21 where this was written


@pytest.mark.slow
def test_equal_seeds_learn_equal_weights(graph: Graph, spec: QuantSpec, images: NDArray[np.float32]) -> None:
    quick = replace(QUICK, steps=3)
    once, again = (learn_rounding(graph, spec, images[:4], quick) for _ in range(2))
    for a, b in zip(once.operators, again.operators, strict=True):
        np.testing.assert_array_equal(getattr(a, "weight", 0), getattr(b, "weight", 0))


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_too_few_images_to_evaluate_leave_or_learn_but_never_fail(
    count: int, graph: Graph, spec: QuantSpec, images: NDArray[np.float32]
) -> None:
    result = learn_rounding(graph, spec, images[:count], replace(QUICK, steps=1))
    assert (result == graph) if count == 1 else len(result.operators) == len(graph.operators)


@pytest.mark.slow
def test_a_block_that_learning_does_not_help_stays(graph: Graph, spec: QuantSpec, images: NDArray[np.float32]) -> None:
    wild = RoundingSettings(steps=2, batch=4, rate=1e3, bias_rate=1e3)
    result = learn_rounding(graph, spec, images, wild)
    assert all(a is b for a, b in zip(result.operators, graph.operators, strict=True))


@pytest.mark.slow
def test_each_block_is_told(graph: Graph, spec: QuantSpec, images: NDArray[np.float32]) -> None:
    told: list[str] = []
    learn_rounding(graph, spec, images[:2], replace(QUICK, steps=1), told.append)
    assert told == [block.name for block in find_blocks(graph)]
    assert isinstance(find_blocks(graph)[0], Block)


@pytest.mark.parametrize("policy", ["cpu", "tensorrt"])
def test_equal_inputs_give_the_integers_within_a_step(policy: str, graph: Graph, images: NDArray[np.float32]) -> None:
    """Both round one real value, the integers with less than half a step of their own (see `layerwise`)."""
    spec = calibrate(graph, [images], QuantConfig(policy))
    integers: dict[str, torch.Tensor] = {}
    ExactNetwork(graph, spec)(torch.from_numpy(images[:4]), integers.__setitem__)
    layers = [op for op in graph.operators if isinstance(op, Convolution | Classifier)]
    weights = {op.name: dequantized_weight(op, spec.weight_scales[op.name]) for op in layers}
    kernels = simulation_kernels(spec, weights)
    real = {
        name: (q - spec.activations[name].zero_point) * spec.activations[name].scale for name, q in integers.items()
    }
    for op in graph.operators:
        value = run_operator(op, kernels, real)
        if op.name not in integers:
            real[op.name] = value  # what the add behind takes
            continue
        steps = torch.round(value.double() / spec.activations[op.name].scale) + spec.activations[op.name].zero_point
        assert (steps - integers[op.name]).abs().max() <= 1, op.name


def test_without_scales_the_simulated_network_is_the_float_one(graph: Graph, images: NDArray[np.float32]) -> None:
    x = torch.from_numpy(images)
    torch.testing.assert_close(SimulatedNetwork(graph, QuantSpec({}, {}))(x), run_float(graph, x))
