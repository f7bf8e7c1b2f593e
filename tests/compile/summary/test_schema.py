from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compile.storage.stage_cache import ROOT
from compile.summary.facts import Summary
from compile.summary.output import render, write_all
from compile.summary.schema import schema

TYPES = {"string": str, "number": int | float, "integer": int, "object": dict, "array": list, "null": type(None)}


def fits(value: Any, rule: dict[str, Any], root: dict[str, Any]) -> bool:
    """The part of JSON Schema that the file uses."""
    if "$ref" in rule:
        return fits(value, root["$defs"][rule["$ref"].rpartition("/")[2]], root)
    if "anyOf" in rule:
        return any(fits(value, part, root) for part in rule["anyOf"])
    if "enum" in rule or "const" in rule:
        return value in rule.get("enum", [rule.get("const")])
    if not isinstance(value, TYPES[rule["type"]]) or isinstance(value, bool):
        return False
    if rule["type"] == "array":
        return all(fits(item, rule["items"], root) for item in value)
    if rule["type"] != "object":
        return True
    properties, more = rule.get("properties", {}), rule["additionalProperties"]
    if set(rule.get("required", [])) - set(value) or (more is False and set(value) - set(properties)):
        return False
    return all(fits(item, properties.get(key, more), root) for key, item in value.items())


def test_what_is_written_fits_its_schema(summary: Summary, tmp_path: Path) -> None:
    write_all(summary, tmp_path)
    written = json.loads((tmp_path / "report.schema.json").read_text())
    assert written == schema()
    assert fits(json.loads((tmp_path / "report.json").read_text()), written, written)
    committed = json.loads((ROOT / "docs/widths/report.schema.json").read_text())
    assert committed == written
    assert fits(json.loads((ROOT / "docs/widths/report.json").read_text()), committed, committed)


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.update(version=1), lambda v: v.pop("speeds"), lambda v: v.update(more=1),
        lambda v: v["speeds"][0].update(unit="years"), lambda v: v["networks"][0]["fp32"].update(top1="0.8"),
        lambda v: v["tools"].update(numpy=2), lambda v: v.update(max_drop="little"),
    ],
)  # fmt: skip
def test_what_the_reader_refuses_does_not_fit(summary: Summary, change: Any) -> None:
    values = json.loads(render(summary, "json"))
    assert fits(values, schema(), schema())
    change(values)
    assert not fits(values, schema(), schema())
