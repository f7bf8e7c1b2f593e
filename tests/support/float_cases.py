"""The remainder grid of the float operators: small integers, crossed pairwise as those of `kernel_cases`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from compile.ir.float_program import (
    FloatConv2d,
    FloatDepthwiseConv2d,
    FloatGate,
    FloatInput,
    FloatMaxPool,
    FloatPool,
    FloatTensor,
)
from repghost.data.images.chosen_preprocess import with_values
from repghost.data.images.preprocess import Preprocess
from repghost.graph.operators import RELU, UNBOUNDED, Clamp
from tests.support.float_harness import FloatCase
from tests.support.kernel_cases import covered, covering, pair

CLAMPS: tuple[Clamp, ...] = (UNBOUNDED, RELU, (-3.0, 6.0))
FOUR_CHANNELS = with_values(Preprocess(size=32, resize=32), {"in_chans": 4})
ODD_TABLE = np.arange(4 * 256, dtype=np.float32).reshape(4, 256) ** 2 % 97  # no line


def small(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Return integers from -2 to 2: 500 products of two of them add up to at most 2000, which float16 holds exactly."""
    return rng.integers(-2, 3, shape).astype(np.float32)


def gemm_cases(element: str) -> list[FloatCase]:
    """Return dense convolutions: channels around the tiles, sums below and above a run of half precision."""
    around_run = (23, 24, 25) if element == "float16" else ()
    axes = {
        "inputs": (1, 3, 4, 8, 9, *around_run, 33, 100),
        "outputs": (1, 3, 4, 8, 12, 15, 28, 33),
        "size": ((1, 1), (2, 3), (7, 7), (5, 11), (9, 8)),
        "form": ((1, 1), (1, 2), (3, 1), (3, 2), ((1, 3), (2, 1)), ((5, 1), (1, 2)), (3, 1, (2, 1)), (2, 1, (1, 3))),
        "clamp": CLAMPS,
        "logits": (False, False, True),
        "residual": (False, True),
    }
    cases = []
    for seed, row in enumerate(covering(axes, 1)):
        rng = np.random.default_rng(seed)
        logits = bool(row["logits"])
        height, width = (1, 1) if logits else row["size"]
        kernel, strides, dilations = (pair(side) for side in ((1, 1, 1) if logits else (*row["form"], 1)[:3]))
        x = FloatTensor("x", height, width, row["inputs"], element)
        whole = covered(kernel, dilations)
        pads = whole[0] // 2, whole[1] // 2
        sides = zip((height, width), pads, whole, strides, strict=True)
        sides = ((side + 2 * pad - of) // stride + 1 for side, pad, of, stride in sides)
        y = FloatTensor("y", *sides, row["outputs"], element)
        weight, bias = small(rng, y.channels, *kernel, x.channels), small(rng, y.channels)
        other = replace(y, name="r") if row["residual"] and not logits else None
        layer = "y", x, y, weight, bias, strides, pads, row["clamp"], logits
        operator = FloatConv2d(*layer, dilations=dilations, residual=other)
        tensors = {"x": small(rng, 1, height, width, x.channels)}
        if other is not None:
            tensors["r"] = small(rng, 1, *other.shape)
        cases.append(FloatCase(f"gemm {row}", operator, tensors, halo=seed % 3 if not logits else 0))
    return cases


def group_cases(element: str) -> list[FloatCase]:
    """Return convolutions of groups: those whose channels fill vectors, and those computed together with others."""
    axes = {
        "groups": ((2, 4, 4), (3, 8, 8), (4, 1, 2), (2, 3, 5), (8, 2, 1), (5, 16, 8), (6, 2, 4), (2, 20, 12)),
        "size": ((1, 1), (2, 3), (7, 7), (5, 11)),
        "form": ((1, 1), (3, 1), (3, 2), ((1, 3), (2, 1)), (3, 1, (1, 2))),
        "clamp": CLAMPS,
        "residual": (False, True),
    }
    cases = []
    for seed, row in enumerate(covering(axes, 6)):
        rng = np.random.default_rng(seed)
        (groups, inputs, outputs), (height, width) = row["groups"], row["size"]
        kernel, strides, dilations = (pair(side) for side in (*row["form"], 1)[:3])
        pads = tuple(side // 2 for side in covered(kernel, dilations))
        x = FloatTensor("x", height, width, groups * inputs, element)
        y = FloatTensor("y", -(-height // strides[0]), -(-width // strides[1]), groups * outputs, element)
        other = replace(y, name="r") if row["residual"] else None
        weight, bias = small(rng, y.channels, *kernel, inputs), small(rng, y.channels)
        layer = "y", x, y, weight, bias, strides, pads, row["clamp"]
        operator = FloatConv2d(*layer, dilations=dilations, residual=other, groups=groups)
        tensors = {"x": small(rng, 1, *x.shape)} | ({} if other is None else {"r": small(rng, 1, *y.shape)})
        cases.append(FloatCase(f"groups {row}", operator, tensors, halo=seed % 3))
    return cases


def depthwise_cases(element: str) -> list[FloatCase]:
    """Return depthwise convolutions: rows that fill vectors and rows that do not, every kernel size and stride."""
    axes = {
        "channels": (1, 3, 4, 6, 8, 12, 15, 16, 20, 33),
        "size": ((1, 1), (2, 2), (3, 5), (7, 7), (8, 12), (9, 9)),
        "kernel": (3, 5, (1, 3), (4, 1)),
        "stride": (1, 2, (2, 1), (1, 2)),
        "dilation": (1, (1, 2), (2, 1)),
        "residual": (False, True),
        "clamp": CLAMPS,
        "uneven": (False, True),
    }
    cases = []
    for seed, row in enumerate(covering(axes, 2)):
        rng = np.random.default_rng(seed)
        (height, width), channels = row["size"], row["channels"]
        kernel, strides, dilations = (pair(row[axis]) for axis in ("kernel", "stride", "dilation"))
        whole = covered(kernel, dilations)
        # TensorFlow's "same" padding has less above than below
        pads = whole[0] // 2 - (1 if row["uneven"] and strides[0] > 1 and whole[0] > 1 else 0), whole[1] // 2
        x = FloatTensor("x", height, width, channels, element)
        y = FloatTensor("y", (height - 1) // strides[0] + 1, (width - 1) // strides[1] + 1, channels, element)
        other = FloatTensor("r", y.height, y.width, channels, element) if row["residual"] else None
        weight, bias = small(rng, channels, *kernel), small(rng, channels)
        layer = "y", x, y, weight, bias, strides, pads, row["clamp"]
        operator = FloatDepthwiseConv2d(*layer, dilations=dilations, residual=other)
        tensors = {"x": small(rng, 1, height, width, channels)}
        if other is not None:
            tensors["r"] = small(rng, 1, y.height, y.width, channels)
        cases.append(FloatCase(f"depthwise {row}", operator, tensors, halo=seed % 3))
    for channels in (4, 20):  # sums that float16 alone would round on the way
        rng = np.random.default_rng(channels)
        x, y = (FloatTensor(name, 6, 9, channels, element) for name in "xy")
        weight, bias = np.abs(small(rng, channels, 7, 7)), small(rng, channels)
        operator = FloatDepthwiseConv2d("y", x, y, weight, bias, (1, 1), (3, 3), UNBOUNDED)
        values = rng.integers(0, 100, (1, *x.shape)).astype(np.float32)
        cases.append(FloatCase(f"large depthwise {channels}", operator, {"x": values}, halo=1))
    return cases


def small_cases(element: str) -> list[FloatCase]:
    """Return pools, gates and images; a mean and a gate are rounded, an image as a line is off by a last place."""
    cases = []
    for seed, row in enumerate(covering({"channels": (1, 4, 7, 8, 20, 36), "size": ((1, 1), (3, 5), (8, 8))}, 3)):
        rng = np.random.default_rng(seed)
        (height, width), channels = row["size"], row["channels"]
        x, one = FloatTensor("x", height, width, channels, element), FloatTensor("g", 1, 1, channels, element)
        tensors = {"x": small(rng, 1, height, width, channels)}
        near = 1e-3 if element == "float16" else 1e-6
        cases.append(FloatCase(f"pool {row}", FloatPool("g", x, one), tensors, tolerance=near))
        gate = FloatGate("y", x, one, FloatTensor("y", height, width, channels, element))
        tensors = {**tensors, "g": rng.integers(-4, 5, (1, 1, 1, channels)).astype(np.float32)}
        cases.append(FloatCase(f"gate {row}", gate, tensors, halo=seed % 3, tolerance=2 * near))
    for width, channels in product((1, 5, 8, 11, 32), (3, 1, 2, 4)):
        image = np.random.default_rng(width).integers(0, 256, (1, 3, width, channels)).astype(np.uint8)
        for name, tables in (("line", FOUR_CHANNELS.table()), ("odd table", ODD_TABLE)):
            y, table = FloatTensor("y", 3, width, channels, element), tables[:channels]
            near = 2e-3 if element == "float16" else 1e-6
            operator = FloatInput("y", y, table.astype(np.float32))
            cases.append(FloatCase(f"picture of {name}, {width} of {channels}", operator, {}, image, width % 3, near))
    return cases


def max_pool_cases(element: str) -> list[FloatCase]:
    """Return max pools of maps below zero, where padding with a number would win."""
    axes = {"channels": (3, 4, 8, 20, 36), "size": ((3, 3), (5, 9), (8, 8)), "form": ((2, 2, 0), (3, 2, 1), (3, 1, 1))}
    axes["form"] += (((1, 3), (2, 1), (0, 1)),)
    cases = []
    for seed, row in enumerate(covering(axes, 5)):
        rng = np.random.default_rng(seed)
        (height, width), (size, strides, pads) = row["size"], (pair(side) for side in row["form"])
        x = FloatTensor("x", height, width, row["channels"], element)
        sides = zip((height, width), size, strides, pads, strict=True)
        rows, columns = ((side + 2 * pad - taps) // stride + 1 for side, taps, stride, pad in sides)
        y = FloatTensor("y", rows, columns, row["channels"], element)
        values = small(rng, 1, height, width, x.channels) - 5
        cases.append(FloatCase(f"max pool {row}", FloatMaxPool("y", x, y, size, strides, pads), {"x": values}))
    return cases


FLOAT_FAMILIES: dict[str, Callable[[str], list[FloatCase]]] = {  # of an element type; made once
    "gemm": cache(gemm_cases),
    "groups": cache(group_cases),
    "depthwise": cache(depthwise_cases),
    "small": cache(small_cases),
    "max pool": cache(max_pool_cases),
}
