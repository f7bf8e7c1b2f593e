"""Strict JSON, for files from outside: no duplicate keys, no NaN, bounded size and depth."""

from __future__ import annotations

import json
from typing import Any

from repghost.errors import IntegrityError

SIZE_LIMIT = 1 << 20  # bytes
DEPTH_LIMIT = 32  # nested arrays and objects, as in compile/runner/bundle/json.c


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} stands twice in one object")
        found[key] = value
    return found


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number of JSON")


def _depth(value: Any, limit: int) -> None:
    """Raise when values are nested more than `limit` deep."""
    if limit < 0:
        raise ValueError(f"values are nested more than {DEPTH_LIMIT} deep")
    if isinstance(value, dict | list):
        for member in value.values() if isinstance(value, dict) else value:
            _depth(member, limit - 1)


def parse_strict(data: bytes, name: str, limit: int = SIZE_LIMIT) -> dict[str, Any]:
    """Return the JSON object in `data`.

    Args:
        data: the whole file, UTF-8.
        name: what messages call the file.
        limit: of its size, in bytes.

    Raises:
        IntegrityError: when it is too large, not UTF-8, not strict JSON, nested too deeply or not an object.
    """
    if len(data) > limit:
        raise IntegrityError(f"{name} has {len(data)} bytes; at most {limit} are allowed.")
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
        _depth(value, DEPTH_LIMIT)
    except RecursionError:
        raise IntegrityError(f"{name} is not acceptable JSON: values are nested too deeply.") from None
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors too
        raise IntegrityError(f"{name} is not acceptable JSON: {error}.") from error
    if not isinstance(value, dict):
        raise IntegrityError(f"{name} holds a JSON {type(value).__name__}, not an object.")
    return value


def canonical_json(value: dict[str, Any]) -> bytes:
    """Return the one way our files write an object: sorted keys, two spaces, ASCII, a final newline."""
    return (json.dumps(value, sort_keys=True, indent=2, allow_nan=False) + "\n").encode("ascii")
