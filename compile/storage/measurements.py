"""Measurements that are made once: kept in a `StageCache` under the key that the caller gives."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compile.storage.stage_cache import Files, StageCache
from repghost.errors import RepGhostError, option

RECORD = "record.json"


class NotMeasuredError(RepGhostError):
    """A measurement that was not made yet, where none may be made."""


@dataclass(frozen=True)
class Measurements:
    """A folder of measurements, each whole or absent, and made again where it was damaged.

    Attributes:
        folder: where they lie.
        again: whether to make again what is there.
        kept: whether to give only what is there.
    """

    folder: Path
    again: bool = False
    kept: bool = False

    def files(self, kind: str, key: dict[str, Any], make: Callable[[], Files]) -> Files:
        """Return the files of a measurement, made where they are not there.

        Args:
            kind: of measurement; begins the name of its folder.
            key: JSON values; everything that decides the result.
            make: measures.

        Raises:
            NotMeasuredError: when they are not there and only what is there is to be given.
        """
        cache = StageCache(self.folder)
        if self.kept and not cache.has(kind, key):
            raise NotMeasuredError(f"not yet; the same command without {option('kept')} measures it")
        if self.again:
            shutil.rmtree(cache.place(kind, key), ignore_errors=True)
        return cache.get(kind, key, make)[0]

    def record(self, kind: str, key: dict[str, Any], make: Callable[[], Any]) -> Any:
        """Return a measurement that is one JSON value; arguments and errors as for `files`."""
        (content,) = self.files(kind, key, lambda: {RECORD: record_bytes(make())}).values()
        return json.loads(content)


def record_bytes(value: Any) -> bytes:
    """Return a JSON value as the content of RECORD."""
    return json.dumps(value, sort_keys=True).encode()


def read_record(files: Files) -> Any:
    """Return the JSON value among the files of a measurement."""
    return json.loads(files[RECORD])
