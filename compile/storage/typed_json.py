"""JSON values as frozen dataclasses, converted by msgspec; a refusal names the place, the value and what is allowed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from repghost.errors import IntegrityError

T = TypeVar("T")
PROBLEM = re.compile(r"(.*?)(?: - at `\$(.*)`)?", re.DOTALL)  # what msgspec says: what is wrong, and where
EXPECTED = re.compile(r"Expected `(\w+).*")


def read_record(values: Mapping[str, Any], kind: type[T], name: str) -> T:
    """Return JSON values as a frozen dataclass, which may hold others; nothing is guessed and nothing ignored.

    Args:
        values: as a JSON reader gives them.
        kind: the dataclass.
        name: what messages call the file.

    Raises:
        IntegrityError: for a missing or unknown key, a value of another type, NaN or infinity.
    """
    found = check_types(values, kind, name)
    _check_same(values, asdict(found), name)  # type: ignore[call-overload]
    return found


def check_types(values: Mapping[str, Any], kind: type[T], name: str) -> T:
    """Return JSON values as a frozen dataclass that names what is read of them; unknown keys are left out.

    Args:
        values: as a JSON reader gives them.
        kind: the dataclass.
        name: what messages call the file.

    Raises:
        IntegrityError: for a missing key, or a value of another type.
    """
    import msgspec

    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise IntegrityError(_sentence(str(error), values, kind, name)) from error


def _sentence(problem: str, value: Any, kind: Any, name: str) -> str:
    """Return what msgspec finds wrong as one of our sentences."""
    what, path = PROBLEM.fullmatch(problem).groups(default="")  # type: ignore[union-attr]
    for key, index in re.findall(r"\.(\w+)|\[(\d+)\]", path):
        value = value[key or int(index)]
        kind = get_type_hints(kind)[key] if key else get_args(kind)[0]
        kind = get_args(kind)[0] if isinstance(kind, UnionType) else kind  # Share | None
    place = name + path
    if path.endswith("[...]"):  # of a mapping of texts: msgspec does not say under which key
        key, value = next((key, text) for key, text in value.items() if not isinstance(text, str))
        place = f"{place.removesuffix('[...]')}.{key}"
    if what.startswith("Object missing"):
        needed = {entry.name for entry in fields(kind) if entry.default is MISSING and entry.default_factory is MISSING}
        return _other_keys(place, (needed - value.keys()) | (value.keys() - get_type_hints(kind).keys()))
    if get_origin(kind) is Literal:
        return f"{place} is {value!r:.80}; allowed: {', '.join(get_args(kind))}."
    expected = EXPECTED.sub(r"\1", what)
    if expected in ("array", "object"):
        return f"{place} has to be {'a list' if expected == 'array' else 'an object'}, not {value!r:.80}."
    return f"{place} is {value!r:.80}, which is no {expected}."


def _check_same(given: Any, found: Any, place: str) -> None:
    """Refuse keys that the record does not have or took from its defaults, and numbers that are not finite."""
    if isinstance(found, dict):
        if given.keys() != found.keys():
            raise IntegrityError(_other_keys(place, given.keys() ^ found.keys()))
        for key, value in found.items():
            _check_same(given[key], value, f"{place}.{key}")
    elif isinstance(found, tuple):
        for index, value in enumerate(found):
            _check_same(given[index], value, f"{place}[{index}]")
    elif isinstance(found, float) and not math.isfinite(found):
        raise IntegrityError(f"{place} is {given!r:.80}, which is no float.")


def _other_keys(place: str, keys: set[str]) -> str:
    return f"{place}: the keys {sorted(keys)} are missing or unknown."
