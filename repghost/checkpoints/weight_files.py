"""From the bytes of a weight file to named tensors, without running anything the file may contain.

Three containers are read: safetensors, the zip that `torch.save` writes, and the stream of pickles that it wrote before
torch 1.6. The pickles inside may hold tensors, plain values and an argparse.Namespace (timm stores its options so), and
nothing else.
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
from pathlib import Path, PurePosixPath
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from repghost.checkpoints.legacy_file import is_legacy, unsafe_legacy_part
from repghost.checkpoints.weight_names import elsewhere, raw_beside, weights_path
from repghost.errors import UsageError, is_out_of_memory
from repghost.hub.download import local_file
from repghost.pickles import unsafe_part
from repghost.untrusted import LARGEST_INT, read_bounded

SIZE_LIMIT = 1 << 30  # a 2.0x with its optimizer's state takes 0.2 GB
TENSOR_LIMIT = 10_000  # the train form has 672
SAFETENSORS_HEADER_LIMIT = 100_000_000  # as the format's description demands
HEADER_LIMIT = 4 << 20  # bytes that are read of it; that of a 2.0x has 80,000
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
SHOWN = 3  # names printed in a message
NOTE_LIMIT = 1000  # characters of a text beside the weights that is kept
PICKLE = "data.pkl"  # of an archive
MEMBER_LIMIT = 5 * TENSOR_LIMIT  # of an archive, among them the tensors of an optimizer
ZIP_MEMBER, ZIP_END, ZIP_END_BYTES = b"PK\1\2", b"PK\5\6", 22
# What the pickle of a training file may call. Torch knows more, among it what allocates: bytearray(n), FloatStorage(n).
CALLABLES = frozenset(
    {f"torch._utils._rebuild_{kind}" for kind in ("tensor", "tensor_v2", "tensor_v3", "sparse_tensor")}
    | {f"torch._utils._rebuild_{kind}" for kind in ("parameter", "parameter_with_state")}
    | {f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("set", "complex")}
    | {"collections.OrderedDict", "collections.Counter", "_codecs.encode", "argparse.Namespace"}
    | {"torch.Size", "torch.device", "torch.serialization._get_layout"}
)

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
    """Return the content of a weight file, also of one on the hub.

    Raises:
        UsageError: when there is no such file, or its size is out of range.
    """
    path = local_file(path)
    if not path.exists():
        raise UsageError(f"there is no checkpoint {str(path)!r}. Give the path of a weight file; {READABLE}.")
    if not path.is_file():
        raise UsageError(f"checkpoint {str(path)!r} is not a file. Give the path of the weight file in it; {READABLE}.")
    data = read_bounded(path, SIZE_LIMIT)
    if not data:
        raise UsageError(
            f"checkpoint {str(path)!r} has 0 bytes; allowed are 1 to {SIZE_LIMIT}. Copy or download it again."
        )
    return data


def parse_weights(data: bytes, path: Path, prefer_ema: bool = True) -> WeightFile:
    """Return the tensors in the bytes of a file; `path` is for messages only.

    Args:
        data: the whole file.
        path: where it came from.
        prefer_ema: take the averaged weights of a training file that has both kinds.

    Raises:
        UsageError: for any other kind of file, a damaged one, or a pickle that wants to do more than hold tensors.
    """
    if data[:2] == b"PK" or is_legacy(data):
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
    raise UsageError(f"{str(path)!r} is not a checkpoint: {READABLE}.")


def _parse_safetensors(data: bytes, path: Path) -> WeightFile:
    length = int.from_bytes(data[:8], "little")
    if length > HEADER_LIMIT:
        raise UsageError(
            f"checkpoint {str(path)!r} has a header of {length} bytes; at most {HEADER_LIMIT} are allowed."
        )
    try:
        header = json.loads(data[8 : 8 + length])
        if len(header) <= TENSOR_LIMIT:
            tensors = safetensors.torch.load(data)
    except Exception as error:  # whatever it is, the file is at fault
        raise _damaged(path, error) from error
    if len(header) > TENSOR_LIMIT:
        raise _too_many(path, len(header))
    texts = header.get("__metadata__") or {}
    return WeightFile(_checked(tensors, path, len(data)), {str(key): str(value) for key, value in texts.items()}, {})


def _parse_torch(data: bytes, path: Path, prefer_ema: bool) -> WeightFile:
    content = load_archive(data, path)
    if not isinstance(content, Mapping):
        raise UsageError(f"checkpoint {str(path)!r} holds a {type(content).__name__}, not a state dict; {READABLE}.")
    return _from_mapping(content, path, prefer_ema, len(data))


def load_archive(data: bytes, path: Path) -> Any:
    """Return what `torch.save` wrote: tensors, plain values and an argparse.Namespace; `path` is for messages only.

    The pickle inside is looked through first: what it makes takes no more memory than a small multiple of the file.

    Raises:
        UsageError: when the bytes are something else, damaged, or ask for more.
    """
    own, unsafe = _checked_legacy(data, path) if is_legacy(data) else _checked_archive(data, path)
    try:
        if unsafe is None:
            own.seek(0)
            with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about details of a file that is evaluated below
                return torch.load(own, map_location="cpu", weights_only=True)
    except Exception as error:  # a crafted pickle can raise anything; it is never loaded another way
        asked = re.search(r"GLOBAL (\S+)", str(error))
        if asked is None:
            raise _damaged(path, error) from error
        unsafe = f"asks for {asked[1]!r}"
    raise UsageError(
        f"checkpoint {str(path)!r} is refused and nothing in it was run: it {unsafe}, and only tensors, plain values "
        "and an argparse.Namespace are allowed. Save the state dict alone: torch.save(model.state_dict(), path)."
    )


def _checked_legacy(data: bytes, path: Path) -> tuple[io.BytesIO, str | None]:
    """Return a file of torch before 1.6, and what its pickles do that weights have no use for, None for nothing."""
    try:
        return io.BytesIO(data), unsafe_legacy_part(data, CALLABLES)
    except Exception as error:
        raise _damaged(path, error) from error


def _checked_archive(data: bytes, path: Path) -> tuple[io.BytesIO, str | None]:
    """Return an archive for torch, and what its pickle does that weights have no use for, None for nothing.

    An archive can be made so that torch's reader sees other members than Python's, so torch is given one that is
    written here from the members that were looked at. Refused are archives that would unpack to more than the file's
    size; torch itself stores without compression, and nothing follows the list of members.
    """
    own = io.BytesIO()
    try:
        if data.count(ZIP_MEMBER) > MEMBER_LIMIT or data[-ZIP_END_BYTES:][: len(ZIP_END)] != ZIP_END:
            raise ValueError("its list of members is too long, or something follows it")
        with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(own, "w") as copy:
            entries = archive.infolist()
            if all(entry.compress_type == zipfile.ZIP_STORED for entry in entries) and (
                sum(entry.file_size for entry in entries) <= len(data)
            ):
                pickles = [entry for entry in entries if PurePosixPath(entry.filename).name == PICKLE]
                if len(pickles) != 1:
                    raise ValueError(f"it has {len(pickles)} members {PICKLE}")
                if len({entry.filename for entry in entries}) < len(entries):
                    raise ValueError("it has two members of one name")
                for entry in entries:
                    copy.writestr(entry.filename, archive.read(entry))
                return own, unsafe_part(archive.read(pickles[0]), CALLABLES)
    except Exception as error:
        raise _damaged(path, error) from error
    raise UsageError(f"checkpoint {str(path)!r} is a compressed archive; torch.save stores. Save the weights again.")


def _from_mapping(content: Mapping[Any, Any], path: Path, prefer_ema: bool, size: int) -> WeightFile:
    """Return the weights of a state dict, or of the state dict inside a training file."""
    keys = weights_path(content, prefer_ema)
    weights: Mapping[Any, Any] = content
    for key in keys:
        weights = weights[key]
    notes: dict[str, Any] = {}
    if keys:
        plain = {key: value for key, value in content.items() if isinstance(key, str) and _is_note(value)}
        notes = plain | {"weights": ".".join(keys)}
        beside = raw_beside(content, keys)
        if beside is not None:
            notes["weights_beside"] = beside
    else:
        _refuse_other_keys(content, path)
    return WeightFile(_checked(weights, path, size), {}, notes)


def _is_note(value: object) -> bool:
    """Return whether a value beside the weights can be kept as JSON: a diverged run has a loss of NaN, for example."""
    if isinstance(value, str):
        return len(value) <= NOTE_LIMIT and value.isprintable()
    return isinstance(value, int | float) and abs(value) <= LARGEST_INT  # NaN is not


def _refuse_other_keys(content: Mapping[Any, Any], path: Path) -> None:
    """Refuse a training file that has its weights under keys that are not known here, with the line that helps."""
    keys = elsewhere(content)
    if keys:
        place = "".join(f"[{key!r:.80}]" for key in keys)
        raise UsageError(
            f"checkpoint {str(path)!r} has its weights under keys that are not known here. Save them alone: torch.save("
            f"torch.load({str(path)!r}, 'cpu', weights_only=True){place}, 'weights.pth')"
        )


def _checked(weights: Mapping[Any, Any], path: Path, size: int) -> dict[str, Tensor]:
    """Return the mapping when it is names to ordinary tensors, and small enough."""
    if len(weights) > TENSOR_LIMIT:
        raise _too_many(path, len(weights))
    for name, tensor in weights.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor) or not _is_plain(tensor):
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


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized


def _too_many(path: Path, count: int) -> UsageError:
    return UsageError(f"checkpoint {str(path)!r} holds {count} entries; at most {TENSOR_LIMIT} are allowed.")


def _damaged(path: Path, error: Exception) -> Exception:
    if is_out_of_memory(error):
        return error
    # Around this torch advises to load the file in the way that runs what it holds.
    inner = re.search(r"WeightsUnpickler error:\s*(.*)", str(error))
    lines = (inner[1] if inner else str(error)).strip().splitlines() or [type(error).__name__]
    return UsageError(
        f"checkpoint {str(path)!r} is damaged or cut short ({lines[0][:200]}). Copy or download it again."
    )
