"""What comes from outside, read within limits: files, JSON and numbers."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

from repghost.errors import RepGhostError, UsageError

JSON_BYTES = 1 << 20
JSON_DEPTH = 32  # nested arrays and objects, as in compile/runner/bundle/json.c
LARGEST_INT = (1 << 63) - 1
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_DIGITS = re.compile(r"-?[0-9]{1,19}")  # only ASCII ones, and never so many that reading them takes long


def open_regular(
    path: Path, *, error: type[RepGhostError] = UsageError, follow_links: bool = True
) -> io.BufferedReader:
    """Return a regular file opened for reading; a pipe or a device is refused at once, never waited for.

    Args:
        path: the file.
        error: what is raised.
        follow_links: whether the last part of the path may be a symbolic link.

    Raises:
        RepGhostError: of the type `error`, when there is no such file, it may not be read, or it is something else.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | (0 if follow_links else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the name
        link = not follow_links and Path(path).is_symlink()
        reason = "it is a symbolic link" if link else _reason(problem)
        raise error(f"{path}: cannot be read ({reason}).") from problem
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise error(f"{path}: not a regular file; folders, pipes and devices are not read.")
    return os.fdopen(descriptor, "rb")


def read_bounded(
    path: Path, limit: int, *, error: type[RepGhostError] = UsageError, follow_links: bool = True
) -> bytes:
    """Return the content of a regular file; its size is compared with the limit before anything is read.

    Args:
        path: the file.
        limit: bytes.
        error: what is raised.
        follow_links: whether the last part of the path may be a symbolic link.

    Raises:
        RepGhostError: of the type `error`, when it cannot be read, is no regular file or larger than `limit`.
    """
    with open_regular(path, error=error, follow_links=follow_links) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise error(f"{path}: {size} bytes; at most {limit} are allowed.")
        try:
            data = file.read(size + 1)
        except OSError as problem:
            raise error(f"{path}: cannot be read ({_reason(problem)}).") from problem
    if len(data) > size:
        raise error(f"{path}: grew while it was read. Try again when nothing writes to it.")
    return data


def file_digest(path: Path) -> str:
    """Return the sha256 of a regular file, hexadecimal.

    Raises:
        UsageError: when it cannot be read or is something else.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parse_int(text: str, low: int = 0, high: int = LARGEST_INT) -> int | None:
    """Return the whole number that `text` writes in ASCII digits, None when it is none or out of range.

    Args:
        text: digits, and a minus sign before them; spaces are the caller's to strip.
        low: the smallest number allowed.
        high: the largest.
    """
    number = int(text) if _DIGITS.fullmatch(text) else None
    return number if number is not None and low <= number <= high else None


def parse_json(data: bytes | str, name: str, limit: int = JSON_BYTES, error: type[RepGhostError] = UsageError) -> Any:
    """Return the JSON value in `data`, which has no key twice in an object and no number beyond int64 and float64.

    Args:
        data: UTF-8, or text.
        name: what messages call it.
        limit: of its size, in bytes or characters.
        error: what is raised.

    Raises:
        RepGhostError: of the type `error`, when it is too large, nested more than `JSON_DEPTH` deep or not such JSON.
    """
    if len(data) > limit:
        raise error(f"{name} has {len(data)} bytes; at most {limit} are allowed.")
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        value = json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_constant=_no_constant,
            parse_int=_json_int,
            parse_float=_json_float,
        )
        _check_depth(value, JSON_DEPTH)
        if _SURROGATE.search(text):  # halves of a character, which nothing can write again
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise error(f"{name} is not JSON that can be read: values are nested too deeply.") from None
    except ValueError as problem:  # UnicodeDecodeError and JSONDecodeError are ValueErrors too
        raise error(f"{name} is not JSON that can be read: {problem}.") from problem
    return value


def check_fields(values: Mapping[str, Any], kind: type, name: str) -> None:
    """Refuse JSON values of another type than the fields of a dataclass.

    Args:
        values: by the name of the field.
        kind: the dataclass; what it checks itself is its own sentence, so it goes first.
        name: what messages call the values.

    Raises:
        UsageError: naming the first such value.
    """
    import msgspec

    for key, hint in get_type_hints(kind).items():
        try:
            if key in values:
                msgspec.convert(values[key], hint)
        except msgspec.ValidationError as problem:
            raise UsageError(f"{name}: {key} is {values[key]!r:.80}: {problem}.") from problem


def _reason(problem: Exception) -> str:
    return str(getattr(problem, "strerror", None) or problem)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r:.80} stands twice in one object")
        found[key] = value
    return found


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number of JSON")


def _json_int(text: str) -> int:
    number = parse_int(text, -LARGEST_INT - 1)
    if number is None:
        raise ValueError(f"{text:.40} does not fit 64 bits")
    return number


def _json_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text:.40} is too large for a number")
    return number


def _check_depth(value: Any, limit: int) -> None:
    """Raise when values are nested more than `limit` deep."""
    if limit < 0:
        raise ValueError(f"values are nested more than {JSON_DEPTH} deep")
    if isinstance(value, dict | list):
        for member in value.values() if isinstance(value, dict) else value:
            _check_depth(member, limit - 1)
