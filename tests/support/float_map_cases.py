"""The remainder grid of the float operators without weights: formulas, sums, gates, moves, means, other sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from compile.ir.float_from_graph import resized
from compile.ir.float_program import (
    FloatAdd,
    FloatAveragePool,
    FloatChannelSlopes,
    FloatConcat,
    FloatCrop,
    FloatFunction,
    FloatMultiply,
    FloatPad,
    FloatScores,
    FloatShuffleChannels,
    FloatSubtract,
    FloatTensor,
)
from repghost.graph.formulas import FORMULAS
from repghost.graph.operators import Resize, Step
from tests.support.float_cases import CLAMPS, small
from tests.support.float_harness import FloatCase
from tests.support.kernel_cases import covered, covering

CHANNELS = (1, 3, 4, 7, 16, 33)
SIZES = ((1, 1), (3, 5), (8, 8), (2, 11))
NEAR = {"float32": 2e-6, "float16": 2e-3}  # of one rounding or a few
# Every operator of a formula, each where it is defined, with and without attributes.
POSITIVE = (Step("Abs", (0,)), Step("Add", (1, 0.25)))
STEPS: tuple[tuple[Step, ...], ...] = (
    (Step("Relu", (0,)),),
    (Step("LeakyRelu", (0,), (("alpha", 0.3),)),),
    (Step("Clip", (0, -1.5)),),
    (Step("Clip", (0, -1.5, 2.0)),),
    (Step("HardSigmoid", (0,)),),
    (Step("Elu", (0,), (("alpha", 0.7),)),),
    (Step("Selu", (0,)),),
    (Step("Erf", (0,)),),
    (Step("Exp", (0,)),),
    (Step("Softsign", (0,)),),
    (*POSITIVE, Step("Log", (2,))),
    (Step("ThresholdedRelu", (0,), (("alpha", 0.5),)),),
    (Step("Mul", (0, 0.7)), Step("Floor", (1,)), Step("Ceil", (1,)), Step("Round", (1,)), Step("Max", (2, 4, 0, 0.5))),
    (Step("Mul", (0, 0.7)), Step("Ceil", (1,)), Step("Round", (1,)), Step("Sub", (2, 3))),
    (Step("Sign", (0,)), Step("Neg", (0,)), Step("Min", (1, 2))),
    (*POSITIVE, Step("Sqrt", (2,))),
    (*POSITIVE, Step("Reciprocal", (2,)), Step("Div", (1.0, 2)), Step("Sub", (3, 4)), Step("Add", (3, 5))),
    (Step("Pow", (0, 2.0)),),
    (*POSITIVE, Step("Pow", (2, 0.5)), Step("Pow", (2, 1.3)), Step("Add", (3, 4))),
    *FORMULAS.values(),
)


def rows(axes: dict[str, Any], seed: int) -> list[tuple[int, np.random.Generator, Any]]:
    """Return number, generator and values of each row of a grid."""
    return [(number, np.random.default_rng(number), row) for number, row in enumerate(covering(axes, seed))]


def tensor(name: str, element: str, size: tuple[int, int], channels: int) -> FloatTensor:
    return FloatTensor(name, *size, channels, element)


def formula_cases(element: str) -> list[FloatCase]:
    """Return every step of formulas, of numbers between whole ones, too."""
    cases = []
    for number, rng, row in rows({"steps": STEPS, "channels": (1, 7, 20), "size": ((1, 1), (3, 5))}, 7):
        x, y = (tensor(name, element, row["size"], row["channels"]) for name in "xy")
        values = np.float16(rng.uniform(-6, 6, (1, *x.shape))).astype(np.float32)
        operator = FloatFunction("y", x, y, row["steps"])
        cases.append(FloatCase(f"formula {row}", operator, {"x": values}, None, number % 3, 2 * NEAR[element]))
    return cases


def binary_cases(element: str) -> list[FloatCase]:
    """Return sums, differences and products of two maps, products with gates, and slopes below zero."""
    cases = []
    kinds = (FloatAdd, FloatSubtract, FloatMultiply)
    axes = {"kind": kinds, "channels": CHANNELS, "size": SIZES, "clamp": CLAMPS}
    for number, rng, row in rows(axes, 8):
        x, other, y = (tensor(name, element, row["size"], row["channels"]) for name in "xry")
        values = {"x": small(rng, 1, *x.shape), "r": small(rng, 1, *x.shape) * 2}
        cases.append(FloatCase(f"two maps {row}", row["kind"]("y", x, other, y, row["clamp"]), values, halo=number % 3))
    for number, rng, row in rows({"other": ("channels", "pixels", "rows", "columns", "one"), **axes}, 9):
        x, y = (tensor(name, element, row["size"], row["channels"]) for name in "xy")
        height, width = row["size"]
        shape = {
            "channels": (1, 1, row["channels"]), "pixels": (height, width, 1), "rows": (height, 1, 1),
            "columns": (1, width, 1), "one": (1, 1, 1),
        }[row["other"]]  # fmt: skip
        other = FloatTensor("r", *shape, element)
        values = {"x": small(rng, 1, *x.shape), "r": small(rng, 1, *shape) * 2}
        cases.append(FloatCase(f"spread {row}", row["kind"]("y", x, other, y, row["clamp"]), values, halo=number % 3))
    for number, rng, row in rows({"channels": CHANNELS, "size": SIZES}, 10):
        x, y = (tensor(name, element, row["size"], row["channels"]) for name in "xy")
        operator = FloatChannelSlopes("y", x, y, small(rng, row["channels"]))
        cases.append(FloatCase(f"slopes {row}", operator, {"x": small(rng, 1, *x.shape)}, halo=number % 3))
    return cases


def move_cases(element: str) -> list[FloatCase]:
    """Return concatenations, crops with steps, shuffles, zeros around maps, and scores: all exact."""
    cases = []
    for number, rng, row in rows({"channels": CHANNELS, "others": (1, 4, 7), "size": SIZES}, 11):
        parts = [tensor(name, element, row["size"], row[axis]) for name, axis in (("x", "channels"), ("r", "others"))]
        joined = FloatConcat(
            "y", (*parts, parts[0]), tensor("y", element, row["size"], 2 * parts[0].channels + row["others"])
        )
        values = {part.name: small(rng, 1, *part.shape) for part in parts}
        cases.append(FloatCase(f"concat {row}", joined, values, halo=number % 3))
    axes = {
        "channels": CHANNELS,
        "size": SIZES,
        "steps": ((1, 1, 1), (2, 1, 2), (1, 3, 3), (1, 1, 6)),
        "first": (0, 1, 3),
    }
    for number, rng, row in rows(axes, 12):
        y, starts = tensor("y", element, row["size"], row["channels"]), (number % 3, number % 2, row["first"])
        sides = [first + (side - 1) * step + 1 for first, side, step in zip(starts, y.shape, row["steps"], strict=True)]
        x = replace(y, name="x", height=sides[0] + 1, width=sides[1], channels=sides[2] + number % 2)
        cut = FloatCrop("y", x, y, *starts, row["steps"])
        cases.append(FloatCase(f"crop {row}", cut, {"x": small(rng, 1, *x.shape)}, halo=number % 3))
    for number, rng, row in rows({"groups": (2, 3, 4, 7), "each": (1, 3, 4, 9, 20), "size": SIZES}, 13):
        x, y = (tensor(name, element, row["size"], row["groups"] * row["each"]) for name in "xy")
        shuffle = FloatShuffleChannels("y", x, y, row["groups"])
        cases.append(FloatCase(f"shuffle {row}", shuffle, {"x": small(rng, 1, *x.shape)}, halo=number % 3))
    for number, rng, row in rows(
        {
            "channels": CHANNELS,
            "size": SIZES,
            "pads": ((0, 0, 1, 2), (3, 1, 0, 0), (1, 2, 3, 1)),
            "more": ((0, 0.0), (0, -3.0), (3, 2.0)),
        },
        14,
    ):
        x, (above, left, below, right) = tensor("x", element, row["size"], row["channels"]), row["pads"]
        more, value = row["more"]
        y = replace(
            x, name="y", height=x.height + above + below, width=x.width + left + right, channels=x.channels + more
        )
        pad = FloatPad("y", x, y, above, left, more // 2, value)
        cases.append(FloatCase(f"pad {row}", pad, {"x": small(rng, 1, *x.shape)}, halo=number % 3))
    for channels in (*CHANNELS, 10, 100):
        x = tensor("x", element, (1, 1), channels)
        values = small(np.random.default_rng(channels), 1, *x.shape)
        cases.append(FloatCase(f"scores {channels}", FloatScores("y", x, replace(x, name="y")), {"x": values}))
    return cases


def mean_cases(element: str) -> list[FloatCase]:
    """Return means of windows, whose padding counts or not, and maps of other sizes."""
    cases = []
    forms = (
        ((2, 2), (2, 2), (0, 0), (1, 1)), ((3, 3), (1, 1), (1, 1), (1, 1)), ((3, 2), (2, 1), (1, 0), (1, 1)),
        ((1, 5), (1, 2), (0, 2), (1, 1)), ((2, 3), (1, 1), (1, 2), (1, 2)), ((3, 2), (1, 2), (2, 1), (2, 3)),
    )  # fmt: skip
    axes = {"channels": CHANNELS, "size": ((3, 5), (8, 8), (4, 11)), "form": forms}
    for number, rng, row in rows(axes, 15):
        x, (size, strides, pads, dilations) = tensor("x", element, row["size"], row["channels"]), row["form"]
        sides = zip(row["size"], covered(size, dilations), strides, pads, strict=True)
        height, width = ((side + 2 * pad - whole) // stride + 1 for side, whole, stride, pad in sides)
        y = tensor("y", element, (height, width), x.channels)
        shares = rng.uniform(0.2, 1, height).astype(np.float32), rng.uniform(0.2, 1, width).astype(np.float32)
        operator = FloatAveragePool("y", x, y, size, strides, pads, *shares, dilations)
        values = {"x": small(rng, 1, *x.shape)}
        cases.append(FloatCase(f"mean {row}", operator, values, None, number % 3, NEAR[element]))
    modes = (
        ("nearest", "asymmetric", "floor"),
        ("nearest", "half_pixel", "round_prefer_ceil"),
        ("linear", "half_pixel", "floor"),
        ("linear", "align_corners", "floor"),
        ("linear", "asymmetric", "floor"),
    )
    axes = {"channels": CHANNELS, "size": SIZES, "to": ((1, 1), (6, 10), (5, 3), (16, 9)), "mode": modes}
    for number, rng, row in rows(axes, 16):
        x, y = (tensor(name, element, row[axis], row["channels"]) for name, axis in (("x", "size"), ("y", "to")))
        operator = resized(Resize("y", "x", row["to"], *row["mode"]), x, y)
        cases.append(
            FloatCase(f"resize {row}", operator, {"x": small(rng, 1, *x.shape)}, None, number % 3, NEAR[element])
        )
    return cases


MAP_FAMILIES: dict[str, Callable[[str], list[FloatCase]]] = {
    "formulas": formula_cases,
    "two maps": binary_cases,
    "moves": move_cases,
    "means": mean_cases,
}
