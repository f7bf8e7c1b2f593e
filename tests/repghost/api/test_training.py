"""`prepare_qat`, `convert` and `train_quantized`: in a loop of one's own, and done here."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import repghost
from calib.integer.reference import run
from calib.qat.network import QatNetwork
from calib.qat.settings import QatSettings
from calib.qdq.writer import QUANTIZATION
from compile.stages.quantize import read_program
from repghost.commands.quantization.qat import SPELLED
from repghost.errors import UsageError
from repghost.graph.digest import graph_digest
from repghost.network.fuse import fuse
from repghost.training.losses import distance
from tests.support.lively_network import CLASSES as LIVELY_CLASSES
from tests.support.lively_network import lively_model
from tests.support.qat_command import BYTES
from tests.support.qat_command import PREPROCESS as LIVELY_PREPROCESS
from tests.support.small_classifier import CLASSES, PREPROCESS, image, small_classifier, write_set

NET = small_classifier()
IMAGES = np.stack([image(name, seed) for seed in range(8) for name in CLASSES])
X, LABELS = torch.from_numpy(PREPROCESS.normalize(IMAGES)), torch.arange(3).repeat(8)
pytestmark = pytest.mark.filterwarnings("ignore:[0-9]+ steps in all")  # that few are enough here
SMALL = {"epochs": 2, "batch": 4, "held_out": 6, "learning_rate": 0.02}


@pytest.fixture(scope="module")
def q() -> repghost.QuantizedNetwork:
    return repghost.quantize(NET, IMAGES, algorithm="percentile")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> repghost.Dataset:
    return repghost.open_dataset(write_set(tmp_path_factory.mktemp("set"), each=8))


def train(module: nn.Module, steps: int = 10) -> list[float]:
    core = getattr(module, "module", module)
    optimizer = torch.optim.Adam(core.parameter_groups(0.02, 0.01))
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(module(X), LABELS)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def test_a_loop_of_ones_own_ends_in_the_integers_that_were_trained(
    q: repghost.QuantizedNetwork, tmp_path: Path
) -> None:
    module = repghost.prepare_qat(q)
    assert module.training and repghost.convert(module).digest == q.digest
    losses = train(module)
    module.freeze_observers()
    losses += train(module, 2)
    assert losses[-1] < 0.8 * losses[0]
    made = repghost.convert(module)
    assert made.trained and made.digest != q.digest and module.training
    program = read_program(made.save(tmp_path / "net.qdq.onnx"))
    assert program.digest == made.digest
    np.testing.assert_array_equal(run(program, IMAGES), made.logits(IMAGES))
    exact = made.logits(IMAGES)
    with torch.no_grad():  # float32, but the same steps: what the integers stand for
        np.testing.assert_allclose(module.eval()(X).numpy(), exact, atol=0.05 * np.abs(exact).max())
    entries = {entry.key: entry.value for entry in made.quantized.onnx.metadata_props}
    assert json.loads(entries[QUANTIZATION])["training"]["chosen"] == "a training loop of its own"


def test_what_wraps_a_module_converts(q: repghost.QuantizedNetwork) -> None:
    module = repghost.prepare_qat(q)
    average = torch.optim.swa_utils.AveragedModel(module)
    assert repghost.convert(average).digest == repghost.convert(copy.deepcopy(module)).digest == q.digest
    for wrong in (NET, nn.Sequential(module)):
        with pytest.raises(UsageError, match=r"convert takes the module that repghost\.prepare_qat returned"):
            repghost.convert(wrong)


def test_networks_and_modules_go_to_other_processes(q: repghost.QuantizedNetwork) -> None:
    exact = q.logits(IMAGES)  # builds what computes them, which stays here
    module, again = pickle.loads(pickle.dumps((repghost.prepare_qat(q), q)))
    assert np.array_equal(again.logits(IMAGES), exact) and repghost.convert(module).digest == q.digest


def test_a_module_is_evaluated_like_any_other(q: repghost.QuantizedNetwork) -> None:
    module = repghost.prepare_qat(q).eval()
    assert repghost.evaluate(module, (IMAGES, LABELS)).top1 == q.evaluate((IMAGES, LABELS)).top1


def test_a_module_is_converted_and_not_quantized_again(q: repghost.QuantizedNetwork) -> None:
    with pytest.raises(UsageError, match=r"repghost\.convert\(module\)"):
        repghost.quantize(repghost.prepare_qat(q), IMAGES)


@pytest.mark.parametrize("images", [torch.from_numpy(IMAGES).permute(0, 3, 1, 2), X[0]])
def test_a_module_refuses_bytes_and_a_single_image(q: repghost.QuantizedNetwork, images: torch.Tensor) -> None:
    with pytest.raises(UsageError, match=r"normalized images, floats \[N, C, H, W\], not torch\."):
        repghost.prepare_qat(q)(images)


@pytest.mark.parametrize("call", [repghost.prepare_qat, lambda it: repghost.train_quantized(it, (IMAGES, LABELS))])
def test_a_float_network_is_quantized_first(call: Callable[[nn.Module], object]) -> None:
    with pytest.raises(UsageError, match=r"begins with what repghost\.quantize returns, not Sequential"):
        call(NET)


def test_convert_names_the_layer_that_integers_cannot_hold(q: repghost.QuantizedNetwork) -> None:
    module = repghost.prepare_qat(q)
    with torch.no_grad():
        next(iter(module.source.weight.values())).fill_(torch.nan)
    with pytest.raises(UsageError, match="layer '0': 216 of 216 weight values are NaN"):
        repghost.convert(module)


def test_branches_of_another_network_are_refused(q: repghost.QuantizedNetwork) -> None:
    with pytest.raises(UsageError, match="use mode='fused'"):
        repghost.prepare_qat(q, mode="reparam")
    with pytest.raises(UsageError, match="Did you mean 'fused'"):
        repghost.prepare_qat(q, mode="fusd")


def test_float_weights_go_back_into_the_module_they_came_from(q: repghost.QuantizedNetwork) -> None:
    module = repghost.prepare_qat(q)
    train(module, 3)
    state = module.float_state_dict(NET)
    fresh = copy.deepcopy(NET)
    fresh.load_state_dict(state)
    again = repghost.quantize(fresh, IMAGES, algorithm="percentile").quantized.graph
    for mine, theirs in zip(again.layers(), module.float_layers().values(), strict=True):
        np.testing.assert_allclose(mine.weight, theirs.weight, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(mine.bias, theirs.bias, rtol=1e-5, atol=1e-6)
    assert not torch.equal(state["0.weight"], NET.state_dict()["0.weight"])
    with pytest.raises(UsageError, match="give the module that was quantized"):
        module.float_state_dict()
    with pytest.raises(UsageError, match="layer '0' of the quantized network is no single convolution"):
        module.float_state_dict(nn.Sequential(nn.ReLU(), NET))


@pytest.mark.slow
def test_a_repghostnet_keeps_its_branches_and_its_names() -> None:
    model = lively_model()
    q = repghost.quantize(model, BYTES, algorithm="min_max", preprocess=LIVELY_PREPROCESS, labels=list("abcde"))
    images = torch.from_numpy(LIVELY_PREPROCESS.normalize(BYTES))
    labels = torch.arange(len(BYTES)) % LIVELY_CLASSES
    for mode in ("reparam", "fused"):
        module = repghost.prepare_qat(q, mode, statistics_momentum=0.01 if mode == "reparam" else 0.0)
        nn.functional.cross_entropy(module(images), labels).backward()
        torch.optim.SGD(module.parameters(), 1e-2).step()
        fresh = lively_model(seed=1) if mode == "reparam" else fuse(lively_model(seed=1))
        fresh.load_state_dict(module.float_state_dict())
        expected = {op.name: op for op in module.float_layers().values()}
        found = repghost.quantize(fresh, BYTES, algorithm="min_max", preprocess=LIVELY_PREPROCESS).network.graph
        for op in found.layers():
            np.testing.assert_array_equal(op.weight, expected[op.name].weight, err_msg=op.name)


def test_training_gives_the_same_network_as_the_same_call(q: repghost.QuantizedNetwork, data: repghost.Dataset) -> None:
    told: list[tuple[str, int, int | None]] = []
    candidates: list[str] = []
    steps: list[int] = []
    said: list[str] = []
    first = repghost.train_quantized(
        q, data.train, **SMALL, progress=lambda *given: told.append(given), device="cpu",
        on_candidate=lambda one: candidates.append(one.name), on_step=lambda step: steps.append(step.number),
        say=said.append,
    )  # fmt: skip
    assert said == ["10 steps in all: too few to learn much; take a smaller batch or more epochs"]
    second = repghost.train_quantized(q, str(data.path), **SMALL, workers=1, device=torch.device("cpu"))
    assert first.quantized.onnx == second.quantized.onnx and first.trained
    assert candidates == ["calibrated", "epoch 1", "epoch 2"] and steps == list(range(10))
    assert told[-1] == ("train", 36, 36)
    with pytest.raises(UsageError, match="not in its branches"):
        repghost.train_quantized(first, data.train, mode="reparam")
    assert repghost.train_quantized(first, data.train, **SMALL).trained  # on from where it is


def test_the_arguments_are_the_settings_with_their_defaults() -> None:
    given = inspect.signature(repghost.train_quantized).parameters
    defaults = QatSettings()
    for field in fields(QatSettings):
        if field.name != "schedule":
            assert given[SPELLED.get(field.name, field.name)].default == getattr(defaults, field.name), field.name


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_a_teacher_is_learned_from(kind: str, q: repghost.QuantizedNetwork, data: repghost.Dataset) -> None:
    teacher = copy.deepcopy(NET)
    with torch.no_grad():
        teacher[-1].weight.copy_(NET[-1].weight.roll(1, 0))
        teacher[-1].bias.copy_(NET[-1].bias.roll(1, 0))
    before = copy.deepcopy(teacher.state_dict())
    taught = repghost.train_quantized(
        q, data.train, **SMALL | {"epochs": 12}, teacher=teacher.train(), distill_alpha=1.0, distill_kind=kind
    )
    far, near = (
        distance(torch.from_numpy(one.logits(IMAGES)), teacher.eval()(X).detach(), 1.0, kind) for one in (q, taught)
    )
    assert near < 0.7 * far
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())


def test_a_teacher_with_its_own_preprocessing_sees_the_same_pixels(q: repghost.QuantizedNetwork) -> None:
    from dataclasses import replace

    from repghost.api.training.teachers import open_teacher

    other = copy.deepcopy(NET)
    other.__dict__["preprocess"] = replace(PREPROCESS, mean=(0.1, 0.2, 0.3), std=(0.5, 0.4, 0.3))
    teacher, name = open_teacher(other, PREPROCESS, 3, CLASSES)
    assert teacher is not None and name == "Sequential"
    expected = NET(torch.from_numpy(other.__dict__["preprocess"].normalize(IMAGES)))
    torch.testing.assert_close(teacher(X), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teacher": nn.Sequential(nn.Flatten(), nn.Linear(768, 7))}, "gives 7 classes, the network tells 3 apart"),
        ({"teacher": nn.Linear(3, 3)}, "something of shape|cannot take the network's images"),
        ({"teacher": small_classifier(("red", "dark", "bright"))}, "names its classes otherwise"),
        ({"teacher": "nowhere.safetensors"}, "nowhere.safetensors"),
        ({"distill_kind": "sft"}, "Did you mean 'soft'"),
        ({"amp_dtype": "float8"}, "amp"),
        ({"device": "cuda:1"}, "CUDA_VISIBLE_DEVICES"),
        ({"resume": "auto"}, "give state="),
        ({"batch": 1}, "batch must be"),
    ],
)
def test_what_cannot_be_trained_with_is_refused(
    change: dict[str, object], message: str, q: repghost.QuantizedNetwork, data: repghost.Dataset
) -> None:
    with pytest.raises(UsageError, match=message):
        repghost.train_quantized(q, data.train, **{**SMALL, **change})  # type: ignore[arg-type]


def test_images_without_names_of_classes_are_for_ones_own_loop(q: repghost.QuantizedNetwork) -> None:
    with pytest.raises(UsageError, match="prepare_qat"):
        repghost.train_quantized(q, (IMAGES, LABELS))


def test_ctrl_c_leaves_a_state_to_go_on_from(
    q: repghost.QuantizedNetwork, data: repghost.Dataset, tmp_path: Path
) -> None:
    def interrupt(step: object) -> None:
        if getattr(step, "number", 0) == 3:
            signal.raise_signal(signal.SIGINT)

    state = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt, match=r"run\.pt"):
        repghost.train_quantized(q, data.train, **SMALL, state=state, on_step=interrupt)
    steps: list[int] = []
    resumed = repghost.train_quantized(
        q, data.train, **SMALL, state=state, resume="continue", on_step=lambda step: steps.append(step.number)
    )
    whole = repghost.train_quantized(q, data.train, **SMALL)
    assert steps[0] == 4 and resumed.quantized.onnx == whole.quantized.onnx


def test_bfloat16_trains(q: repghost.QuantizedNetwork, data: repghost.Dataset) -> None:
    losses: list[float] = []
    trained = repghost.train_quantized(
        q, data.train, **SMALL | {"epochs": 4}, amp_dtype="bfloat16", on_step=lambda step: losses.append(step.loss)
    )
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
    assert graph_digest(trained.quantized.graph)


@pytest.mark.slow
def test_a_state_dict_needs_nothing_of_ours(q: repghost.QuantizedNetwork, tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save(repghost.prepare_qat(q).state_dict(), path)
    code = (
        f"import sys, torch; s = torch.load({str(path)!r}); assert s and not set(sys.modules) & {{'repghost', 'calib'}}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_module_is_the_one_of_the_command(q: repghost.QuantizedNetwork) -> None:
    assert issubclass(type(repghost.prepare_qat(q)), QatNetwork)
