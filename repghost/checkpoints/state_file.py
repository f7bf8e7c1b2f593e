"""The state of a training as a file: written whole, read back without running anything that a file may contain."""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from repghost.errors import UsageError
from repghost.files import write_bytes_atomically

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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a foreign pickle protocol is refused below like any other
            values = torch.load(path, map_location="cpu", weights_only=True)
        if values["version"] != version:
            raise UsageError(f"{path}: state version {values['version']!r}; this program reads version {version}.")
        return build(values)
    except (pickle.UnpicklingError, RuntimeError, LookupError, TypeError, ValueError, EOFError, OSError) as error:
        raise UsageError(f"{path}: not {what} ({type(error).__name__}: {error}).") from error
