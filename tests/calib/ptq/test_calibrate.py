from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from calib.integer.qparams import QParams
from calib.ptq.apply import FEWEST_PREDICTIONS, PREDICTION_PIXELS, _predicted
from calib.ptq.calibrate import calibrate, choose_spec, collect_statistics
from calib.settings.config import QuantConfig, config_from_dict
from calib.settings.policy import quantized_tensors
from calib.settings.quantspec import QuantSpec
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError
from repghost.graph.operators import RELU, Convolution, Function, Graph
from repghost.graph.trace import graph_of
from repghost.network.fuse import fuse
from tests.support.layerwise import assert_within_a_step
from tests.support.lively_network import SIZE, lively_model


def assert_equal(a: QuantSpec, b: QuantSpec) -> None:
    assert a.to_dict() == b.to_dict()


def test_every_tensor_and_layer_gets_its_numbers(graph: Graph, spec: QuantSpec) -> None:
    assert tuple(spec.activations) == quantized_tensors(graph)
    layers = {op.name: op for op in graph.operators if hasattr(op, "weight")}
    assert spec.weight_scales.keys() == layers.keys()
    for name, scales in spec.weight_scales.items():
        assert scales.dtype == np.float32 and scales.shape == (len(layers[name].bias),)
    depthwise = {op.name for op in graph.operators if isinstance(op, Convolution) and op.is_depthwise}
    assert set(spec.accumulators) == depthwise
    # On maps of one pixel a 3x3 kernel reaches far less than its weights could, too far for int16.
    wide = {name for name, kind in spec.accumulators.items() if kind == "int32"}
    assert wide == {note.partition(":")[0] for note in spec.notes}
    assert all(name.startswith(("blocks.7.", "blocks.8.")) for name in wide)
    for op in graph.operators:
        if isinstance(op, Convolution) and op.clamp == RELU:
            assert spec.activations[op.name].zero_point == -128


@pytest.mark.slow
def test_neither_order_nor_batching_changes_the_spec(graph: Graph, images: NDArray[np.float32]) -> None:
    config = QuantConfig()
    single = [images[i : i + 1] for i in range(8)]
    shuffled = [single[i] for i in (5, 2, 7, 0, 1, 6, 4, 3)]
    assert_equal(calibrate(graph, single, config), calibrate(graph, shuffled, config))


def test_the_spec_survives_json(spec: QuantSpec) -> None:
    assert_equal(QuantSpec.from_dict(json.loads(json.dumps(spec.to_dict()))), spec)


def test_the_table_names_everything(spec: QuantSpec) -> None:
    table = spec.table()
    for name in (*spec.activations, *spec.weight_scales):
        assert name in table
    assert "int16" in table


def test_progress_counts_images(graph: Graph, images: NDArray[np.float32]) -> None:
    counts: list[int] = []
    collect_statistics(graph, [images[:3], images[3:5]], counts.append)
    assert counts == [3, 2]


def test_percentile_is_never_wider_than_min_max(graph: Graph, images: NDArray[np.float32]) -> None:
    statistics = collect_statistics(graph, [images])
    wide = choose_spec(graph, statistics, config_from_dict({"observer": "min_max"}))
    tight = choose_spec(graph, statistics, config_from_dict({"observer": "percentile", "percentile": 99.0}))
    scales = [(tight.activations[name].scale, wide.activations[name].scale) for name in wide.activations]
    assert all(a <= b * (1 + 1e-6) for a, b in scales)
    assert sum(a < 0.99 * b for a, b in scales) > len(scales) / 2


def test_settings_by_layer_reach_only_their_layers(graph: Graph, images: NDArray[np.float32]) -> None:
    statistics = collect_statistics(graph, [images])
    plain = choose_spec(graph, statistics, QuantConfig())
    config = config_from_dict(
        {"layers": {"blocks.5.*": {"percentile": 95.0}, "*.conv_dw": {"depthwise_accumulator": "int32"}}}
    )
    changed = choose_spec(graph, statistics, config)
    different = {name for name in plain.activations if plain.activations[name] != changed.activations[name]}
    assert different and all(name.startswith("blocks.5.") for name in different)
    assert {name for name in plain.accumulators if plain.accumulators[name] != changed.accumulators[name]} == {
        f"blocks.{stage}.0.conv_dw" for stage in (1, 3, 5, 7)
    }


def test_tensorrt_is_symmetric_and_plans_no_int16(graph: Graph, images: NDArray[np.float32]) -> None:
    spec = calibrate(graph, [images], config_from_dict({"policy": "tensorrt"}))
    assert {qparams.zero_point for qparams in spec.activations.values()} == {0}
    assert set(spec.accumulators.values()) == {"int32"}


def test_a_gate_spends_its_steps_between_minus_three_and_three(graph: Graph, images: NDArray[np.float32]) -> None:
    spec = calibrate(graph, [images * 100], QuantConfig())
    for op in graph.operators:
        if isinstance(op, Function):
            assert spec.activations[op.input].scale <= 6.0 / 255 * (1 + 1e-6)


def test_an_empty_set_is_refused(graph: Graph) -> None:
    with pytest.raises(UsageError, match=r"calibration set is empty.*images= at least 1"):
        calibrate(graph, [], QuantConfig())
    with pytest.raises(UsageError, match="calibration set is empty"):
        calibrate(graph, [np.zeros((0, 3, SIZE, SIZE), np.float32)], QuantConfig())


def test_a_misspelt_pattern_is_refused_before_any_work(graph: Graph) -> None:
    def never() -> Any:
        raise AssertionError("the pictures were read")
        yield

    with pytest.raises(UsageError, match="Did you mean 'classifier'"):
        calibrate(graph, never(), config_from_dict({"layers": {"clasifier": {"observer": "min_max"}}}))


@pytest.mark.parametrize("value", [0.0, -2.1])
def test_images_of_one_colour_give_usable_numbers(graph: Graph, value: float) -> None:
    spec = calibrate(graph, [np.full((2, 3, SIZE, SIZE), value, np.float32)], QuantConfig())
    assert all(np.isfinite(qparams.scale) and qparams.scale > 0 for qparams in spec.activations.values())
    if value == 0.0:
        assert spec.activations["input"] == QParams(1.0, -128)
        assert any(note.startswith("input: 0, or too small") for note in spec.notes)


def test_values_too_small_for_a_scale_count_as_zero(graph: Graph) -> None:
    spec = calibrate(graph, [np.full((1, 3, SIZE, SIZE), 1e-39, np.float32)], QuantConfig())
    assert spec.activations["input"] == QParams(1.0, -128)


def test_one_image_is_enough(graph: Graph, images: NDArray[np.float32]) -> None:
    assert calibrate(graph, [images[:1]], QuantConfig()).activations


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_images_that_are_not_finite_are_refused(graph: Graph, value: float) -> None:
    wrong = np.zeros((1, 3, SIZE, SIZE), np.float32)
    wrong[0, 1, 2, 3] = value
    with pytest.raises(UsageError, match="'input' holds NaN or infinite"):
        calibrate(graph, [wrong], QuantConfig())


def test_activations_that_overflow_are_refused_by_name(images: NDArray[np.float32]) -> None:
    model = fuse(lively_model())
    with torch.no_grad():
        model.conv_stem.weight.fill_(3e38)
    with pytest.raises(UsageError, match="'conv_stem' holds NaN or infinite"):
        calibrate(graph_of(model), [images], QuantConfig())


DAMAGE: dict[str, tuple[str, float, float]] = {  # layer, factor of one channel's weights, its bias
    "dead channel": ("conv_stem", 0.0, 0.0),
    "dead channel with a bias": ("conv_stem", 0.0, 0.5),
    "nearly dead channel with a bias": ("conv_stem", 1e-30, 0.5),
    "subnormal weights": ("conv_stem", 1e-40, 1e-40),
    "bias that needs a coarser scale": ("blocks.9.0.conv", 1e-9, 1e3),
    "dead classifier row": ("classifier", 0.0, 1.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_channels_still_give_an_exact_network(case: str, images: NDArray[np.float32]) -> None:
    from calib.simulate.exact import ExactNetwork

    layer, factor, bias = DAMAGE[case]
    model = fuse(lively_model())
    with torch.no_grad():
        module = model.get_submodule(layer)
        module.weight[0] *= factor  # type: ignore[operator]
        module.bias[0] = bias  # type: ignore[operator]
    graph = graph_of(model)
    spec = calibrate(graph, [images], QuantConfig())
    assert all(np.all(scales >= np.finfo(np.float32).tiny) for scales in spec.weight_scales.values())
    exact: dict[str, NDArray[np.int32]] = {}
    logits = ExactNetwork(graph, spec)(
        torch.from_numpy(images), lambda name, value: exact.update({name: value.numpy()})
    )
    assert_within_a_step(graph, spec, exact, logits.numpy())


def test_a_dead_depthwise_channel_stays_int16(images: NDArray[np.float32]) -> None:
    model = fuse(lively_model())
    with torch.no_grad():
        model.get_submodule("blocks.2.0.ghost1.cheap_operation").weight[3] = 0.0  # type: ignore[index]
    spec = calibrate(graph_of(model), [images], QuantConfig())
    assert spec.accumulators["blocks.2.0.ghost1.cheap"] == "int16"


def test_a_depthwise_bias_beyond_int16_falls_back_to_int32_with_a_note(images: NDArray[np.float32]) -> None:
    """One channel 2000 times as large as the 99 % of values that set the scale."""
    model = fuse(lively_model())
    with torch.no_grad():
        model.get_submodule("blocks.6.1.ghost2.cheap_operation").bias[3] = -1e6  # type: ignore[index]
    config = config_from_dict({"observer": "percentile", "percentile": 90.0})
    spec = calibrate(graph_of(model), [images], config)
    assert spec.accumulators["blocks.6.1.ghost2.cheap"] == "int32"
    assert any("blocks.6.1.ghost2.cheap: no int16 accumulator fits" in note for note in spec.notes)


def test_fewer_images_choose_the_ranges_of_a_larger_network(graph: Graph) -> None:
    preprocess = Preprocess(size=224, resize=224)
    assert _predicted(graph, preprocess) == PREDICTION_PIXELS // preprocess.pixels == 20
    for copies, count in ((2, 8), (8, FEWEST_PREDICTIONS)):
        more = [replace(op, name=f"{copy}.{op.name}") for copy in range(copies) for op in graph.operators[:-1]]
        assert _predicted(replace(graph, operators=(*graph.operators, *more)), preprocess) == count
