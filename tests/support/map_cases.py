"""The remainder grid of operators on whole maps: means of borders, products, sums, pads, other sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from calib.integer import lower
from calib.integer.program import Add, AveragePool, LinearResize, Multiply, Pad, SelectPixels
from calib.integer.qparams import LINEAR_SHIFT, QParams, linear_taps
from calib.integer.values import Tensor
from tests.support.kernel_cases import (
    BOUNDS,
    FILLS,
    HALOS,
    NUMBERS,
    ZEROS,
    Axes,
    bounds_of,
    covered,
    covering,
    numbers_of,
    pair,
    values_of,
)
from tests.support.kernel_harness import Case

SHAPES = ("map", "channels", "pixels", "one", "rows", "columns", "row of channels")  # of the second operand
WINDOWS = (
    (3, 1, 1),
    ((2, 3), (2, 1), (1, 2)),
    ((5, 1), 2, (3, 0)),
    (12, (1, 5), 6),
    ((13, 10), 1, 4),
    ((1, 140), 2, 70),
)
AXES: Axes = {
    "channels": (1, 3, 4, 6, 12, 16, 17, 31, 33, 40),
    "size": ((1, 1), (2, 2), (1, 9), (7, 1), (5, 14), (9, 13)),
    "fill": FILLS,
    "zero": ZEROS,
    "out_zero": NUMBERS["out_zero"],
    "bounds": BOUNDS,
    "halo": HALOS,
    "out_halo": HALOS,
}


def map_cases() -> list[Case]:
    """Return cases in which every value of the axes meets each operator."""
    kinds = (_average_pool, _product, _sum, _pad, _select, _linear)
    cases = []
    for seed, row in enumerate(covering({**AXES, "window": WINDOWS, "second": SHAPES, "kind": kinds}, 21)):
        rng, (height, width), kind = np.random.default_rng(seed), row["size"], row.pop("kind")
        x = Tensor("x", height, width, row["channels"], QParams(0.1, row["zero"]))
        operator, tensors = kind(x, row, rng)
        numbers = numbers_of(
            row["fill"], "no", *(row[key] for key in ("zero", "out_zero", "bounds", "halo", "out_halo"))
        )
        what = f"window {row['window']} or second {row['second']}"
        name = f"{type(operator).__name__} {operator.output.shape} of {x.shape}, {what}, {numbers}"
        tensors["x"] = values_of(row["fill"], x, rng)
        cases.append(Case(name, operator, tensors, halos={"x": row["halo"], "y": row["out_halo"]}))
    return [*cases, _linear_by_hand(), _pad_by_hand(), _border_by_hand(), _outer_by_hand()]


def _average_pool(x: Tensor, row: dict[str, Any], rng: np.random.Generator) -> tuple[AveragePool, dict]:
    """Return a mean of the pixels on the map, beyond which the last window may reach."""
    size, strides, pads = (pair(side) for side in row["window"])
    dilations = (1, 2) if rng.integers(2) and size[1] < 5 else (1, 1)
    whole, counts = covered(size, dilations), []
    for side, of, apart, taps, stride, pad in zip(x.shape, whole, dilations, size, strides, pads, strict=False):
        made = max(1, -(-(side + 2 * pad - of) // stride) + 1)
        first = np.arange(made)[:, None] * stride - pad + np.arange(taps) * apart  # [outputs, taps]
        inside = ((first >= 0) & (first < side)).sum(1)
        counts.append(np.maximum(inside, 1))
    y = Tensor("y", len(counts[0]), len(counts[1]), x.channels, QParams(0.04, row["out_zero"]))
    limits = bounds_of(row["bounds"], row["out_zero"])
    bias, epilogue = lower.lower_pool(size[0] * size[1], x.qparams, y.qparams, *limits, np.outer(*counts))
    return AveragePool("y", x, y, size, strides, pads, bias, epilogue, dilations), {}


def _second(x: Tensor, row: dict[str, Any], rng: np.random.Generator, name: str) -> Tensor:
    kept = {
        "map": "hwc",
        "channels": "c",
        "pixels": "hw",
        "one": "",
        "rows": "hc",
        "columns": "w",
        "row of channels": "wc",
    }
    height, width, channels = (
        size if axis in kept[row["second"]] else 1 for axis, size in zip("hwc", x.shape, strict=True)
    )
    return Tensor(name, height, width, channels, QParams(0.02, int(rng.integers(-128, 128))))


def _product(x: Tensor, row: dict[str, Any], rng: np.random.Generator) -> tuple[Multiply, dict]:
    gate = _second(x, row, rng, "g")
    y = replace(x, name="y", qparams=QParams(float(rng.choice([0.07, 0.004])), row["out_zero"]))
    epilogue = lower.lower_multiply(x.qparams, gate.qparams, y.qparams, *bounds_of(row["bounds"], row["out_zero"]))
    return Multiply("y", x, gate, y, epilogue), {"g": values_of("random", gate, rng)}


def _sum(x: Tensor, row: dict[str, Any], rng: np.random.Generator) -> tuple[Add, dict]:
    other, y = _second(x, row, rng, "r"), replace(x, name="y", qparams=QParams(0.1, row["out_zero"]))
    factors = rng.choice([-1, 1], 2) * np.exp2(rng.uniform(0, 14, 2)).astype(int)
    limits = bounds_of(row["bounds"], row["out_zero"])
    return Add("y", x, other, y, *map(int, factors), *limits), {"r": values_of("random", other, rng)}


def _pad(x: Tensor, row: dict[str, Any], rng: np.random.Generator) -> tuple[Pad, dict]:
    before, after = rng.integers(0, 4, (2, 3)) * [1, 1, row["bounds"] == "none"]
    y = Tensor("y", *(int(size) for size in before + x.shape + after), x.qparams)
    return Pad("y", x, y, *map(int, before), row["out_zero"]), {}


def _select(x: Tensor, row: dict[str, Any], rng: np.random.Generator) -> tuple[SelectPixels, dict]:
    rows, columns = (rng.integers(0, size, rng.integers(1, 12)).astype(np.int32) for size in x.shape[:2])
    return SelectPixels("y", x, replace(x, name="y", height=len(rows), width=len(columns)), rows, columns), {}


def _linear(x: Tensor, row: dict[str, Any], rng: np.random.Generator) -> tuple[LinearResize, dict]:
    rows, columns = (
        linear_taps(rng.uniform(-1, size, rng.integers(1, 12)), size) for size in x.shape[:2]
    )  # with places outside, which are limited
    scale = float(rng.choice([0.1, 0.003, 0.7]))
    y = Tensor("y", len(rows), len(columns), x.channels, QParams(scale, row["out_zero"]))
    bias, epilogue = lower.lower_linear(x.qparams, y.qparams, *bounds_of(row["bounds"], row["out_zero"]))
    return LinearResize("y", x, y, rows, columns, bias, epilogue), {}


# -- worked out by hand ------------------------------------------------------------------------------------------------
def _one(values: list[list[int]], name: str = "x", zero: int = 0) -> tuple[Tensor, np.ndarray]:
    array = np.int8(values)
    return Tensor(name, *array.shape, 1, QParams(1.0, zero)), array[None, :, :, None]


def _linear_by_hand() -> Case:
    """Return 0 and 10 in a row enlarged to four by half pixels: 0, 2.5, 7.5 and 10, halves to the even one."""
    x, values = _one([[0, 10]])
    columns, half = linear_taps(np.array([-0.25, 0.25, 0.75, 1.25]), 2), 1 << LINEAR_SHIFT - 2
    assert columns.tolist() == [[0, 1, 0], [0, 1, half], [0, 1, 3 * half], [1, 1, 0]]
    bias, epilogue = lower.lower_linear(x.qparams, x.qparams)
    operator = LinearResize("y", x, replace(x, name="y", width=4), linear_taps(np.zeros(1), 1), columns, bias, epilogue)
    return Case("linear by hand", operator, {"x": values}, answer=np.array([[[0], [2], [8], [10]]]))


def _pad_by_hand() -> Case:
    x, values = _one([[1, 2]])
    operator = Pad("y", x, Tensor("y", 2, 3, 2, x.qparams), 1, 0, 1, -7)
    answer = np.array([[[-7, -7]] * 3, [[-7, 1], [-7, 2], [-7, -7]]])
    return Case("pad by hand", operator, {"x": values}, answer=answer)


def _border_by_hand() -> Case:
    """Return means of 2 x 2 pixels, two or one of them on the map: 6, (6 + 10) / 2, 10, with zero point 1."""
    x, values = _one([[7, 11]], zero=1)
    y = Tensor("y", 1, 3, 1, QParams(1.0, 0))
    bias, epilogue = lower.lower_pool(4, x.qparams, y.qparams, counts=np.array([[1, 2, 1]]))
    operator = AveragePool("y", x, y, (2, 2), (1, 1), (0, 1), bias, epilogue)
    return Case("means at the border by hand", operator, {"x": values}, answer=np.array([[[6], [8], [10]]]))


def _outer_by_hand() -> Case:
    """Return 2 and 3 minus 10 of each row and twice 5 of each column."""
    x, values = _one([[2, 3], [4, 5]])
    other, columns = _one([[5, 6]], "r")
    operator = Add("y", x, other, replace(x, name="y"), 4096, -8192, -128, 127)
    answer = np.array([[2 - 10, 3 - 12], [4 - 10, 5 - 12]])[..., None]
    return Case("difference of columns by hand", operator, {"x": values, "r": columns}, answer=answer)
