"""Any part of a checkpoint changed: it is read, or refused with a sentence."""

from __future__ import annotations

import io
import json
import random
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repghost.checkpoints.checkpoint import HEADER_KEY, read_checkpoint
from repghost.checkpoints.weight_files import parse_weights
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError
from repghost.network.model import RepGhostNet
from repghost.training.recipe import RECIPES
from repghost.training.state.state import VERSION, read_state, write_state
from tests.support.odd_values import changed_json
from tests.support.weight_bytes import put, torch_bytes

QUICK = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
WIDTH = 0.1
# One byte of a pickle: the instructions that torch.save writes and some that it does not.
INSTRUCTIONS = b"N.(0)]}tbRseQuqrhjcXKMJ\x80\x81\x82\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8e\x93\x94\x95\x96Gio2aSTUVBIL"


@pytest.fixture(scope="module")
def model() -> RepGhostNet:
    torch.manual_seed(0)
    return RepGhostNet(WIDTH, 3, deploy=True)


@pytest.mark.slow
@settings(QUICK, max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_a_changed_header_is_read_or_refused(model: RepGhostNet, tmp_path: Path, seed: int) -> None:
    header = {
        "version": 1,
        "spec": model.spec.to_dict(),
        "preprocess": Preprocess().to_dict(),
        "labels": ["a", "b", "c"],
        "metadata": {"recipe": {"name": "demo"}, "weights": "state_dict"},
    }
    text = json.dumps(changed_json(header, seed))
    try:
        found = read_checkpoint(put(tmp_path, safetensors.torch.save(model.state_dict(), {HEADER_KEY: text})))
        Preprocess.from_dict(found.preprocess or Preprocess().to_dict())
    except UsageError as error:
        assert str(error)


@settings(QUICK, max_examples=150)
@given(st.integers(0, 2**32 - 1))
def test_a_changed_pickle_is_read_or_refused(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    content = {"state_dict": {"a": torch.ones(2), "b": torch.zeros(1, 2)}, "epoch": 3, "args": {"x": [1, (2, 3)]}}
    data = torch_bytes(content)
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as given, zipfile.ZipFile(changed, "w") as written:
        for name in given.namelist():
            part = bytearray(given.read(name))
            for _ in range(rng.randint(1, 4) if name.endswith("data.pkl") else 0):
                at = rng.randrange(len(part))
                end = at + rng.choice((0, 1, 1, 8))
                part[at:end] = rng.choice(
                    ([rng.choice(INSTRUCTIONS)], rng.randbytes(4), part[rng.randrange(len(part)) :][:9])
                )
            written.writestr(name, bytes(part))
    try:
        parse_weights(changed.getvalue(), tmp_path)
    except UsageError as error:
        assert str(error)


STATE = {
    "recipe": RECIPES["demo"].to_dict(),
    "classes": ["a", "b"],
    "history": [
        {"epoch": 1, "loss": 1.0, "train_top1": 0.5, "learning_rate": 0.1, "seconds": 1.0, "pictures_per_second": 9.0}
    ],
    "progress": {"batches": 1, "loss": 0.5, "right": 3, "seconds": 1.0},
}


@settings(QUICK, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_a_changed_state_is_read_or_refused(tmp_path: Path, seed: int) -> None:
    key = random.Random(seed).choice(list(STATE))
    texts = {name: json.dumps(changed_json(value, seed) if name == key else value) for name, value in STATE.items()}
    rest = {"model": {}, "average": {}, "optimizer": {}, "scaler": {}, "random": []}
    path = put(tmp_path, torch_bytes({"version": VERSION, **texts, **rest}))
    try:
        state = read_state(path)
        assert all(isinstance(record.loss, float) for record in state.history)
        write_state(path, state)
    except UsageError as error:
        assert str(error)
