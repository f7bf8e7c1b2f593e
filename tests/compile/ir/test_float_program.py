"""The digest of a float program holds every field of its operators."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from compile.ir.float_digest import program_digest
from compile.ir.float_program import (
    FloatAdd,
    FloatAveragePool,
    FloatChannelSlopes,
    FloatConcat,
    FloatConv2d,
    FloatCrop,
    FloatDepthwiseConv2d,
    FloatFunction,
    FloatGate,
    FloatInput,
    FloatMaxPool,
    FloatMultiply,
    FloatOperator,
    FloatPad,
    FloatPool,
    FloatResize,
    FloatScores,
    FloatShuffleChannels,
    FloatSubtract,
    FloatTensor,
)
from repghost.data.images.preprocess import Preprocess
from repghost.graph.formulas import FORMULAS
from repghost.graph.operators import RELU, UNBOUNDED

X, Y, GATE = FloatTensor("x", 8, 8, 4), FloatTensor("y", 8, 8, 4), FloatTensor("g", 1, 1, 4)
BIAS = np.arange(4, dtype=np.float32)
OLDER: tuple[FloatOperator, ...] = (  # of bundles that were made before the others existed
    FloatInput("op", Y, np.arange(768, dtype=np.float32).reshape(3, 256)),
    FloatConv2d("op", X, Y, np.ones((4, 1, 1, 4), np.float32), BIAS, (1, 1), (0, 0), RELU),
    FloatDepthwiseConv2d("op", X, Y, np.ones((4, 3, 3), np.float32), BIAS, (1, 1), (1, 1), RELU, residual=X),
    FloatPool("op", X, GATE),
    FloatMaxPool("op", X, Y, (3, 3), (1, 1), (1, 1)),
    FloatGate("op", X, GATE, Y),
    FloatAdd("op", X, X, Y, UNBOUNDED),
    FloatConcat("op", (X, X), Y),
    FloatCrop("op", X, Y, 0, 0, 0),
)
NEWER: tuple[FloatOperator, ...] = (
    FloatConv2d("op", X, Y, np.ones((4, 1, 1, 2), np.float32), BIAS, (1, 2), (0, 1), (0.0, 6.0), residual=X, groups=2),
    FloatAveragePool("op", X, Y, (3, 3), (1, 1), (1, 1), BIAS, BIAS),
    FloatFunction("op", X, Y, FORMULAS["SiLU"]),
    FloatChannelSlopes("op", X, Y, BIAS),
    FloatSubtract("op", X, X, Y, RELU),
    FloatMultiply("op", X, GATE, Y, UNBOUNDED),
    FloatShuffleChannels("op", X, Y, 2),
    FloatPad("op", X, Y, 1, 1, 1, 1.0),
    FloatResize("op", X, Y, BIAS.astype(np.int32), BIAS.astype(np.int32), BIAS, BIAS),
    FloatScores("op", GATE, GATE),
)
OLDER_DIGEST = "8823bf52d6f3eb86eb330fabbe42eaa58ba21160d29f3a0970d1a41c0cc747bb"  # when those bundles were made
UNSEEN = {"name", "logits"}  # a label, and where the scores are written: neither changes what is computed
CASES = [
    pytest.param(operator, field.name, id=f"{type(operator).__name__}.{field.name}")
    for operator in (*OLDER, *NEWER)
    for field in fields(operator)
    if getattr(operator, field.name) is not None
]


def other(value: Any) -> Any:
    """Return a value of the same kind that differs."""
    match value:
        case bool():
            return not value
        case int() | float():
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
    assert program_digest(OLDER, Preprocess(size=8)) == OLDER_DIGEST
