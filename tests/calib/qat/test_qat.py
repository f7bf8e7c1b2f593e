"""Quantization-aware training: fold, limits, conversion, choice, command."""

from __future__ import annotations

import copy
import inspect
import json
from dataclasses import fields
from functools import partial
from pathlib import Path

import click
import numpy as np
import onnx
import pytest
import torch

import repghost
from calib.integer.qparams import quantize_weights
from calib.integer.reference import run
from calib.ptq.calibrate import calibrate
from calib.qat.branch_weights import BranchWeights
from calib.qat.candidates import HeldOut, Score, is_better, score
from calib.qat.convertible import check_accumulators
from calib.qat.data import TrainingFeed, split_images
from calib.qat.loop import make_optimizer, training_step
from calib.qat.network import QatNetwork
from calib.qat.settings import QatSettings
from calib.qat.weights import FusedWeights, layers_of
from calib.qdq import writer as qdq
from calib.settings.config import QuantConfig
from calib.simulate.exact import ExactNetwork
from calib.simulate.fake_quantize import weight_steps
from compile.frontend.qdq_file import read_qdq
from compile.passes import lower
from repghost.cli import cli
from repghost.commands.quantization.qat import SPELLED
from repghost.errors import UsageError
from repghost.graph.operators import Convolution
from repghost.graph.trace import graph_of
from repghost.network.fuse import fuse
from tests.support.lively_network import CLASSES, SIZE, lively_model
from tests.support.qat_command import (
    BYTES,
    PREPROCESS,
    qat,
)


def trained(mode: str) -> QatNetwork:
    model = lively_model()
    graph = graph_of(fuse(model))
    x = PREPROCESS.normalize(BYTES)
    weights = FusedWeights(graph) if mode == "fused" else BranchWeights(copy.deepcopy(model), 0.02)
    network = QatNetwork(graph, calibrate(graph, [x], QuantConfig()), weights).train()
    settings = QatSettings(mode=mode, distillation=0.0, learning_rate=0.02)
    optimizer = make_optimizer(network, settings)
    labels = torch.arange(8) % CLASSES
    for step in range(4):
        if step == 2:
            network.replan()
        if step == 3:
            network.freeze_observers()
        training_step(network, None, optimizer, torch.from_numpy(x), labels, settings)
    return network.eval()


def test_the_branches_fuse_to_the_bits_of_the_fused_network() -> None:
    model = lively_model()
    weights = BranchWeights(copy.deepcopy(model), 0.02)
    for op in layers_of(graph_of(fuse(model))):
        weight, bias = weights.layer(op.name)
        np.testing.assert_array_equal(weight.detach().numpy(), op.weight, err_msg=op.name)
        np.testing.assert_array_equal(bias.detach().numpy(), op.bias, err_msg=op.name)


def test_a_fused_network_has_no_branches_to_train() -> None:
    with pytest.raises(UsageError, match="branches are gone"):
        BranchWeights(fuse(lively_model()), 0.02)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["fused", "reparam"])
def test_the_converted_network_equals_the_reference_and_stays_int16(mode: str, tmp_path: Path) -> None:
    network = trained(mode)
    graph, spec = network.convert()
    check_accumulators(graph, spec)
    for op in layers_of(graph):  # training's weights are the integers' to the bit
        weight, _ = network._layer(op.name, torch.empty(0), {}, False)
        np.testing.assert_array_equal(weight.detach().numpy(), op.weight, err_msg=op.name)
    model = qdq.build_qdq(graph, spec, SIZE)
    description = qdq.Description("m", PREPROCESS.to_dict(), (), "", {}, {})
    qdq.describe(model, description, QuantConfig(), spec)
    path = tmp_path / "m.onnx"
    path.write_bytes(qdq.serialize(model))
    expected = run(lower(read_qdq(path)), BYTES)
    exact = ExactNetwork(graph, spec)(torch.from_numpy(PREPROCESS.normalize(BYTES)))
    np.testing.assert_array_equal(exact.numpy(), expected)
    before = graph_of(fuse(lively_model()))
    changed = [np.any(a.weight != b.weight) for a, b in zip(layers_of(before), layers_of(graph), strict=True)]
    assert all(changed)
    depthwise = [op for op in graph.operators if isinstance(op, Convolution) and op.is_depthwise]
    sums = [np.abs(quantize_weights(op.weight, spec.weight_scales[op.name]).astype(int)).sum((1, 2, 3)).max()
            for op in depthwise if spec.accumulators[op.name] == "int16"]  # fmt: skip
    assert sums and max(sums) <= 65535 // 255


@pytest.mark.parametrize("limit", [0, 3, 17, 10_000])
def test_sums_are_limited_a_step_at_a_time(limit: int) -> None:
    weight = torch.randn(6, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    scales = torch.full((6,), 0.1)
    free = weight_steps(weight, scales, None)
    steps = weight_steps(weight, scales, torch.full((6,), float(limit)))
    wanted = torch.minimum(free.abs().sum((1, 2, 3)), torch.tensor(float(limit)))
    assert torch.equal(steps.abs().sum((1, 2, 3)), wanted)
    assert bool((steps * free >= 0).all())


def scored(top1: float, objective: list[float]) -> Score:
    return Score(top1, 1.0, 1.0, 1.0, np.array(objective))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("top1", "objective", "taken"),
    [
        (0.8, [1.0, 2.0, 3.0, 4.0], False),  # the same
        (0.8, [0.9, 1.9, 2.9, 3.9], True),  # less on every image
        (0.8, [0.9, 1.8, 2.9, 3.8], True),
        (0.9, [0.0, 2.0, 3.0, 4.0], False),  # less on one image, which may be luck, whatever the right answers say
        (0.9, [1.1, 2.1, 3.1, 4.1], False),
        (0.7, [0.9, 1.9, 2.9, 3.9], False),  # less right answers
    ],
)
def test_a_candidate_that_is_not_surely_better_is_not_taken(top1: float, objective: list[float], taken: bool) -> None:
    start, candidate = scored(0.8, [1.0, 2.0, 3.0, 4.0]), scored(top1, objective)
    assert is_better(candidate, start) is taken


@pytest.mark.parametrize(("distillation", "temperature"), [(1.0, 1.0), (0.5, 2.0), (0.0, 1.0)])
def test_what_chooses_is_what_training_minimizes(distillation: float, temperature: float) -> None:
    random = np.random.default_rng(0)
    wanted = random.normal(size=(8, CLASSES)).astype(np.float32)
    logits = torch.from_numpy(random.normal(size=(8, CLASSES)))
    labels = np.arange(8) % CLASSES
    settings = QatSettings(distillation=distillation, temperature=temperature)
    found = score(logits, HeldOut(BYTES, labels, wanted), settings)
    network = torch.nn.Linear(1, 1)  # gives the logits; its parameter only makes them learnable
    network.forward = lambda x: logits + 0.0 * network.bias  # type: ignore[method-assign]
    optimizer = torch.optim.SGD(network.parameters(), 0.0)
    teacher = lambda x: torch.from_numpy(wanted).double()  # noqa: E731
    loss = training_step(network, teacher, optimizer, torch.empty(0), torch.from_numpy(labels), settings)
    assert found.objective.mean() == pytest.approx(loss, rel=1e-6)
    p, q = (torch.softmax(x, 1).numpy() for x in (torch.from_numpy(wanted).double(), logits))
    assert found.divergence == pytest.approx((p * np.log(p / q)).sum(1).mean())
    assert found.agreement == (wanted.argmax(1) == logits.numpy().argmax(1)).mean()
    assert found.top1 == (logits.numpy().argmax(1) == labels).mean()


@pytest.mark.parametrize(("momentum", "stays"), [(0.0, True), (0.02, False)])
def test_statistics_stay_where_there_is_no_momentum(momentum: float, stays: bool) -> None:
    model = lively_model()
    weights = BranchWeights(copy.deepcopy(model), momentum)
    assert weights.observes != stays
    weights.observe("conv_stem", torch.from_numpy(PREPROCESS.normalize(BYTES)))
    same = torch.equal(weights.model.bn1.running_mean, model.bn1.running_mean)  # type: ignore[arg-type]
    assert same == stays


def test_the_command_has_the_defaults_of_python() -> None:
    command = cli.get_command(click.Context(cli), "qat")
    assert command is not None
    options = command.make_context("qat", ["net", "--data", "pictures", "-o", "file"]).params
    python = inspect.signature(repghost.train_quantized).parameters
    options = {SPELLED.get(name, name): value for name, value in options.items()}
    shared = (options.keys() & python.keys()) - {"data"}
    assert shared >= {SPELLED.get(field.name, field.name) for field in fields(QatSettings)} - {"schedule"}
    assert shared >= {"device", "workers", "resume", "teacher_weights", "dist_timeout"}
    for name in shared:
        assert options[name] == python[name].default, name


def test_an_epoch_has_12500_images_where_nothing_else_is_asked_for() -> None:
    feed = partial(TrainingFeed, None, np.arange(20_000), PREPROCESS)  # type: ignore[arg-type]
    assert feed(QatSettings()).images_per_epoch == 12_500
    assert feed(QatSettings(images=None)).images_per_epoch == 20_000


def test_images_are_normalized_alike_on_every_device() -> None:
    feed = TrainingFeed(None, np.arange(8), PREPROCESS, QatSettings())  # type: ignore[arg-type]
    here, there = feed.normalized(BYTES), feed.normalized_there(BYTES)
    torch.testing.assert_close(there, here, rtol=1e-5, atol=1e-5)
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in (here, there))


def test_images_that_choose_are_used_for_nothing_else() -> None:
    parts = split_images(np.arange(100) % 5, QatSettings())
    assert not set(parts.held_out) & (set(parts.training) | set(parts.calibration)) and len(parts.held_out) == 25
    with pytest.raises(UsageError, match="too few"):
        split_images(np.arange(3), QatSettings())


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["fused", "reparam"])
def test_the_command_twice_gives_the_same_bytes_and_never_worse_than_its_start(
    mode: str, data: Path, tmp_path: Path
) -> None:
    command = [data / "model.safetensors", "--data", data, "--mode", mode, "--batch", 8, "--epochs", 2]
    for name in "ab":
        result = qat(*command, "-o", tmp_path / name)
        assert result.exit_code == 0, result.output
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    entries = {entry.key: entry.value for entry in onnx.load(tmp_path / "a").metadata_props}
    training = json.loads(entries[qdq.QUANTIZATION])["training"]
    assert training["algorithm"] == "qat" and training["mode"] == mode and len(training["candidates"]) == 3
    scores = {one["name"]: one for one in training["candidates"]}
    chosen, start = scores[training["chosen"]], scores["calibrated"]
    share = training["distillation"]
    wrong, least = (share * one["divergence"] + (1 - share) * one["loss"] for one in (start, chosen))
    assert chosen["top1"] >= start["top1"] and least <= wrong


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--mode", "fusd"], "Did you mean 'fused'"), (["--width", "1.0"], "has width 0.5"), (["--split", "x"], "x")],
)
def test_wrong_usage_writes_nothing(arguments: list[str], message: str, data: Path, tmp_path: Path) -> None:
    result = qat(data / "model.safetensors", "--data", data, "-o", tmp_path / "m.onnx", *arguments)
    assert result.exit_code == 2 and message in result.output and not list(tmp_path.iterdir())


def test_other_classes_are_refused(data: Path, tmp_path: Path) -> None:
    result = qat(data / "other.safetensors", "--data", data, "-o", tmp_path / "m.onnx")
    assert result.exit_code == 2 and "not among the network's 5: 'e'" in result.output


@pytest.mark.slow
def test_training_that_diverges_writes_nothing(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "calib.qat.qat_images.qat_loss", lambda *_: lambda inputs, logits, targets: logits.sum() * torch.nan
    )
    result = qat(data / "model.safetensors", "--data", data, "-o", tmp_path / "m.onnx")
    assert result.exit_code == 1 and "lower --learning-rate" in result.output.lower()
    assert not list(tmp_path.iterdir())
