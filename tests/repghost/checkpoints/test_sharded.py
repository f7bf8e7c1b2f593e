from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from repghost.checkpoints import sharded
from repghost.checkpoints.checkpoint import read_checkpoint
from repghost.errors import UsageError
from tests.support.weight_bytes import state, torch_bytes

NAMES = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def write_index(folder: Path, where: object, name: str = "model.safetensors.index.json") -> Path:
    path = folder / name
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    return path


def write_shards(folder: Path, names: tuple[str, str] = NAMES, save: Any = safetensors.torch.save) -> dict[str, str]:
    """Write the weights as two files; return which holds which."""
    folder.mkdir(exist_ok=True)
    weights = list(state().items())
    where: dict[str, str] = {}
    for name, part in zip(names, (weights[:300], weights[300:]), strict=True):
        (folder / name).write_bytes(save(dict(part)))
        where |= dict.fromkeys(dict(part), name)
    return where


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "index", "save"),
    [
        (NAMES, "model.safetensors.index.json", safetensors.torch.save),
        (("m-1.bin", "m-2.bin"), "pytorch_model.bin.index.json", torch_bytes),
    ],
)
def test_the_files_of_an_index_are_one_checkpoint(names: Any, index: str, save: Any, tmp_path: Path) -> None:
    path = write_index(tmp_path, write_shards(tmp_path, names, save), index)
    checkpoint = read_checkpoint(path)
    assert all(torch.equal(tensor, checkpoint.state_dict[name]) for name, tensor in state().items())
    weights = state() | {"classifier.bias": torch.ones(7)}
    part = {name: tensor for name, tensor in weights.items() if name in dict(list(weights.items())[300:])}
    (tmp_path / names[1]).write_bytes(save(part))
    assert read_checkpoint(path).digest != checkpoint.digest


def test_one_file_of_several_names_the_index(tmp_path: Path) -> None:
    write_shards(tmp_path)
    with pytest.raises(
        UsageError, match=r"file 2 of 2 of a checkpoint; give its index.*model\.safetensors\.index\.json"
    ):
        read_checkpoint(tmp_path / NAMES[1])


def test_links_lead_to_the_folder_of_the_index_alone(tmp_path: Path) -> None:
    blobs, hub = tmp_path / "blobs", tmp_path / "hub"
    where = write_shards(blobs)
    index = write_index(blobs, where)
    hub.mkdir()
    for name in (*NAMES, index.name):  # as the cache of Hugging Face's hub
        (hub / name).symlink_to(blobs / name)
    assert read_checkpoint(hub / index.name).spec.num_classes == 7
    (hub / index.name).unlink()
    with pytest.raises(UsageError, match="links to another folder"):
        read_checkpoint(write_index(hub, where))


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"conv_stem.weight": "../model.safetensors"}, "names the file '../model.safetensors'"),
        ({"conv_stem.weight": "/etc/passwd"}, "names the file '/etc/passwd'"),
        ({"conv_stem.weight": ".."}, r"names the file '\.\.'"),
        ({"conv_stem.weight": "a\0b"}, "names the file"),
        ({"conv_stem.weight": ""}, "names the file ''"),
        ({"conv_stem.weight": "absent.safetensors"}, r"absent\.safetensors"),
        ({f"{number}": f"{number}.safetensors" for number in range(65)}, "names 65 files; at most 64"),
        ({"conv_stem.weight": 3}, "has no 'weight_map'"),
        ([], "has no 'weight_map'"),
        ({}, "has no 'weight_map'"),
    ],
)
def test_an_index_names_files_beside_it(where: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        read_checkpoint(write_index(tmp_path, where))


CHANGES: list[tuple[str, Callable[[dict[str, str]], object]]] = [
    ("do not belong together, e.g. tensor 'conv_stem.weight'", lambda where: where.pop("conv_stem.weight")),
    ("do not belong together", lambda where: where.update({"classifier.bias": NAMES[0]})),
]


@pytest.mark.parametrize(("message", "change"), CHANGES)
def test_an_index_of_other_files_is_refused(message: str, change: Any, tmp_path: Path) -> None:
    where = write_shards(tmp_path)
    change(where)
    with pytest.raises(UsageError, match=message):
        read_checkpoint(write_index(tmp_path, where))


def test_all_files_together_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_index(tmp_path, write_shards(tmp_path))
    monkeypatch.setattr(sharded, "SIZE_LIMIT", sum((tmp_path / name).stat().st_size for name in NAMES) - 1)
    with pytest.raises(UsageError, match=r"00002-of-00002\.safetensors.* \d+ bytes; at most"):
        read_checkpoint(path)
