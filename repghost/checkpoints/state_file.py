"""The state of a training as a file: written whole, read back without running anything that a file may contain."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from repghost.checkpoints.weight_files import load_archive, read_file_bytes
from repghost.errors import UsageError
from repghost.files import write_bytes_atomically

KERNEL_CHOICES = ("fused", "foreach", "capturable", "differentiable")  # of an optimizer: not for a file to make
State = TypeVar("State")


def write_values(path: Path, version: int, values: Mapping[str, Any]) -> None:
    """Write tensors, and texts of JSON for everything else, whole or not at all.

    Args:
        path: the file.
        version: of the form of `values`.
        values: what `torch.load` reads with weights only.
    """
    buffer = io.BytesIO()
    torch.save({"version": version, **values}, buffer)
    write_bytes_atomically(path, buffer.getvalue())


def read_values(path: Path, version: int, what: str, build: Callable[[Mapping[str, Any]], State]) -> State:
    """Return what `build` makes of the values that `write_values` wrote.

    Args:
        path: the file.
        version: the one that `build` understands.
        what: the file's kind, for messages, e.g. "a training state".
        build: may fail on what is missing or of another type; that is the file's fault, and said so.

    Raises:
        UsageError: when the file is of another version, or something else.
    """
    try:
        values = load_archive(read_file_bytes(path), path)
        given = values["version"]
        if type(given) is not int or given != version:
            raise UsageError(f"state version {given!r:.80}; this program reads version {version}.")
        return build(values)
    except UsageError as error:
        raise UsageError(f"{path}: not {what}: {error}") from error
    except (RuntimeError, LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UsageError(f"{path}: not {what} ({type(error).__name__}: {error}).") from error


def weights_in(values: Mapping[str, Any], key: str) -> dict[str, Tensor]:
    """Return the named tensors under a key of a state.

    Raises:
        UsageError: when it holds something else.
    """
    found = values[key]
    if not isinstance(found, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in found.items()
    ):
        raise UsageError(f"its {key!r} holds other things than named tensors.")
    return dict(found)


def load_optimizer(optimizer: torch.optim.Optimizer, values: dict[str, Any]) -> None:
    """Put a state from a file back into an optimizer; its fused kernels take every tensor for as large as its weights.

    Raises:
        ValueError: when a tensor has another shape, or a setting another type.
        Exception: as `torch.optim.Optimizer.load_state_dict` raises.
    """
    settings = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(values)
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        for key, value in own.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if key not in KERNEL_CHOICES and not isinstance(group[key], (int | float) if number else type(value)):
                raise ValueError(f"{key} is {group[key]!r:.80}")
        group.update({key: own[key] for key in KERNEL_CHOICES if key in own})
        for weights in group["params"] if group.get("fused") else ():
            state = optimizer.state.get(weights, {})
            for key, value in state.items():
                if isinstance(value, Tensor) and value.dim() and value.shape != weights.shape:
                    raise ValueError(f"{key} is {tuple(value.shape)} for weights {tuple(weights.shape)}")
                if isinstance(value, Tensor) and value.dim():
                    state[key] = torch.empty_like(weights).copy_(value)  # whatever its strides were
