"""Fake-quant, and the numpy reference of the program read back from the QDQ file, give the same integers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from calib.integer.qparams import QParams, quantize
from calib.integer.reference import run
from calib.ptq.calibrate import calibrate
from calib.qdq import writer as qdq
from calib.settings.config import QuantConfig, config_from_dict
from calib.settings.quantspec import QuantSpec
from calib.simulate import exact as fakequant
from calib.simulate.exact import ExactNetwork
from compile.frontend.qdq_file import read_qdq
from compile.passes import lower
from repghost.data.images.preprocess import Preprocess
from repghost.graph.operators import Graph
from repghost.graph.run import run_float
from repghost.graph.trace import graph_of
from repghost.network.fuse import fuse
from tests.support.layerwise import assert_within_a_step
from tests.support.lively_network import SIZE, lively_model

PREPROCESS = Preprocess(size=SIZE, resize=SIZE)
DESCRIPTION = qdq.Description("repghostnet_0_5x", PREPROCESS.to_dict(), (), "", {}, {})

CASES: list[tuple[dict[str, object], dict[str, Any]]] = [
    ({}, {}),
    ({}, {"observer": "min_max"}),
    ({}, {"observer": "percentile", "percentile": 97.0}),
    ({}, {"depthwise_accumulator": "int32"}),
    ({}, {"layers": {"*.ghost2.cheap": {"depthwise_accumulator": "int32"}}}),
    ({}, {"policy": "tensorrt"}),
    ({"shortcut": False}, {}),
    ({"enable_se": False}, {}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("options", "settings"), CASES, ids=str)
def test_every_tensor_equals_the_reference(
    options: dict[str, object], settings: dict[str, Any], tmp_path: Path
) -> None:
    generator = np.random.default_rng(2)
    coarse = generator.integers(0, 256, (6, SIZE // 4, SIZE // 4, 3), np.uint8)
    bytes_ = coarse.repeat(4, axis=1).repeat(4, axis=2)
    images = PREPROCESS.normalize(bytes_)
    graph = graph_of(fuse(lively_model(5, **options)))
    config = config_from_dict(settings)
    spec = calibrate(graph, [images[:4]], config)
    model = qdq.build_qdq(graph, spec, SIZE)
    qdq.describe(model, DESCRIPTION, config, spec)
    path = tmp_path / "model.qdq.onnx"
    path.write_bytes(qdq.serialize(model))

    program = lower(read_qdq(path))
    reference: dict[str, NDArray[np.int8]] = {}
    expected = run(program, bytes_, reference)
    exact: dict[str, NDArray[np.int32]] = {}
    actual = ExactNetwork(graph, spec)(
        torch.from_numpy(images), lambda name, value: exact.update({name: value.numpy()})
    )

    assert exact.keys() == reference.keys()
    for name, values in reference.items():
        np.testing.assert_array_equal(exact[name].transpose(0, 2, 3, 1), values, err_msg=name)
        assert len(np.unique(values)) > 1, f"{name} is constant, so nothing was compared"
    np.testing.assert_array_equal(actual.numpy(), expected)


@pytest.mark.slow
def test_quantization_keeps_most_of_the_signal(graph: Graph, spec: QuantSpec, images: NDArray[np.float32]) -> None:
    x = torch.from_numpy(images)
    real, exact = run_float(graph, x), ExactNetwork(graph, spec)(x)
    noise = (real - exact).square().sum() / (real - real.mean(0)).square().sum()
    assert noise < 1.0  # less noise than signal: 0.05 where this was written; a trained network has 0.003


@pytest.mark.slow
def test_each_operator_is_within_a_step_of_its_real_value(
    graph: Graph, spec: QuantSpec, images: NDArray[np.float32]
) -> None:
    exact: dict[str, NDArray[np.int32]] = {}
    logits = ExactNetwork(graph, spec)(
        torch.from_numpy(images), lambda name, value: exact.update({name: value.numpy()})
    )
    assert_within_a_step(graph, spec, exact, logits.numpy())


def test_the_input_is_quantized_as_the_contract_says(graph: Graph, spec: QuantSpec) -> None:
    qparams = spec.activations["input"]
    ties = (np.arange(-200, 200, dtype=np.float32) + np.float32(0.5)) * np.float32(qparams.scale)
    x = np.resize(ties, (1, 3, SIZE, SIZE))
    seen: dict[str, NDArray[np.int32]] = {}
    ExactNetwork(graph, spec)(torch.from_numpy(x), lambda name, value: seen.setdefault(name, value.numpy()))
    np.testing.assert_array_equal(seen["input"], quantize(x, QParams(qparams.scale, qparams.zero_point)))


@pytest.mark.parametrize(("total", "dtype"), [(65_000, torch.float32), (66_000, torch.float64)])
def test_sums_that_float32_could_round_use_float64(total: int, dtype: torch.dtype) -> None:
    weight = np.full((1, total // 100, 1, 1), 100, np.int8)
    assert fakequant._exact(weight, QParams(1.0, 0)).dtype == dtype


def test_images_are_independent_of_their_batch(graph: Graph, spec: QuantSpec, images: NDArray[np.float32]) -> None:
    network, x = ExactNetwork(graph, spec), torch.from_numpy(images)
    alone = torch.cat([network(x[i : i + 1]) for i in range(4)])
    assert torch.equal(alone, network(x)[:4])


def test_the_default_config_is_what_the_fixture_uses(
    graph: Graph, spec: QuantSpec, images: NDArray[np.float32]
) -> None:
    assert calibrate(graph, [images], QuantConfig()).to_dict() == spec.to_dict()
