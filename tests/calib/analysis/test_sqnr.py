"""The error of each layer: equal to its definition, and larger where a layer is made worse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from calib.analysis.sqnr import MOST_DECIBELS, measure_sqnr
from calib.integer import qparams
from calib.integer.program import Conv2d, Program
from calib.integer.reference import run
from calib.ptq.calibrate import calibrate
from calib.qdq import writer as qdq
from calib.settings.config import QuantConfig
from compile.frontend.qdq_file import read_qdq
from compile.passes import lower
from repghost.data.images.preprocess import Preprocess
from repghost.graph.operators import Graph
from repghost.graph.run import run_float
from repghost.graph.trace import graph_of
from repghost.network.fuse import fuse
from tests.support.lively_network import SIZE, lively_model

PREPROCESS = Preprocess(size=SIZE, resize=SIZE)
DESCRIPTION = qdq.Description("repghostnet_0_5x", PREPROCESS.to_dict(), (), "", {}, {})
LAYER = "blocks.3.0.ghost1.primary"


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    coarse = np.random.default_rng(3).integers(0, 256, (5, SIZE // 4, SIZE // 4, 3), np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


@pytest.fixture(scope="module")
def quantized(images: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> tuple[Graph, Program]:
    graph = graph_of(fuse(lively_model()))
    spec = calibrate(graph, [PREPROCESS.normalize(images)], QuantConfig())
    file = qdq.build_qdq(graph, spec, SIZE)
    qdq.describe(file, DESCRIPTION, QuantConfig(), spec)
    path = tmp_path_factory.mktemp("layer-error") / "model.qdq.onnx"
    path.write_bytes(qdq.serialize(file))
    return graph, lower(read_qdq(path))


@pytest.mark.slow
def test_every_operator_but_moved_ones_has_an_error(
    quantized: tuple[Graph, Program], images: NDArray[np.uint8]
) -> None:
    graph, program = quantized
    found = measure_sqnr(graph, program, images, PREPROCESS)
    assert list(found) == [operator.name for operator in program.operators]
    assert all(5 < decibels < MOST_DECIBELS for decibels in found.values())


@pytest.mark.slow
def test_error_is_its_definition(quantized: tuple[Graph, Program], images: NDArray[np.uint8]) -> None:
    graph, program = quantized
    exact: dict[str, NDArray[np.float32]] = {}

    def keep(name: str, value: torch.Tensor) -> None:
        exact[name] = value.numpy().astype(np.float64).copy()

    run_float(graph, torch.from_numpy(PREPROCESS.normalize(images)), keep)
    trace: dict[str, NDArray[np.int8]] = {}
    run(program, images, trace)
    operator = next(op for op in program.operators if op.name == LAYER)
    value = qparams.dequantize(trace[LAYER], operator.output.qparams).transpose(0, 3, 1, 2)
    expected = 10 * np.log10((exact[LAYER] ** 2).sum() / ((exact[LAYER] - value) ** 2).sum())
    assert measure_sqnr(graph, program, images, PREPROCESS)[LAYER] == pytest.approx(expected, abs=1e-3)


def test_a_worse_layer_shows_from_there_on(quantized: tuple[Graph, Program], images: NDArray[np.uint8]) -> None:
    graph, program = quantized
    good = measure_sqnr(graph, program, images, PREPROCESS)

    def coarse(operator: Conv2d) -> Conv2d:
        return replace(operator, weight=(operator.weight // 64 * 64).astype(np.int8))

    operators = tuple(coarse(op) if op.name == LAYER and isinstance(op, Conv2d) else op for op in program.operators)
    bad = measure_sqnr(graph, replace(program, operators=operators), images, PREPROCESS)
    before = list(good)[: list(good).index(LAYER)]
    assert {name: bad[name] for name in before} == {name: good[name] for name in before}
    assert bad[LAYER] < good[LAYER] - 5


def test_chunks_of_images_add_up(
    quantized: tuple[Graph, Program], images: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = measure_sqnr(*quantized, images, PREPROCESS)
    monkeypatch.setattr("calib.analysis.sqnr.CHUNK_PIXELS", 1)
    # A batch of another size may round otherwise: x to some 1e-4 of its size after 96 layers, which is up to
    # 20 * log10(1 + 1e-4 * 10 ** (30 / 20)) = 0.03 dB where the ratio is 30 dB.
    assert max(whole.values()) < 60
    found = measure_sqnr(*quantized, images, PREPROCESS)
    assert {name: value for name, value in found.items() if value <= 30} == pytest.approx(
        {name: value for name, value in whole.items() if found[name] <= 30}, abs=0.05
    )
