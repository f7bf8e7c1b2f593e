from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from repghost.checkpoints.checkpoint import build_model, read_checkpoint, write_checkpoint
from repghost.errors import UsageError
from repghost.network.fuse import fuse
from repghost.network.model import RepGhostNet, repghost_model_convert
from repghost.network.spec import WIDTHS, ModelSpec
from repghost.untrusted import file_digest
from tests.support import SHARED
from tests.support.networks import images, network
from tests.support.tensors import differing
from tests.support.weight_bytes import LABELS, PREPROCESS, model, put, state, torch_bytes, training_file

TRAINED = SHARED / "weights"


@pytest.mark.parametrize("form", ["train", "deploy", "fused"])
@torch.no_grad()
def test_a_written_file_comes_back_whole(form: str, tmp_path: Path) -> None:
    wanted = {"train": lambda same: same, "deploy": repghost_model_convert, "fused": fuse}[form](
        network(branches="both", shortcut=False, dropout=0.1)
    )
    path = tmp_path / "model.safetensors"
    digest = write_checkpoint(path, wanted, PREPROCESS, LABELS, {"epoch": 3, "note": "é"})
    checkpoint = read_checkpoint(path)
    assert checkpoint.spec == wanted.spec and checkpoint.spec.form == form
    assert checkpoint.spec.branches == "both" and not checkpoint.spec.shortcut and checkpoint.spec.dropout == 0.1
    assert (checkpoint.preprocess, checkpoint.labels) == (PREPROCESS, tuple(LABELS))
    assert checkpoint.metadata == {"epoch": 3, "note": "é"}
    assert checkpoint.digest == digest == file_digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    built = build_model(checkpoint)
    assert not built.training
    assert list(built.state_dict()) == list(wanted.state_dict())
    assert torch.equal(built(images()), wanted(images()))


def test_equal_networks_give_equal_files(tmp_path: Path) -> None:
    first = write_checkpoint(tmp_path / "a.safetensors", model(), PREPROCESS, LABELS, {"b": 1, "a": 2})
    second = write_checkpoint(tmp_path / "b.safetensors", model(), PREPROCESS, LABELS, {"a": 2, "b": 1})
    assert first == second


@torch.no_grad()
def test_training_changes_the_model_and_not_the_checkpoint(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a.safetensors", model())
    checkpoint = read_checkpoint(tmp_path / "a.safetensors")
    built = build_model(checkpoint)
    built.classifier.weight.zero_()
    assert checkpoint.state_dict["classifier.weight"].abs().sum() > 0
    assert all(parameter.requires_grad and parameter.device.type == "cpu" for parameter in built.parameters())


@pytest.mark.parametrize("convert", [lambda same: same, repghost_model_convert, fuse], ids=["train", "deploy", "fused"])
@pytest.mark.parametrize("container", ["safetensors", "torch"])
def test_foreign_files_say_nothing_and_are_recognized(convert: Callable, container: str, tmp_path: Path) -> None:
    wanted = convert(model())
    weights = wanted.state_dict()
    data = safetensors.torch.save(weights, {"format": "pt"}) if container == "safetensors" else torch_bytes(weights)
    checkpoint = read_checkpoint(put(tmp_path, data))
    assert checkpoint.spec == wanted.spec
    assert checkpoint.preprocess is None and checkpoint.labels is None
    assert checkpoint.metadata == ({"format": "pt"} if container == "safetensors" else {})
    assert all(map(torch.equal, checkpoint.state_dict.values(), weights.values()))


@pytest.mark.slow
@pytest.mark.parametrize("width", [row.multiplier for row in WIDTHS] + [0.1, 0.35, 0.75, 1.25, 3.0])
def test_the_width_is_found_from_shapes(width: float, tmp_path: Path) -> None:
    weights = RepGhostNet(width, 3, in_chans=1, enable_se=width < 1).state_dict()
    checkpoint = read_checkpoint(put(tmp_path, torch_bytes(weights)))
    assert checkpoint.spec == ModelSpec(width, 3, 1, enable_se=width < 1)


@pytest.mark.slow
def test_timms_training_file(tmp_path: Path) -> None:
    averaged = state()
    averaged["classifier.bias"] += 1
    path = put(tmp_path, torch_bytes(training_file(state_dict_ema=averaged)))
    checkpoint = read_checkpoint(path)
    assert torch.equal(checkpoint.state_dict["classifier.bias"], averaged["classifier.bias"])
    assert checkpoint.metadata["weights"] == "state_dict_ema"
    assert checkpoint.metadata["epoch"] == 3 and checkpoint.metadata["metric"] == 66.9
    raw = read_checkpoint(path, prefer_ema=False)
    assert torch.equal(raw.state_dict["classifier.bias"], model().classifier.bias)
    assert raw.metadata["weights"] == "state_dict"


def test_a_training_file_without_averaged_weights(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(put(tmp_path, torch_bytes(training_file())))
    assert checkpoint.metadata["weights"] == "state_dict"


@pytest.mark.slow
@pytest.mark.parametrize("container", ["safetensors", "torch"])
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model.", "net.", "model.backbone."])
def test_prefixes_of_wrappers_are_stripped(prefix: str, container: str, tmp_path: Path) -> None:
    weights = {f"{prefix}{name}": tensor for name, tensor in state().items()}
    weights["n_averaged"] = torch.tensor(5)  # of torch's AveragedModel
    weights["criterion.weight"] = torch.ones(7)
    data = safetensors.torch.save(weights) if container == "safetensors" else torch_bytes(weights)
    checkpoint = read_checkpoint(put(tmp_path, data))
    wanted = model().state_dict()
    assert list(checkpoint.state_dict) == list(wanted)
    assert differing(checkpoint.state_dict, wanted) == []


@pytest.mark.parametrize("key", ["model", "model_state_dict", "state_dict"])
def test_training_files_of_other_loops(key: str, tmp_path: Path) -> None:
    content = {key: state(), "epoch": 2, "hyper_parameters": {"lr": 0.1}}
    checkpoint = read_checkpoint(put(tmp_path, torch_bytes(content)))
    assert checkpoint.metadata == {"weights": key, "epoch": 2}


@pytest.mark.slow
def test_torchvisions_training_file(tmp_path: Path) -> None:
    averaged = {f"module.{name}": tensor for name, tensor in state().items()}
    averaged["module.classifier.bias"] += 1
    path = put(tmp_path, torch_bytes({"model": state(), "model_ema": {"n_averaged": torch.tensor(3), **averaged}}))
    assert torch.equal(read_checkpoint(path).state_dict["classifier.bias"], averaged["module.classifier.bias"])
    raw = read_checkpoint(path, prefer_ema=False)
    assert torch.equal(raw.state_dict["classifier.bias"], model().classifier.bias)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(dtype: torch.dtype, tmp_path: Path) -> None:
    weights = {name: t.to(dtype) if t.is_floating_point() else t for name, t in state().items()}
    checkpoint = read_checkpoint(put(tmp_path, torch_bytes(weights)))
    assert torch.equal(checkpoint.state_dict["conv_head.weight"], weights["conv_head.weight"].float())


@pytest.mark.parametrize("branches", ["identity", "none"])
def test_invisible_branches_have_to_be_named(branches: str, tmp_path: Path) -> None:
    path = put(tmp_path, torch_bytes(network(branches=branches).state_dict()))
    with pytest.raises(UsageError, match="branches='identity' or branches='none'"):
        read_checkpoint(path)
    assert read_checkpoint(path, branches=branches).spec.branches == branches
    own = tmp_path / "own.safetensors"
    write_checkpoint(own, network(branches=branches))
    assert read_checkpoint(own).spec.branches == branches


@pytest.mark.parametrize("name", ["050", "080", "100"])
@torch.no_grad()
def test_really_trained_weights(name: str) -> None:
    path = TRAINED / f"repghostnet_{name}.cifar10-64px.safetensors"
    if not path.exists():
        pytest.skip(f"{path.name} is not on this machine")
    checkpoint = read_checkpoint(path)
    assert checkpoint.spec == ModelSpec(int(name) / 100, 10)
    assert checkpoint.metadata["num_classes"] == "10"
    trained = build_model(checkpoint)
    x = images()
    assert torch.allclose(fuse(trained)(x), trained(x), rtol=0, atol=5e-6)


def test_a_header_may_say_null_instead_of_texts(tmp_path: Path) -> None:
    data = safetensors.torch.save(model().state_dict())
    length = int.from_bytes(data[:8], "little")
    header = b'{"__metadata__":null,' + data[9 : 8 + length].rstrip()
    path = put(tmp_path, len(header).to_bytes(8, "little") + header + data[8 + length :], "weights.safetensors")
    assert differing(read_checkpoint(path).state_dict, model().state_dict()) == []
