"""Files of other training programs: read, or refused with the line that converts them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch.nn.utils import parametrizations, prune

from repghost.checkpoints.checkpoint import build_model, load_model, read_checkpoint, write_checkpoint
from repghost.checkpoints.weight_names import DEEPEST, elsewhere, weights_path
from repghost.cli import cli
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError
from tests.support.networks import images, network
from tests.support.weight_bytes import State, put, state, torch_bytes


def averaged(prefix: str = "") -> State:
    """Return weights that are not those of `state()`."""
    weights = state()
    weights["classifier.bias"] += 1
    return {f"{prefix}{name}": tensor for name, tensor in weights.items()}


def is_averaged(path: Path, **options: Any) -> bool:
    found = read_checkpoint(path, **options).state_dict["classifier.bias"]
    return torch.equal(found, averaged()["classifier.bias"])


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({"module": state(), "ds_version": "0.14", "global_steps": 7}, "module"),  # DeepSpeed
        ({"params": state()}, "params"),  # BasicSR
        ({"net": state(), "acc": 91.2, "epoch": 3}, "net"),
        ({"network": {"state_dict": state()}}, "network.state_dict"),
        ({"model": {"module": state()}, "optimizer": {}}, "model.module"),
        ({"params": {"lr": 0.1}, "state_dict": state()}, "state_dict"),
        ({"state_dict": state(), "losses": torch.ones(3)}, "state_dict"),
        ({"state_dict": state(), "ema": {"decay": torch.tensor(0.999)}}, "state_dict"),
        ({"state_dict": state(), "ema": {"other.weight": torch.ones(2, 2)}}, "state_dict"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_weights_of_a_training_file_are_found(content: State, key: str, tmp_path: Path) -> None:
    path = put(tmp_path, torch_bytes(content))
    checkpoint = read_checkpoint(path)
    assert checkpoint.metadata["weights"] == key and not checkpoint.notes
    assert not is_averaged(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({"params": state(), "params_ema": averaged()}, "params_ema"),  # BasicSR
        ({"model": state(), "ema": averaged(), "updates": 7}, "ema"),
        ({"model": state(), "ema": {"module": averaged()}}, "ema.module"),
        ({"net": state(), "swa_state_dict": {"n_averaged": torch.tensor(3), **averaged("module.")}}, "swa_state_dict"),
        ({"state_dict": state(), "ema_state_dict": averaged()}, "ema_state_dict"),
        ({"model": state(), "average": averaged(), "version": 3, "classes": "[]"}, "average"),  # our state.pt
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_averaged_weights_are_preferred_and_said(content: State, key: str, tmp_path: Path) -> None:
    path = put(tmp_path, torch_bytes(content))
    assert is_averaged(path) and not is_averaged(path, prefer_ema=False)
    (note,) = read_checkpoint(path).notes
    assert f"{key!r} were taken, not {next(iter(content))!r}" in note
    assert ("best.safetensors" in note) == (key == "average")  # what has the better ones, in a folder of ours
    assert not read_checkpoint(path, prefer_ema=False).notes


@pytest.mark.slow
def test_averaged_weights_inside_another_key_are_said(tmp_path: Path) -> None:
    path = put(tmp_path, torch_bytes({"model": {"state_dict": state(), "state_dict_ema": averaged()}}))
    assert is_averaged(path)
    assert read_checkpoint(path).notes == (
        "the averaged weights 'model.state_dict_ema' were taken, not 'state_dict' beside them",
    )


@pytest.mark.parametrize("content", [{"net_g": state()}, {"checkpoint": {0: {"state_dict": averaged("module.")}}}])
def test_weights_under_other_keys_are_refused_with_the_line_that_saves_them(
    content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="under keys that are not known here") as caught:
        read_checkpoint(put(tmp_path, torch_bytes(content)))
    exec(str(caught.value).partition("Save them alone: ")[2], {"torch": torch})
    assert read_checkpoint(tmp_path / "weights.pth").spec.num_classes == 7


def test_two_networks_are_refused_with_the_line_that_leaves_one(tmp_path: Path) -> None:
    content = {
        "state_dict": {**{f"model.{name}": tensor for name, tensor in state().items()}, **averaged("ema_model.module.")}
    }
    with pytest.raises(UsageError, match="it holds 2 networks") as caught:
        read_checkpoint(put(tmp_path, torch_bytes(content)))
    found = {"d": content["state_dict"]}
    exec(str(caught.value).partition("that of the file: ")[2], found)
    assert is_averaged(put(tmp_path, torch_bytes(found["d"])))


def test_a_file_that_holds_itself_many_times_is_looked_through_once() -> None:
    part: dict[Any, Any] = dict.fromkeys(range(3000), 0)
    for _ in range(DEEPEST):
        part = dict.fromkeys(range(3000), part)
    part["state_dict"] = part
    assert elsewhere(part) is None
    assert weights_path(part, prefer_ema=True) == ("state_dict",) * DEEPEST


@pytest.mark.slow
def test_a_command_says_which_weights_it_took(tmp_path: Path) -> None:
    path = put(tmp_path, torch_bytes({"model": state(), "ema": averaged()}))
    done = CliRunner().invoke(cli, ["fuse", str(path), str(tmp_path / "out.safetensors")])
    assert done.exit_code == 0 and "note: the averaged weights 'ema' were taken, not 'model'" in done.stderr


def test_settings_called_ema_are_no_weights(tmp_path: Path) -> None:
    path = put(tmp_path, torch_bytes({"model": state(), "ema": {"decay": 0.999, "steps": 5}}))
    assert read_checkpoint(path).metadata["weights"] == "model"


@torch.no_grad()
def test_counters_of_batches_may_be_absent(tmp_path: Path) -> None:
    weights = {name: tensor for name, tensor in state().items() if not name.endswith("num_batches_tracked")}
    read = load_model(put(tmp_path, torch_bytes(weights)))
    assert torch.equal(read(images()), network()(images()))
    del weights["bn1.running_mean"]
    with pytest.raises(UsageError, match=r"lacks bn1.running_mean\. Was it cut"):
        read_checkpoint(put(tmp_path, torch_bytes(weights)))


def renamed(weights: State, old: str, new: str) -> State:
    return {name.replace(old, new): tensor for name, tensor in weights.items()}


def without(weights: State, part: str) -> State:
    return {name: tensor for name, tensor in weights.items() if not name.startswith(part)}


def masked() -> State:
    model = network()
    prune.l1_unstructured(model.conv_stem, "weight", amount=0.5)
    return model.state_dict()


def normed() -> State:
    model = network()
    parametrizations.weight_norm(model.classifier)
    return model.state_dict()


def with_one_by_one_head() -> State:
    weights = state()
    weights["classifier.weight"] = weights["classifier.weight"][..., None, None]
    return weights


def narrowed() -> State:
    """Return weights of which some channels were taken out."""
    weights = state()
    for name, tensor in weights.items():
        if name.startswith("blocks.2.0.") and tensor.dim():
            weights[name] = tensor[: max(1, len(tensor) - 2)]
    return weights


# what the message says -> the weights; a line in it is Python on `d`, and what it makes is read
MISFITS: list[tuple[str, Callable[[], State]]] = [
    ("with another head: classifier.weight is absent. If 'head.fc'", lambda: renamed(state(), "classifier", "head.fc")),
    ("with another head: classifier.weight is absent. If 'classifier.1'",
     lambda: renamed(state(), "classifier.", "classifier.1.")),
    ("with another head: classifier.weight is absent. Its head has to be one linear layer of 1280",
     lambda: without(state(), "classifier")),
    ("with another head: classifier.weight is absent. Its head has to be one linear layer of 1280",
     lambda: {**renamed(state(), "classifier.", "classifier.0."), "classifier.2.weight": torch.ones(3, 7)}),
    ("with another head: classifier.weight is absent. If 'fc'",
     lambda: without(renamed(state(), "classifier", "fc"), "fc.bias")),
    ("this is not a RepGhostNet: classifier.weight is absent; the file holds 9 tensors",
     lambda: dict(list(state().items())[:9])),
    ("with another head: classifier.weight has the shape 7x1280x1x1. A 1x1 convolution", with_one_by_one_head),
    ("this network with another head; allowed is one linear layer of 1280 features",
     lambda: {**state(), "classifier.weight": torch.zeros(7, 960)}),
    ("For a head without a bias, add zeros", lambda: without(state(), "classifier.bias")),
    ("has the extra aux.weight. All of the network is there", lambda: {**state(), "aux.weight": torch.ones(3, 4)}),
    ("other numbers of channels, as pruning leaves them", narrowed),
    ("conv_stem.weight is empty.*python zero_to_fp32.py",
     lambda: {name: torch.zeros(0) for name in state()}),
    (r"prune.remove\(m, 'weight'\)", masked),
    (r"remove_parametrizations\(m, 'weight'\)", normed),
    ("has the extra blocks.0.0.more. Was it cut, or made for another network",
     lambda: {**state(), "blocks.0.0.more": torch.ones(1)}),
    ("this is not a RepGhostNet: conv_stem.weight is absent", lambda: {"fc.weight": torch.ones(2, 1280)}),
]  # fmt: skip


@pytest.mark.parametrize(("message", "make"), MISFITS, ids=[message[:50] for message, _ in MISFITS])
def test_what_does_not_fit_is_told_from_another_network(
    message: str, make: Callable[[], State], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        read_checkpoint(put(tmp_path, torch_bytes(dict(make()))))
    line = re.search(r"(?:before saving: |linear layer: )(d[ \[].*?)(?: before saving\.)?$", str(caught.value))
    assert bool(line) == any(part in message for part in ("If '", "1x1", "add zeros", "All of the network"))
    if line:
        found = {"d": dict(make()), "torch": torch}
        exec(line[1], found)
        assert read_checkpoint(put(tmp_path, torch_bytes(found["d"]))).spec.num_classes == 7


def test_a_preprocess_without_a_version_says_what_to_add() -> None:
    with pytest.raises(UsageError, match='"version": 1 is missing; add it'):
        Preprocess.from_dict({"size": 64})


def test_values_beside_the_weights_that_are_no_json_do_not_stop_anything(tmp_path: Path) -> None:
    odd = {"metric": float("nan"), "best": float("inf"), "seed": 1 << 70, "note": "\ud800", "log": "x" * 5000}
    checkpoint = read_checkpoint(put(tmp_path, torch_bytes({"state_dict": state(), "epoch": 3, **odd})))
    assert checkpoint.metadata == {"epoch": 3, "weights": "state_dict"}
    write_checkpoint(tmp_path / "copy", build_model(checkpoint), metadata=checkpoint.metadata)
