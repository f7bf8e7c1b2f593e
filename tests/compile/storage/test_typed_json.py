"""Records read from JSON: what fits comes out equal, what does not is refused with its place and its value."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pytest

from compile.storage.typed_json import read_record
from repghost.errors import IntegrityError


@dataclass(frozen=True)
class Part:
    name: str
    count: int
    share: float | None = None


@dataclass(frozen=True)
class Whole:
    kind: Literal["small", "large"]
    parts: tuple[Part, ...]
    first: Part | None
    tools: Mapping[str, str]


WHOLE = Whole("small", (Part("a", 1, 0.5), Part("b", 2)), Part("c", 3), {"zig": "1"})


def test_a_record_comes_back_equal() -> None:
    assert read_record(json.loads(json.dumps(asdict(WHOLE))), Whole, "w.json") == WHOLE
    values = {**asdict(WHOLE), "first": None}
    assert read_record(values, Whole, "w.json").first is None
    values["parts"] = [{"name": "a", "count": 1, "share": 1}]  # a whole number is a number
    assert read_record(values, Whole, "w.json").parts[0].share == 1.0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda v: v.pop("kind"), ("w.json", "'kind'")),
        (lambda v: v.update(more=1), ("w.json", "'more'")),
        (lambda v: v["parts"][1].pop("share"), ("w.json.parts[1]", "'share'")),
        (lambda v: v["first"].pop("name"), ("w.json.first", "'name'")),
        (lambda v: v.update(kind="medium"), ("w.json.kind", "'medium'", "small, large")),
        (lambda v: v.update(kind=3), ("w.json.kind", "3", "small, large")),
        (lambda v: v.update(parts={}), ("w.json.parts", "list", "{}")),
        (lambda v: v.update(first=[]), ("w.json.first", "object", "[]")),
        (lambda v: v["parts"][0].update(count=True), ("w.json.parts[0].count", "True", "int")),
        (lambda v: v["parts"][0].update(count=1.0), ("w.json.parts[0].count", "1.0", "int")),
        (lambda v: v["first"].update(share="0.5"), ("w.json.first.share", "'0.5'", "float")),
        (lambda v: v["first"].update(share=float("inf")), ("w.json.first.share", "inf", "float")),
        (lambda v: v["first"].update(share=float("nan")), ("w.json.first.share", "nan", "float")),
        (lambda v: v["tools"].update(numpy=2), ("w.json.tools.numpy", "2", "str")),
    ],
)
def test_a_refusal_names_place_value_and_what_is_allowed(change: Any, told: tuple[str, ...]) -> None:
    values = json.loads(json.dumps(asdict(WHOLE)))
    change(values)
    with pytest.raises(IntegrityError) as refusal:
        read_record(values, Whole, "w.json")
    place, rest = re.split(r":? ", str(refusal.value), maxsplit=1)
    assert place == told[0] and all(word in rest for word in told[1:]), rest
