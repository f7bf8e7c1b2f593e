"""The digest of a float program holds every field of its operators."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from compile.ir.float_program import (
    FloatAdd,
    FloatConcat,
    FloatConv2d,
    FloatCrop,
    FloatDepthwiseConv2d,
    FloatFunction,
    FloatGate,
    FloatInput,
    FloatMaxPool,
    FloatOperator,
    FloatPool,
    FloatTensor,
    program_digest,
)
from repghost.data.images.preprocess import Preprocess

X, Y, GATE = FloatTensor("x", 8, 8, 4), FloatTensor("y", 8, 8, 4), FloatTensor("g", 1, 1, 4)
BIAS = np.arange(4, dtype=np.float32)
OPERATORS: tuple[FloatOperator, ...] = (
    FloatInput("op", Y, np.arange(768, dtype=np.float32).reshape(3, 256)),
    FloatConv2d("op", X, Y, np.ones((4, 1, 1, 4), np.float32), BIAS, (1, 1), (0, 0), True),
    FloatDepthwiseConv2d("op", X, Y, np.ones((4, 3, 3), np.float32), BIAS, (1, 1), (1, 1), True, X),
    FloatPool("op", X, GATE),
    FloatMaxPool("op", X, Y, (3, 3), (1, 1), (1, 1)),
    FloatGate("op", X, GATE, Y),
    FloatFunction("op", X, Y, "relu"),
    FloatAdd("op", X, X, Y, False),
    FloatConcat("op", (X, X), Y),
    FloatCrop("op", X, Y, 0, 0, 0),
)
OLDER = "0899edbfc075e2a8bacc167b1fc85bb92e33093a676b3c533b7522f6d39e8637"  # of OPERATORS, when bundles were first made
UNSEEN = {"name", "logits"}  # a label, and where the scores are written: neither changes what is computed
CASES = [
    pytest.param(operator, field.name, id=f"{type(operator).__name__}.{field.name}")
    for operator in OPERATORS
    for field in fields(operator)
]


def other(value: Any) -> Any:
    """Return a value of the same kind that differs."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return value + "_"
        case tuple():
            return (*value[:-1], Y)
        case np.ndarray():
            return value + 1
        case FloatTensor():
            return replace(value, name=value.name + "_")
    raise TypeError(f"no other value of {value!r} is known; add one")


def digest(operator: FloatOperator) -> str:
    return program_digest([operator], Preprocess(size=8))


@pytest.mark.parametrize(("operator", "name"), CASES)
def test_each_field_is_part_of_the_digest(operator: FloatOperator, name: str) -> None:
    changed = replace(operator, **{name: other(getattr(operator, name))})
    assert (digest(changed) == digest(operator)) == (name in UNSEEN)


def test_digests_of_older_bundles_stay() -> None:
    assert program_digest(list(OPERATORS), Preprocess(size=8)) == OLDER
