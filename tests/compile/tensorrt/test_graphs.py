"""Files for Jetson of random graphs of every operator: rules, both evaluators, and float16."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from calib.ptq.calibrate import calibrate
from calib.settings.config import LayerSettings, QuantConfig
from compile.storage.stage_cache import StageCache
from compile.subject.subject import Images
from compile.tensorrt.evaluate import ONNX_REFERENCE, TorchNetwork, second_evaluator
from compile.tensorrt.jetpack import JETPACKS
from compile.tensorrt.network.calibrated import Calibrated, calibrate_network
from compile.tensorrt.network.functions import float16_suffices
from compile.tensorrt.network.networks import Networks, check_networks, make_networks
from compile.tensorrt.network.placement import CHOICES, PlacementOptions
from compile.tensorrt.torch.network import TorchTensorRTNetwork
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError
from repghost.graph.formulas import FORMULAS
from repghost.graph.operators import (
    INPUT,
    Add,
    Convolution,
    Function,
    GlobalAveragePool,
    Graph,
    MaxPool,
    Pads,
    Pair,
    Step,
)
from repghost.graph.run import run_float
from tests.support import random_graphs
from tests.support.random_graphs import Builder, Kind, random_graph

SIZE = 13, 10
CONFIG = QuantConfig("tensorrt", LayerSettings(observer="min_max"))


def oblong_max_pool(builder: Builder) -> None:
    """A window that differs between rows and columns; TensorRT has none with dilations."""
    builder.x = builder.append(MaxPool(builder.name("pool"), builder.x, (2, 3), (1, 2), (1, 0, 0, 1)))


KINDS = (*(kind for kind in random_graphs.KINDS if kind is not Builder.oblong_max_pool), oblong_max_pool)


@dataclass(frozen=True)
class Made:
    networks: Networks
    inputs: NDArray[np.float32]

    @property
    def real(self) -> NDArray[np.float32]:
        """What the graph computes in float."""
        return run_float(self.networks.plain, torch.from_numpy(self.inputs)).flatten(1).numpy()


def made(graph: Graph, jetpack: str, options: PlacementOptions | None = None, config: QuantConfig = CONFIG) -> Made:
    assert graph.size is not None
    inputs = np.random.default_rng(0).normal(0, 1, (4, graph.channels, *graph.size)).astype(np.float32)
    calibrated = Calibrated(graph, calibrate(graph, [inputs], config))
    options = options or PlacementOptions("int8")
    return Made(make_networks(graph, calibrated, JETPACKS[jetpack], options, graph.size, "net"), inputs)


def largest(x: NDArray[np.float32]) -> float:
    return float(np.abs(x).max())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("jetpack", ["5", "6"])
def test_files_of_every_operator_are_legal_and_compute_the_graph(kind: Kind, jetpack: str) -> None:
    network = made(random_graph(KINDS.index(kind), (kind,), 2, SIZE), jetpack)
    networks, inputs, real = network.networks, network.inputs, network.real
    int8, plain = networks.int8(), networks.fp16()
    check_networks(int8, plain, networks.placement, networks.jetpack)
    half = networks.jetpack.half_file
    float_logits, int8_logits = TorchNetwork(plain)(inputs), TorchNetwork(int8)(inputs)
    # Weights of float16 are off by 2^-12 of themselves on average, over a handful of layers.
    assert largest(float_logits - real) <= (3e-3 if half else 1e-5) * largest(real)
    noise = np.square(int8_logits - real).mean()
    assert noise <= 0.06**2 * np.square(real).mean()
    for model, logits in ((plain, float_logits), (int8, int8_logits)):
        _, run = second_evaluator(model.SerializeToString())
        # It rounds to float16 as it goes; a number at the border of two steps falls to either side.
        bound = 4 / 127 if model is int8 else 3e-3 if half else 1e-5
        assert largest(run(inputs) - logits) <= bound * largest(real)


@pytest.mark.parametrize("seed", range(12))
def test_files_are_legal_whatever_is_left_in_float(seed: int) -> None:
    """A quarter of all operators, whether they have weights or not, and every choice of layers."""
    graph, rng = random_graph(seed, KINDS, 7, SIZE), np.random.default_rng(seed)
    left = tuple((name, None) for name in graph.names()[1:] if rng.random() < 0.25)
    options = PlacementOptions(CHOICES[seed % 2], CHOICES[seed // 2 % 2])
    network = made(graph, list(JETPACKS)[seed % 3], options, replace(CONFIG, layers=left))
    networks, int8 = network.networks, network.networks.int8()
    check_networks(int8, networks.fp16(), networks.placement, networks.jetpack)
    noise = np.square(TorchNetwork(int8)(network.inputs) - network.real).mean()
    assert noise <= 0.1**2 * np.square(network.real).mean()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_reference_evaluator_agrees_as_well(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compile.tensorrt.evaluate.find_spec", lambda name: None)
    network = made(random_graph(KINDS.index(kind), (kind,), 2, SIZE), "5")
    model, inputs = network.networks.fp16(), network.inputs[:1]
    name, run = second_evaluator(model.SerializeToString())
    assert name == ONNX_REFERENCE
    logits = TorchNetwork(model)(inputs)
    assert largest(run(inputs) - logits) <= 1e-4 * largest(logits)


@pytest.mark.parametrize(("pads", "strides"), [((0, 0, 1, 1), (1, 1)), ((1, 0, 0, 1), (2, 1)), ((1, 1, 1, 1), (1, 1))])
def test_every_evaluator_pads_a_max_pool_alike(pads: Pads, strides: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = Builder(0, SIZE)
    builder.x = builder.append(MaxPool("op", builder.convolution(INPUT, 4), (2, 3), strides, pads))
    builder.end_with_classifier()
    network = made(builder.graph(), "5")
    model = network.networks.fp16()
    logits = [TorchNetwork(model)(network.inputs), second_evaluator(model.SerializeToString())[1](network.inputs)]
    monkeypatch.setattr("compile.tensorrt.evaluate.find_spec", lambda name: None)
    logits.append(second_evaluator(model.SerializeToString())[1](network.inputs))
    for values in logits:
        assert largest(values - network.real) <= 1e-5 * largest(network.real)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_module_for_torch_tensorrt_computes_what_the_file_says(kind: Kind) -> None:
    network = made(random_graph(KINDS.index(kind), (kind,), 2, SIZE), "5")
    networks, inputs = network.networks, torch.from_numpy(network.inputs)
    module = TorchTensorRTNetwork(networks.graph, networks.spec, networks.placement).eval()
    expected = TorchNetwork(networks.int8())(network.inputs)
    with torch.no_grad():
        assert largest(module(inputs).numpy() - expected) <= 1 / 127 * largest(expected)
    exported = torch.export.export(module, (inputs[:1],))
    targets = [str(node.target) for node in exported.graph.nodes if node.op == "call_function"]
    assert sum("repghost.int8_convolution" in target for target in targets) == len(networks.placement.layers)
    assert not any("channel_shuffle" in target for target in targets)  # torch-tensorrt has no converter for it


def test_a_file_says_name_size_and_scores_of_its_network() -> None:
    builder = Builder(3, SIZE)
    builder.dense()
    builder.end_with_pool()  # scores that no classifier makes
    for jetpack in ("5", "6"):
        model = made(builder.graph(), jetpack).networks.int8()
        assert model.graph.name == "net"
        sides = [[dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in _ends(model)]
        assert sides == [[1, 3, *SIZE], [1, random_graphs.CLASSES]]
        assert {value.type.tensor_type.elem_type for value in _ends(model)} == {onnx.TensorProto.FLOAT}


def _ends(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    return [*model.graph.input, *model.graph.output]


TANH_BY_POWERS = (  # infinity divided by infinity where float16 ends
    Step("Exp", (0,)), Step("Neg", (0,)), Step("Exp", (2,)), Step("Sub", (1, 3)), Step("Add", (1, 3)),
    Step("Div", (4, 5)),
)  # fmt: skip


@pytest.mark.parametrize(
    ("steps", "scale", "suffices"),
    [
        *((steps, 0.05, True) for steps in FORMULAS.values()),
        (FORMULAS["SiLU"], 100.0, True),
        (TANH_BY_POWERS, 0.001, True),
        (TANH_BY_POWERS, 0.1, False),
        ((Step("Mul", (0, 1e6)), Step("Mul", (1, 1e-6))), 0.01, False),  # a constant that float16 does not hold
        ((Step("Abs", (0,)), Step("Sqrt", (1,))), 0.1, True),
        ((Step("Sqrt", (0,)),), 0.1, True),  # of negative numbers there is none in either type
    ],
)
def test_what_float16_can_compute_is_told_from_what_it_cannot(
    steps: tuple[Step, ...], scale: float, suffices: bool
) -> None:
    assert float16_suffices(steps, SimpleNamespace(scale=scale)) == suffices  # type: ignore[arg-type]
    assert float16_suffices(steps, None)


def test_a_function_that_leaves_float16_is_computed_in_float32() -> None:
    builder = Builder(1, SIZE)
    builder.dense()
    wide = builder.convolution(builder.x, 6)
    builder.operators[-1] = scaled(builder.operators[-1], 12.0)
    builder.x = builder.append(Function("wide", wide, TANH_BY_POWERS))
    builder.end_with_pool()
    network = made(builder.graph(), "6")
    plain = network.networks.fp16()
    check_networks(network.networks.int8(), plain, network.networks.placement, network.networks.jetpack)
    casts = [node.output[0] for node in plain.graph.node if node.op_type == "Cast"]
    assert casts == ["input.half", "wide.float32.input", "wide", "logits"]
    assert largest(TorchNetwork(plain, half=True)(network.inputs) - network.real) <= 0.02 * largest(network.real)
    _, run = second_evaluator(plain.SerializeToString())
    assert largest(run(network.inputs) - network.real) <= 0.02 * largest(network.real)


def scaled(op: Any, factor: float) -> Convolution:
    return Convolution(op.name, op.input, op.weight * np.float32(factor), op.bias, op.strides, op.pads)


def _sum_of_biases(*biases: float) -> Graph:
    """Two convolutions whose biases meet in a sum, which the first of them computes: it has no scale."""
    weight = np.eye(3, dtype=np.float32)[:, :, None, None]
    first, second = (
        Convolution(name, INPUT, weight, np.full(3, bias, np.float32)) for name, bias in zip("ab", biases, strict=True)
    )
    return Graph((first, second, Add("sum", "a", "b"), GlobalAveragePool("scores", "sum")), 3, SIZE)


def test_a_weight_that_float16_does_not_hold_is_named() -> None:
    network = made(_sum_of_biases(-7e4, 6e4), "5")
    network.networks.int8()
    with pytest.raises(UsageError, match=r"'a\.bias' reaches 7e\+04, float16 ends at 65504"):
        network.networks.fp16_half()


def test_a_result_that_float16_does_not_hold_is_named() -> None:
    network = made(_sum_of_biases(-65500.0, 6e4), "6")
    model = network.networks.fp16()
    TorchNetwork(model)(network.inputs)
    with pytest.raises(UsageError, match=r"tensor 'a' reaches 6\.59e\+04 on these pictures, float16 ends at 65504"):
        TorchNetwork(model, half=True)(network.inputs * 100)


def test_a_calibrated_network_is_kept_by_what_it_computes(tmp_path: Any) -> None:
    builder = Builder(5, (32, 32))
    builder.dense()
    builder.end_with_pool()
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    subject: Any = SimpleNamespace(
        preprocess=Preprocess(size=32, resize=32), calibration=Images(images, np.zeros(4, np.int64), {})
    )
    cache, plain = StageCache(tmp_path), builder.graph()
    done: list[int] = []
    first, cached = calibrate_network(plain, subject, CONFIG, cache, done.append)
    assert not cached and sum(done) == 4
    again, cached = calibrate_network(builder.graph(), subject, CONFIG, cache, done.append)
    assert cached and sum(done) == 4
    assert again.spec.to_dict() == first.spec.to_dict()
    for before, after in zip(first.graph.layers(), again.graph.layers(), strict=True):
        assert np.array_equal(before.weight, after.weight) and np.array_equal(before.bias, after.bias)
    builder.operators[0] = scaled(builder.operators[0], 1 + 2**-20)
    assert not calibrate_network(builder.graph(), subject, CONFIG, cache, done.append)[1]
    dilated = Graph((*plain.operators, MaxPool("max", "scores", (1, 1), dilations=(2, 2))), 3, (32, 32))
    with pytest.raises(UsageError, match="'max' is a max pool with dilations"):
        calibrate_network(dilated, subject, CONFIG, cache, done.append)
    assert math.isclose(sum(done), 8)
