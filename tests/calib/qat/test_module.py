"""The network in training as an ordinary module: checkpoints, devices, precisions, averages, compilation."""

from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from timm.utils import ModelEmaV3
from torch.optim.swa_utils import AveragedModel

from calib.integer.qparams import QParams
from calib.qat.branch_weights import BranchWeights
from calib.qat.convertible import check_convertible
from calib.qat.network import QatNetwork
from calib.qat.scales import ActivationScale, Int32WeightScales
from calib.qat.weights import FusedWeights, key
from calib.simulate import fake_quantize as simulated
from calib.simulate.fake_quantize import fake_quantize
from repghost.errors import UsageError
from repghost.graph.digest import graph_digest
from repghost.graph.trace import graph_of
from repghost.network.fuse import fuse
from tests.support import qat_processes
from tests.support.lively_network import lively_model, random_images
from tests.support.quantized_graphs import IMAGES, PREPROCESS, assert_same_integers, quantize
from tests.support.random_graphs import CLASSES, Builder, random_graph
from tests.support.two_processes import TwoProcesses

LABELS = torch.arange(len(IMAGES)) % CLASSES
X = torch.from_numpy(PREPROCESS.normalize(IMAGES))
# A depthwise layer with int16 accumulators, a residual sum, a table, slopes by channel, and a join of several scales.
KINDS = (Builder.depthwise, Builder.residual, Builder.function, Builder.slopes, Builder.concat)


@pytest.fixture(scope="module")
def start() -> QatNetwork:
    graph, spec = quantize(random_graph(4, KINDS, length=6))
    assert "int16" in spec.accumulators.values()
    return QatNetwork(graph, spec, FusedWeights(graph))


@pytest.fixture
def network(start: QatNetwork) -> QatNetwork:
    return copy.deepcopy(start).train()


def train(network: torch.nn.Module, steps: int = 2, images: torch.Tensor = X, labels: torch.Tensor = LABELS) -> float:
    core = getattr(network, "module", network)
    optimizer = torch.optim.Adam(core.parameter_groups(0.02, 0.02))
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def digest(network: QatNetwork) -> tuple[str, str]:
    graph, spec = network.convert()
    return graph_digest(graph), repr(sorted(spec.to_dict()["activations"].items()))


@pytest.mark.parametrize("frozen", [False, True])
def test_a_checkpoint_goes_into_a_fresh_module_and_back(frozen: bool, start: QatNetwork, network: QatNetwork) -> None:
    train(network)
    if frozen:
        network.freeze_observers()
        network.freeze_statistics()
        train(network, 1)
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    other = copy.deepcopy(start)
    other.load_state_dict(torch.load(file, weights_only=True))  # plain tensors: strict, and nothing of ours needed
    with torch.no_grad():
        assert torch.equal(other.eval()(X), network.eval()(X))
    assert digest(other) == digest(network)
    assert start.state_dict().keys() == network.state_dict().keys()


def test_what_changes_in_training_is_in_the_state(network: QatNetwork) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    train(network, 4)
    network.replan()
    network.freeze_observers()
    after = network.state_dict()
    changed = {name.rsplit(".", 1)[-1] for name in before if not torch.equal(before[name], after[name])}
    assert {"start", "log_growth", "multiplier", "final", "frozen"} <= changed
    restored = copy.deepcopy(network)
    restored.load_state_dict(before)
    assert not restored.scales.frozen and network.scales.frozen


def test_the_state_of_another_calibration_is_refused(network: QatNetwork) -> None:
    state = network.state_dict()
    name = next(name for name in state if name.endswith(".zero"))
    state[name] = state[name] + 1
    with pytest.raises(RuntimeError, match="calibrated on other pictures"):
        network.load_state_dict(state)


def test_frozen_scales_stay_whatever_an_optimizer_does_to_their_parameters(network: QatNetwork) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2, weight_decay=0.1)
    for step in range(3):
        if step == 1:
            network.freeze_observers()
            spec = network.convert()[1]
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(X), LABELS).backward()
        optimizer.step()
    for parameter in network.scales.parameters():
        assert not parameter.requires_grad or not parameter.grad.any()
    after = network.convert()[1]
    assert after.activations == spec.activations
    for name, scales in spec.weight_scales.items():
        np.testing.assert_array_equal(scales, after.weight_scales[name])


def test_copies_and_pickles_are_independent_and_equal(network: QatNetwork) -> None:
    train(network)
    other, third = copy.deepcopy(network), pickle.loads(pickle.dumps(network))
    assert digest(other) == digest(network) == digest(third)
    train(other, 1)
    assert digest(other) != digest(network)


@pytest.mark.parametrize("mode", ["fused", "reparam"])
def test_everything_moves_to_another_device_and_type(mode: str, start: QatNetwork) -> None:
    network = copy.deepcopy(start)
    if mode == "reparam":
        model = lively_model()
        graph = graph_of(fuse(model))
        network = QatNetwork(*quantize(graph), BranchWeights(model, 0.1))
    tensors = [*network.named_parameters(), *network.named_buffers()]
    assert {name for name, _ in tensors} == network.state_dict().keys()
    for module in network.modules():  # nothing beside them that `.to` would leave behind
        held = {id(tensor) for tensor in (*module._parameters.values(), *module._buffers.values())}
        stray = [
            name for name, value in vars(module).items() if isinstance(value, torch.Tensor) and id(value) not in held
        ]
        assert not stray
    assert {tensor.dtype for _, tensor in network.double().named_parameters()} == {torch.float64}
    assert {t.dtype for t in network.buffers()} <= {torch.float64, torch.int32, torch.int64, torch.bool}
    network.to("meta")
    assert {tensor.device.type for tensor in network.state_dict().values()} == {"meta"}


def test_a_step_reads_and_makes_nothing_on_the_cpu() -> None:
    """On the meta device a constant of the CPU, or reading a number back, is an error."""
    graph, spec = quantize(random_graph(4, KINDS, length=6), {"depthwise_accumulator": "int32"})
    network = QatNetwork(graph, spec, FusedWeights(graph)).to("meta").train()
    loss = torch.nn.functional.cross_entropy(network(X.to("meta")), LABELS.to("meta"))
    loss.backward()
    assert all(p.grad is not None and p.grad.device.type == "meta" for p in network.parameters() if p.requires_grad)


def test_the_scale_as_a_tensor_gives_the_bits_of_the_scale_as_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for number in (simulated._number, lambda scale: scale):
        monkeypatch.setattr(simulated, "_number", number)
        x = torch.linspace(-3, 3, 4096).reshape(1, 4, 32, 32).requires_grad_()
        growth = torch.tensor(0.137, requires_grad=True)
        y = fake_quantize(x, growth, -57, 198, torch.tensor(0.0123))
        y.backward(torch.cos(x.detach() * 7))
        results.append((y, x.grad, growth.grad))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_autocast_computes_quantizers_in_float32(network: QatNetwork) -> None:
    scores = network(X).detach()
    seen: list[torch.dtype] = []
    for module in network.modules():
        if isinstance(module, ActivationScale):
            module.register_forward_hook(lambda _, given, made: seen.extend((made.dtype,)))
    with torch.autocast("cpu", torch.bfloat16):
        half = network(X)
        loss = torch.nn.functional.cross_entropy(half, LABELS)
    loss.backward()
    assert half.dtype == torch.float32 and set(seen) == {torch.float32}
    assert float((half.detach() - scores).abs().max()) < 0.1 * float(scores.abs().max())
    assert all(
        p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in network.parameters() if p.requires_grad
    )


@pytest.mark.parametrize("kind", ["timm", "torch"])
def test_averages_follow_and_convert(kind: str, network: QatNetwork, tmp_path: Path) -> None:
    average = ModelEmaV3(network, decay=0.5) if kind == "timm" else AveragedModel(network)
    update = average.update if kind == "timm" else average.update_parameters
    for step in range(4):
        train(network, 1)
        if step == 2:
            network.freeze_observers()
        update(network)
    averaged = average.module
    assert averaged.scales.frozen
    graph, spec = averaged.eval().convert()
    check_convertible(graph, spec)
    assert_same_integers(graph, spec, tmp_path)
    assert digest(averaged) != digest(network)


def test_scales_go_by_the_flag_that_came_with_the_buffers(network: QatNetwork) -> None:
    """Averages and `DistributedDataParallel` copy buffers in place; no attribute beside them may say otherwise."""
    train(network)
    other = copy.deepcopy(network)
    network.freeze_observers()
    for mine, theirs in zip(other.state_dict().values(), network.state_dict().values(), strict=True):
        mine.copy_(theirs)
    assert digest(other) == digest(network)
    with torch.no_grad():
        assert torch.equal(other.eval()(X), network.eval()(X))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_torch_compile_gives_the_same_gradients() -> None:
    """In one graph without int16 layers: reducing their weights to a limit takes as many steps as the numbers say."""
    graph, spec = quantize(random_graph(4, KINDS, length=6), {"depthwise_accumulator": "int32"})
    network = QatNetwork(graph, spec, FusedWeights(graph)).train()
    compiled = torch.compile(copy.deepcopy(network), backend="aot_eager", fullgraph=True)
    scores = [each(X) for each in (network, compiled)]
    torch.testing.assert_close(scores[1], scores[0])
    for each in scores:
        torch.nn.functional.cross_entropy(each, LABELS).backward()
    for mine, theirs in zip(network.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


@pytest.mark.slow
def test_two_processes_with_half_of_each_batch_train_as_one(tmp_path: Path, two_processes: TwoProcesses) -> None:
    two_processes.help(tmp_path, module="qat_processes")
    first, second = (torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True) for rank in range(2))
    whole = qat_processes.trained(0, 1)
    assert first.keys() == whole.keys()
    for name, tensor in whole.items():
        assert torch.equal(first[name], second[name]), name
        # Sums of float32 gradients in another order; a weight may then round to the other neighbour of its int8 step.
        torch.testing.assert_close(first[name], tensor, rtol=1e-4, atol=1e-4, msg=name)
    assert bool(whole["scales.frozen"])


def test_layers_that_read_16_bits_train_and_convert(tmp_path: Path) -> None:
    graph = random_graph(4, (Builder.dense, Builder.residual, Builder.depthwise))
    chosen = list(graph.layers())[1].name
    start = quantize(graph, {"layers": {chosen: {"activations": "int16"}}})
    assert any(qparams.is_wide for qparams in start[1].activations.values())
    network = QatNetwork(*start, FusedWeights(start[0])).train()
    first = train(network, 1)
    train(network, 3)
    network.freeze_observers()
    assert train(network, 1) < first
    converted = network.convert()
    check_convertible(*converted)
    assert_same_integers(*converted, tmp_path)


def first_layer(network: QatNetwork) -> str:
    return next(iter(network.float_layers()))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("what", ["weight", "bias"])
def test_weights_that_are_no_numbers_are_refused_with_their_layer(what: str, value: float, network: QatNetwork) -> None:
    name = first_layer(network)
    with torch.no_grad():
        getattr(network.source, what)[key(name)].view(-1)[0] = value
    for act in (network.convert, network.freeze_observers, network.replan):
        with pytest.raises(UsageError, match=rf"layer '{name}'.*{what} values are NaN or infinite"):
            act()


@pytest.mark.parametrize("value", [float("nan"), -200.0, 200.0])
def test_a_scale_that_is_no_number_is_refused_with_its_tensor(value: float, network: QatNetwork) -> None:
    name = first_layer(network)
    with torch.no_grad():
        network.scales.activation[key(name)].log_growth.fill_(value)
    with pytest.raises(UsageError, match=f"tensor '{name}': its scale is"):
        network.convert()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, -1.0])
def test_a_weight_scale_that_is_no_number_is_refused_with_its_layer(value: float, network: QatNetwork) -> None:
    name, scales = next(
        (name, network.scales._weight(name))
        for name in network.float_layers()
        if isinstance(network.scales._weight(name), Int32WeightScales)
    )
    network.freeze_observers()
    scales.start[0] = value
    with pytest.raises(UsageError, match=f"layer '{name}': the weight scale of channel 0"):
        network.convert()


def test_an_accumulator_that_overflows_is_refused_with_its_layer(network: QatNetwork) -> None:
    network.freeze_observers()  # so that the scale cannot grow with the bias
    name = first_layer(network)
    with torch.no_grad():
        network.source.bias[key(name)][0] = 1e9
    with pytest.raises(UsageError, match=rf"layer '{name}'"):
        check_convertible(*network.convert())


def test_a_scale_below_every_normal_number_is_refused() -> None:
    with pytest.raises(UsageError, match="finite normal float32"):
        QParams(0.0)


@pytest.mark.slow
def test_branch_statistics_freeze_by_a_buffer() -> None:
    weights = BranchWeights(lively_model(), 0.1)
    assert weights.observes
    weights.freeze_statistics()
    assert not weights.observes and bool(weights.state_dict()["frozen"])
    fresh = BranchWeights(lively_model(), 0.1)
    fresh.load_state_dict(weights.state_dict())
    assert not fresh.observes
    before = fresh.model.bn1.running_mean.clone()
    graph = graph_of(fuse(lively_model()))
    network = QatNetwork(*quantize(graph), fresh).train()
    network(torch.from_numpy(random_images(2)))
    assert torch.equal(before, fresh.model.bn1.running_mean)
