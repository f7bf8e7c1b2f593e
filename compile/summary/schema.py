"""The JSON of a summary as a JSON Schema, made from the records that read it, so that the two cannot differ."""

from __future__ import annotations

import typing
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from compile.summary.facts import FORMAT, VERSION, Summary

DIALECT = "https://json-schema.org/draft/2020-12/schema"
PLAIN = {str: "string", float: "number", int: "integer"}


def schema() -> dict[str, Any]:
    """Return the schema of report.json."""
    found: dict[str, Any] = {}
    body = _record(Summary, found)
    head = {"format": {"const": FORMAT}, "version": {"const": VERSION}}
    return {
        "$schema": DIALECT,
        "title": f"{FORMAT}, version {VERSION}",
        **body,
        "properties": {**head, **body["properties"]},
        "required": [*head, *body["required"]],
        "$defs": dict(sorted(found.items())),
    }


def _record(kind: type, found: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a record; every key is required, and no other is allowed."""
    hints = typing.get_type_hints(kind)
    names = [item.name for item in fields(kind)]
    properties = {name: _of(hints[name], found) for name in names}
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


def _of(kind: Any, found: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a type; records are put into `found` and referred to."""
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind) and isinstance(kind, type):
        if kind.__name__ not in found:
            found[kind.__name__] = _record(kind, found)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    if origin in (UnionType, typing.Union):
        return {"anyOf": [_of(part, found) for part in arguments if part is not type(None)] + [{"type": "null"}]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple:
        return {"type": "array", "items": _of(arguments[0], found)}
    if kind in PLAIN:
        return {"type": PLAIN[kind]}
    return {"type": "object", "additionalProperties": _of(arguments[1], found)}  # Mapping[str, str]
