from __future__ import annotations

import argparse
import io
import json
import pickle
import random
import re
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from repghost.checkpoints.checkpoint import HEADER_KEY, load_model, read_checkpoint, write_checkpoint
from repghost.checkpoints.weight_files import load_archive
from repghost.errors import UsageError
from repghost.network.model import repghost_model_convert
from repghost.network.spec import ModelSpec
from tests.support.networks import network
from tests.support.weight_bytes import State, model, put, safetensors_bytes, state, torch_bytes, training_file


def twice() -> State:
    return {f"{prefix}{name}": tensor for prefix in ("model.", "ema_model.") for name, tensor in state().items()}


def with_head() -> State:
    return {f"model.{name}": tensor for name, tensor in state().items()} | {"head.weight": torch.ones(2, 7)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "absent.pth", "there is no checkpoint"),
        (lambda folder: folder, "is not a file"),
        (lambda folder: put(folder, b""), "has 0 bytes"),
        (lambda folder: put(folder, random.Random(0).randbytes(5000)), "is not a checkpoint"),
        (lambda folder: put(folder, b"PK\x03\x04" + random.Random(0).randbytes(5000)), "damaged or cut short"),
        (lambda folder: put(folder, struct.pack("<Q", 50) + b"{" + random.Random(0).randbytes(99)), "damaged"),
        (lambda folder: put(folder, struct.pack("<Q", 1 << 62) + b"{}"), "is not a checkpoint"),
        (lambda folder: put(folder, b"version https://git-lfs.github.com/spec/v1\noid sha256:0"), "git lfs pull"),
        (lambda folder: put(folder, b"\x08\x08onnx", "net.onnx"), "is ONNX, not a checkpoint"),
        (lambda folder: put(folder, torch_bytes(twice())), "2 networks, .*'model.', 'ema_model.'"),
        (lambda folder: put(folder, torch_bytes(with_head())), "other weights: head.weight"),
        (lambda folder: put(folder, pickle.dumps({"a": 1})), "is not a checkpoint"),
        (lambda folder: put(folder, torch_bytes([1, 2])), "list, not a state dict"),
        (lambda folder: put(folder, torch_bytes({})), "this is not a RepGhostNet"),
        (lambda folder: put(folder, torch_bytes({"epoch": 3})), "'epoch' is a int"),
        (lambda folder: put(folder, torch_bytes({3: torch.zeros(1)})), "'3' is a Tensor"),
        (lambda folder: put(folder, torch_bytes({"a": torch.eye(3).to_sparse()})), "not a dense tensor"),
        (lambda folder: put(folder, torch_bytes({"a": torch.zeros(1).expand(10**9)})), "'a' claims 1000000000 values"),
        (lambda folder: put(folder, torch_bytes(torch.nn.Linear(2, 2).state_dict())), "conv_stem.weight is absent"),
        (lambda folder: put(folder, torch_bytes(training_file(state_dict={}))), "this is not a RepGhostNet"),
        (lambda folder: put(folder, torch_bytes({str(i): torch.empty(0) for i in range(10_001)})), "10001 entries"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
def test_no_checkpoint(make: Callable[[Path], Path], message: str, tmp_path: Path) -> None:
    path = make(tmp_path)
    with pytest.raises(UsageError, match=message) as caught:
        read_checkpoint(path)
    assert caught.value.exit_code == 2
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("container", ["safetensors", "torch"])
def test_a_file_cut_anywhere_is_refused(container: str, tmp_path: Path) -> None:
    data = safetensors_bytes() if container == "safetensors" else torch_bytes(state())
    generator = random.Random(1)
    for length in [1, 7, 9, 100, len(data) - 1, *(generator.randrange(len(data)) for _ in range(8))]:
        with pytest.raises(UsageError):
            read_checkpoint(put(tmp_path, data[:length]))


@pytest.mark.slow
@pytest.mark.parametrize("container", ["safetensors", "torch"])
def test_flipped_bits_are_refused_or_harmless(container: str, tmp_path: Path) -> None:
    small = {name: tensor for name, tensor in state().items() if tensor.numel() < 200}
    data = safetensors.torch.save(small) if container == "safetensors" else torch_bytes(small)
    generator = random.Random(2)
    for _ in range(40):
        flipped = bytearray(data)
        flipped[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        with pytest.raises(UsageError):  # the big tensors are absent, so no flip makes this a network
            read_checkpoint(put(tmp_path, bytes(flipped)))


class Payload:
    """A pickle that runs a command when it is loaded the careless way."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("place", ["alone", "args", "optimizer", "in the state dict"])
def test_a_hostile_pickle_does_not_run(place: str, tmp_path: Path) -> None:
    target = tmp_path / "was-run"
    payload = Payload(target)
    content = {
        "alone": payload,
        "args": training_file(args=payload),
        "optimizer": training_file(optimizer=[payload]),
        "in the state dict": {**state(), "conv_stem.weight": payload},
    }[place]
    data = torch_bytes(content)
    with pytest.raises(
        UsageError, match=r"is refused and nothing in it was run: it asks for 'pathlib.*Path.touch'|getattr"
    ):
        read_checkpoint(put(tmp_path, data))
    assert not target.exists()
    torch.load(io.BytesIO(data), weights_only=False)  # the payload works
    assert target.exists()


def test_a_namespace_smuggles_nothing(tmp_path: Path) -> None:
    target = tmp_path / "was-run"
    with pytest.raises(UsageError, match="nothing in it was run"):
        read_checkpoint(put(tmp_path, torch_bytes(training_file(args=argparse.Namespace(x=Payload(target))))))
    assert not target.exists()


def test_a_whole_pickled_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"RepGhostNet.*torch.save\(model.state_dict\(\), path\)"):
        read_checkpoint(put(tmp_path, torch_bytes(model())))


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 50_000_000)
    with pytest.raises(UsageError, match="compressed archive"):
        read_checkpoint(put(tmp_path, bomb.getvalue()))


class Allocates:
    """A pickle that makes a bytearray."""

    def __reduce__(self) -> tuple:
        return bytearray, (1 << 20,)


def two_views(hidden: bytes, shown: bytes) -> bytes:
    """Return an archive that torch reads as one, and Python as another with as many members.

    The end says where the list of members begins, which torch takes as it is; Python takes what lies before the end.
    """
    end = hidden[-22:]
    size, start = struct.unpack("<2I", end[12:20])
    shown_start = struct.unpack("<I", shown[-6:-2])[0]
    listed = bytearray(shown[shown_start : shown_start + size])
    for entry in re.finditer(b"PK\1\2", bytes(listed)):
        place = slice(entry.start() + 42, entry.start() + 46)
        listed[place] = struct.pack("<I", struct.unpack("<I", listed[place])[0] + start - shown_start)
    return hidden[: start + size] + shown[:shown_start] + listed + end


def test_an_archive_that_torch_reads_in_another_way_is_read_as_it_was_checked() -> None:
    tensor = torch.ones(4)
    data = two_views(torch_bytes({"a": tensor, "b": Allocates()}), torch_bytes({"a": tensor}))
    assert len(torch.load(io.BytesIO(data), weights_only=True)["b"]) == 1 << 20, "the trick works"
    assert list(load_archive(data, Path("file"))) == ["a"]


def test_a_value_that_torch_does_not_read_is_named_without_its_advice(tmp_path: Path) -> None:
    path = put(tmp_path, torch_bytes(training_file(epoch=10**1000)))
    with pytest.raises(UsageError, match=r"cut short \(Unsupported operand \d+\)"):
        read_checkpoint(path)


def replace(name: str, tensor: torch.Tensor) -> Callable[[State], None]:
    return lambda weights: weights.update({name: tensor})


def edit(name: str, value: float) -> Callable[[State], None]:
    return lambda weights: weights[name].view(-1)[0].fill_(value)


DAMAGE = [
    (lambda weights: weights.pop("conv_head.bias"), "lacks conv_head.bias. Was it cut"),
    (
        lambda weights: [weights.pop(name) for name in list(weights) if "blocks.8" in name],
        "lacks blocks.8.* and 117 more",
    ),
    (replace("extra.weight", torch.zeros(1)), "has the extra extra.weight"),
    (replace("conv_head.weight", torch.zeros(1280, 480)), "conv_head.weight is 1280x480 and should be 1280x480x1x1"),
    (replace("conv_head.weight", torch.zeros(1280, 484, 1, 1)), "conv_head.weight is 1280x484x1x1 and should be"),
    (replace("blocks.0.0.ghost1.primary_conv.0.weight", torch.zeros(8, 8, 1, 1)), "is 8x8x1x1 and should be 4x8x1x1"),
    (replace("bn1.num_batches_tracked", torch.zeros(2, dtype=torch.int64)), "is 2 and should be a scalar"),
    (replace("classifier.bias", torch.zeros(())), "classifier.bias is a scalar and should be 7"),
    (replace("conv_stem.weight", torch.zeros(3)), "not a RepGhostNet: conv_stem.weight has the shape 3"),
    (replace("classifier.bias", torch.zeros(7, dtype=torch.float64)), "classifier.bias has the type torch.float64"),
    (replace("classifier.bias", torch.zeros(7, dtype=torch.int64)), "classifier.bias has the type torch.int64"),
    (replace("bn1.num_batches_tracked", torch.tensor(0.0)), "bn1.num_batches_tracked has the type torch.float32"),
    (edit("classifier.weight", torch.nan), "classifier.weight holds 1 values that are NaN or infinite"),
    (edit("bn1.running_mean", torch.inf), "bn1.running_mean holds 1 values that are NaN or infinite"),
    (edit("blocks.3.0.bn_dw.running_var", -0.5), r"running_var holds a negative variance \(-0.5\)"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("damage", "message"), DAMAGE, ids=[message[:40] for _, message in DAMAGE])
@pytest.mark.parametrize("own", [False, True], ids=["foreign", "own"])
def test_a_state_dict_with_a_flaw(damage: Callable[[State], Any], message: str, own: bool, tmp_path: Path) -> None:
    weights = state()
    damage(weights)
    header = {"version": 1, "spec": model().spec.to_dict(), "metadata": {}}
    data = safetensors.torch.save(weights, {HEADER_KEY: json.dumps(header)} if own else None)
    if own and "not a RepGhostNet" in message:
        message = "conv_stem.weight is 3 and should be 8x3x3x3"
    with pytest.raises(UsageError, match=message):
        read_checkpoint(put(tmp_path, data))


def test_a_variance_of_zero_is_a_dead_channel_and_fine(tmp_path: Path) -> None:
    weights = state()
    edit("bn1.running_var", 0.0)(weights)
    assert read_checkpoint(put(tmp_path, torch_bytes(weights))).spec.width == 0.5


def test_another_width_or_form_than_asked_for(tmp_path: Path) -> None:
    path = put(tmp_path, torch_bytes(repghost_model_convert(model()).state_dict()))
    assert read_checkpoint(path, width=0.5, form="deploy").spec.width == 0.5
    with pytest.raises(UsageError, match=r"width 0\.5, not 1"):
        read_checkpoint(path, width=1.0)
    with pytest.raises(UsageError, match=r"deploy form .*train form"):
        load_model(path, form="train")
    with pytest.raises(UsageError, match="Did you mean 'bn'"):
        read_checkpoint(path, branches="bm")  # type: ignore[arg-type]


GOOD_HEADER: dict[str, Any] = {"version": 1, "spec": ModelSpec(0.5, 7).to_dict(), "metadata": {}}
HEADERS = [
    ("not json", "its header is not JSON"),
    ("[" * sys.getrecursionlimit() * 4, "its header is not JSON"),
    ("[1]", "its header has no version"),
    (json.dumps({}), "its header has no version"),
    (json.dumps({**GOOD_HEADER, "version": 2}), "version 2; this program reads version 1. Update"),
    (json.dumps({**GOOD_HEADER, "version": True}), "version True; this program reads version 1. Update"),
    (json.dumps({**GOOD_HEADER, "spec": None}), "its header's 'spec' is a NoneType"),
    (json.dumps({**GOOD_HEADER, "spec": {"widht": 1}}), "unknown key in the model's spec 'widht'"),
    (json.dumps({**GOOD_HEADER, "spec": {"width": 1e9}}), "the width must be above 0 and at most 16"),
    (json.dumps({**GOOD_HEADER, "spec": {"width": 16.0, "num_classes": 7}}), "it does not fit a repghostnet_16_0x"),
    (json.dumps({**GOOD_HEADER, "spec": {**GOOD_HEADER["spec"], "form": "fused"}}), "fused form.*lacks conv_stem.bias"),
    (json.dumps({**GOOD_HEADER, "labels": ["a"]}), "1 labels for 7 classes"),
    (json.dumps({**GOOD_HEADER, "labels": [1, 2, 3, 4, 5, 6, 7]}), "7 labels for 7 classes; each class needs one text"),
    (json.dumps({**GOOD_HEADER, "labels": "abcdefg"}), "its header's 'labels' is a str"),
    (json.dumps({**GOOD_HEADER, "metadata": 3}), "its header's 'metadata' is a int"),
    (json.dumps({**GOOD_HEADER, "preprocess": []}), "its header's 'preprocess' is a list"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("text", "message"), HEADERS, ids=[message[:40] for _, message in HEADERS])
def test_a_header_with_a_flaw(text: str, message: str, tmp_path: Path) -> None:
    path = put(tmp_path, safetensors.torch.save(model().state_dict(), {HEADER_KEY: text}))
    with pytest.raises(UsageError, match=message):
        read_checkpoint(path)


# Files that are not written.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": ["a"]}, "1 labels for 7 classes"),
        ({"metadata": {"x": object()}}, "must be JSON values"),
        ({"metadata": {"x": float("nan")}}, "must be JSON values"),
        ({"preprocess": {"x": {1, 2}}}, "must be JSON values"),
    ],
)
def test_nothing_is_written_that_could_not_be_read(arguments: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        write_checkpoint(tmp_path / "a.safetensors", model(), **arguments)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    broken = network()
    broken.classifier.bias.data[0] = torch.nan
    with pytest.raises(UsageError, match=r"classifier.bias holds 1 values that are NaN"):
        write_checkpoint(tmp_path / "a.safetensors", broken)
    assert list(tmp_path.iterdir()) == []
