"""Checkpoints in several files: an index, as Hugging Face's libraries write it, says which file holds which tensor."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from repghost.checkpoints.weight_files import SIZE_LIMIT, WeightFile, parse_weights
from repghost.errors import UsageError
from repghost.untrusted import parse_json, read_bounded

INDEX_LIMIT = 4 << 20
SHARD_LIMIT = 64
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})(?P<suffix>\.safetensors|\.bin)")


def is_index(path: Path) -> bool:
    """Return whether a file is the index of a checkpoint in several files, by its name."""
    return path.name.endswith(".index.json")


def read_shards(path: Path, data: bytes) -> tuple[WeightFile, str]:
    """Return the tensors of all files of an index, and a sha256 over the index and these files, hexadecimal.

    Args:
        path: of the index; its files lie in the same folder.
        data: the index.

    Raises:
        UsageError: when it is no index, a file is absent or elsewhere, or holds other tensors than the index says.
    """
    where = _weight_map(path, data)
    digest, tensors, left = hashlib.sha256(data), dict[str, Tensor](), SIZE_LIMIT
    for name in sorted(set(where.values())):
        shard = _beside(path, name)
        content = read_bounded(shard, left)
        left -= len(content)
        digest.update(content)
        found = parse_weights(content, shard).tensors
        wanted = {tensor for tensor, file in where.items() if file == name}
        if found.keys() != wanted:
            other = sorted(found.keys() ^ wanted)[0]
            raise UsageError(f"{shard} and {path.name} do not belong together, e.g. tensor {other[:80]!r}.")
        tensors |= found
    return WeightFile(tensors, {}, {}), digest.hexdigest()


def shard_note(path: Path) -> str:
    """Return what to give instead of one file of several, "" for any other file."""
    match = _SHARD.fullmatch(path.name)
    if match is None or match["count"] == "00001":
        return ""
    index = path.with_name(f"{match['stem']}{match['suffix']}.index.json")
    return (
        f" This is file {int(match['number'])} of {int(match['count'])} of a checkpoint; give its index, which names "
        f"all of them: {str(index)!r}."
    )


def _weight_map(path: Path, data: bytes) -> Mapping[str, str]:
    """Return the file of every tensor."""
    index: Any = parse_json(data, str(path), INDEX_LIMIT)
    where = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(where, dict) or not where or not all(isinstance(name, str) for name in where.values()):
        raise UsageError(f"{path} has no 'weight_map' from tensors to files; give that of a checkpoint.")
    files = set(where.values())
    if len(files) > SHARD_LIMIT:
        raise UsageError(f"{path} names {len(files)} files; at most {SHARD_LIMIT} are allowed.")
    return where


def _beside(path: Path, name: str) -> Path:
    """Return a file of an index; it lies in the index's folder, or links where the index itself links."""
    shard = path.parent / name
    if name != Path(name).name or name in ("", "..") or "\0" in name:
        raise UsageError(f"{path} names the file {name[:80]!r}; its files lie beside it, without a folder.")
    if shard.resolve().parent not in (path.parent.resolve(), path.resolve().parent):
        raise UsageError(f"{shard} links to another folder; put the file itself beside {path.name}.")
    return shard
