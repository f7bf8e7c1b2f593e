"""Strict JSON, for files from outside: objects that `repghost.untrusted.parse_json` accepts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from repghost.errors import IntegrityError
from repghost.untrusted import JSON_BYTES, parse_json, read_bounded


def parse_strict(data: bytes, name: str, limit: int = JSON_BYTES) -> dict[str, Any]:
    """Return the JSON object in `data`.

    Args:
        data: the whole file, UTF-8.
        name: what messages call the file.
        limit: of its size, in bytes.

    Raises:
        IntegrityError: when it is too large, not UTF-8, not strict JSON (see `parse_json`) or not an object.
    """
    value = parse_json(data, name, limit, IntegrityError)
    if not isinstance(value, dict):
        raise IntegrityError(f"{name} holds a JSON {type(value).__name__}, not an object.")
    return value


def read_strict(path: Path, limit: int = JSON_BYTES) -> dict[str, Any]:
    """Return the JSON object in a file; errors as `parse_strict`."""
    return parse_strict(read_bounded(path, limit, error=IntegrityError), str(path), limit)


def canonical_json(value: dict[str, Any]) -> bytes:
    """Return the one way our files write an object: sorted keys, two spaces, ASCII, a final newline."""
    return (json.dumps(value, sort_keys=True, indent=2, allow_nan=False) + "\n").encode("ascii")
