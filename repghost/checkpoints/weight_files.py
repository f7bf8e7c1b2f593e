"""From the bytes of a weight file to named tensors, without running anything the file may contain.

Two containers are read: safetensors, and the zip that `torch.save` writes, of which the pickle inside may hold tensors,
plain values and an argparse.Namespace (timm stores its options so), and nothing else.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from repghost.checkpoints.weight_names import weights_key
from repghost.errors import UsageError

SIZE_LIMIT = 1 << 30  # a 2.0x with its optimizer's state takes 0.2 GB
TENSOR_LIMIT = 10_000  # the train form has 672
SAFETENSORS_HEADER_LIMIT = 100_000_000  # as the format's description demands
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
SHOWN = 3  # names printed in a message

READABLE = "readable are safetensors files and files of torch.save that hold a state dict"


@dataclass(frozen=True)
class WeightFile:
    """What a file contains, before anything is known about the network.

    Attributes:
        tensors: by name as in the file, on the CPU.
        header: the safetensors metadata, text by text; empty for a torch file.
        notes: plain values beside the weights of a torch file, such as epoch and metric.
    """

    tensors: dict[str, Tensor]
    header: dict[str, str]
    notes: dict[str, Any]


def read_file_bytes(path: Path) -> bytes:
    """Return the content of a weight file.

    Raises:
        UsageError: when there is no such file, or its size is out of range.
    """
    if not path.exists():
        raise UsageError(f"there is no checkpoint {str(path)!r}. Give the path of a weight file; {READABLE}.")
    if not path.is_file():
        raise UsageError(f"checkpoint {str(path)!r} is not a file. Give the path of the weight file in it; {READABLE}.")
    size = path.stat().st_size
    if not 0 < size <= SIZE_LIMIT:
        raise UsageError(
            f"checkpoint {str(path)!r} has {size} bytes; allowed are 1 to {SIZE_LIMIT}. Copy or download it again."
        )
    return path.read_bytes()


def parse_weights(data: bytes, path: Path, prefer_ema: bool = True) -> WeightFile:
    """Return the tensors in the bytes of a file; `path` is for messages only.

    Args:
        data: the whole file.
        path: where it came from.
        prefer_ema: take the averaged weights of a training file that has both kinds.

    Raises:
        UsageError: for any other kind of file, a damaged one, or a pickle that wants to do more than hold tensors.
    """
    if data[:2] == b"PK":
        return _parse_torch(data, path, prefer_ema)
    if len(data) > 8 and data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= SAFETENSORS_HEADER_LIMIT:
        return _parse_safetensors(data, path)
    if data.startswith(LFS_POINTER):
        raise UsageError(f"{str(path)!r} is a pointer of Git LFS, not the weights. Fetch them: git lfs pull.")
    if path.suffix == ".onnx":
        raise UsageError(
            f"{str(path)!r} is ONNX, not a checkpoint: {READABLE}. Give the weights it was exported from; 'repghost "
            "compile', 'explain' and 'validate' take an ONNX file that is quantized already."
        )
    raise UsageError(f"{str(path)!r} is not a checkpoint: {READABLE}. Files of torch < 1.6 must be saved again.")


def _parse_safetensors(data: bytes, path: Path) -> WeightFile:
    try:
        tensors = safetensors.torch.load(data)
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    except Exception as error:  # whatever it is, the file is at fault
        raise _damaged(path, error) from error
    return WeightFile(_checked(tensors, path, len(data)), {str(key): str(value) for key, value in header.items()}, {})


def _parse_torch(data: bytes, path: Path, prefer_ema: bool) -> WeightFile:
    _refuse_compression(data, path)
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about details of a file that is evaluated below
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a crafted pickle can raise anything; it is never loaded another way
        asked = re.search(r"GLOBAL (\S+)", str(error))
        if asked is None:
            raise _damaged(path, error) from error
        raise UsageError(
            f"checkpoint {str(path)!r} is refused and nothing in it was run: it asks for {asked[1]!r}, and only "
            "tensors, plain values and an argparse.Namespace are allowed. Save the state dict alone: "
            "torch.save(model.state_dict(), path)."
        ) from error
    if not isinstance(content, Mapping):
        raise UsageError(f"checkpoint {str(path)!r} holds a {type(content).__name__}, not a state dict; {READABLE}.")
    return _from_mapping(content, path, prefer_ema, len(data))


def _from_mapping(content: Mapping[Any, Any], path: Path, prefer_ema: bool, size: int) -> WeightFile:
    """Return the weights of a state dict, or of the state dict inside a training file."""
    source = weights_key(content, prefer_ema)
    weights = content if source is None else content[source]
    notes: dict[str, Any] = {}
    if source is not None:
        notes = {"weights": source} | {
            str(key): value for key, value in content.items() if isinstance(value, str | int | float)
        }
    return WeightFile(_checked(weights, path, size), {}, notes)


def _refuse_compression(data: bytes, path: Path) -> None:
    """Refuse an archive that would unpack to more than the file's size; torch itself stores without compression."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except Exception as error:
        raise _damaged(path, error) from error
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or (
        sum(entry.file_size for entry in entries) > len(data)
    ):
        raise UsageError(
            f"checkpoint {str(path)!r} is a compressed archive; torch.save stores. Save the weights again."
        )


def _checked(weights: Mapping[Any, Any], path: Path, size: int) -> dict[str, Tensor]:
    """Return the mapping when it is names to ordinary tensors, and small enough."""
    if len(weights) > TENSOR_LIMIT:
        raise UsageError(f"checkpoint {str(path)!r} holds {len(weights)} entries; at most {TENSOR_LIMIT} are allowed.")
    for name, tensor in weights.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            kind = type(tensor).__name__
            raise UsageError(
                f"checkpoint {str(path)!r} is not a state dict: {str(name)[:80]!r} is a {kind}, not a dense tensor. "
                "Its first entries are " + ", ".join(str(key)[:80] for key in list(weights)[:SHOWN]) + "."
            )
        if tensor.numel() * tensor.element_size() > size:  # strides of 0 make a few bytes look like a huge tensor
            raise UsageError(
                f"checkpoint {str(path)!r} is refused: {name[:80]!r} claims {tensor.numel()} values, more than the "
                f"file's {size} bytes can hold. Save plain contiguous tensors."
            )
    return {name: tensor.detach() for name, tensor in weights.items()}


def _damaged(path: Path, error: Exception) -> UsageError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return UsageError(
        f"checkpoint {str(path)!r} is damaged or cut short ({lines[0][:200]}). Copy or download it again."
    )
