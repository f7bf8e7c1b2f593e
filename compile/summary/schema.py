"""The JSON of a summary as a JSON Schema, made by msgspec from the records that read it: the two cannot differ."""

from __future__ import annotations

from dataclasses import fields
from types import ModuleType
from typing import Any, get_args

from compile.storage.formats import SUBMISSION, Format
from compile.summary import facts, submission
from compile.summary.facts import FORMAT, VERSION, Kind, Summary, Unit, Way, Where

DIALECT = "https://json-schema.org/draft/2020-12/schema"
CHOICES = {frozenset(get_args(kind)): list(get_args(kind)) for kind in (Kind, Unit, Way, Where)}  # in our order


def schema() -> dict[str, Any]:
    """Return the schema of report.json; every key is required, and no other is allowed."""
    return _schema(Summary, facts, (FORMAT, VERSION))


def submission_schema() -> dict[str, Any]:
    """Return the schema of what `repghost submit` writes, likewise; which words are allowed its reader says."""
    return _schema(submission.Submission, submission, SUBMISSION)


def _schema(kind: type, module: ModuleType, format: Format) -> dict[str, Any]:
    """Return the schema of a record, whose parts are records of the same module."""
    import msgspec

    records = msgspec.json.schema(kind)["$defs"]
    records = {name: _record(getattr(module, name), record["properties"]) for name, record in records.items()}
    body = records.pop(kind.__name__)
    head = {"format": {"const": format[0]}, "version": {"const": format[1]}}
    return {
        "$schema": DIALECT,
        "title": f"{format[0]}, version {format[1]}",
        **body,
        "properties": {**head, **body["properties"]},
        "required": [*head, *body["required"]],
        "$defs": records,
    }


def _record(kind: type, rules: dict[str, Any]) -> dict[str, Any]:
    names = [field.name for field in fields(kind)]
    properties = {name: _rule(rules[name]) for name in names}
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    """Return the rule of one key, its choices in our order; a default is of no interest, since every key is there."""
    choices = {"enum": CHOICES[frozenset(rule["enum"])]} if "enum" in rule else {}
    return {key: value for key, value in rule.items() if key != "default"} | choices
