"""The remainder grid of operators that read or write int16: layers, sums, averages, other scales, moves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.integer import lower
from calib.integer.operation import dilated
from calib.integer.program import (
    AveragePool,
    Concat,
    Conv2d,
    Crop,
    DepthwiseConv2d,
    GlobalAveragePool,
    MaxPool,
    NearestUpsample,
    Operator,
    Pad,
    Rescale,
    SelectPixels,
    ShuffleChannels,
    WideAdd,
)
from calib.integer.qparams import INT32_MAX, WIDEST, QParams
from calib.integer.values import Requantize, Tensor
from tests.support.kernel_cases import HALOS, ZEROS, Axes, covering, pair
from tests.support.kernel_harness import Case

Values = dict[str, NDArray[Any]]

REACHES = (WIDEST, WIDEST, 32767, 12345, 900)
# What is read, written and added: w is int16, n int8.
WIDTHS = ("ww", "wn", "nw", "www", "wwn", "wnw", "nwn", "nww", "nnw", "wnn")
WINDOWS = ((1, 1), (1, 2), (3, 1), (3, 2), ((1, 5), 1), (2, (2, 1)), (3, 1, 2))
FILLS = ("random", "random", "lowest", "highest", "corners")
BOUNDS = ("none", "relu", "narrow")
SECOND = ("map", "channels", "pixels", "one", "rows")
SIZES = ((1, 1), (2, 2), (1, 9), (7, 1), (5, 14), (9, 13))


def wide_layer_cases() -> list[Case]:
    """Return convolutions of both kinds and classifiers."""
    axes: Axes = {
        "kind": ("dense", "depthwise", "dense"),
        "widths": WIDTHS,
        "window": WINDOWS,
        "inputs": (1, 3, 8, 12, 17, 33, 60),
        "outputs": (1, 5, 8, 12, 18, 33, 65),
        "size": SIZES,
        "fill": FILLS,
        "weights": ("random", "random", "highest", "signs"),
        "zero": ZEROS,
        "bounds": BOUNDS,
        "reach": REACHES,
        "halo": HALOS,
        "out_halo": HALOS,
    }
    cases = [_layer(seed, **row) for seed, row in enumerate(covering(axes, 31))]
    return [*cases, *(_scores(seed, inputs, classes) for seed, inputs, classes in SCORES), _layer_by_hand()]


SCORES = ((0, 1, 1), (1, 7, 3), (2, 99, 10), (3, 160, 67), (4, 33, 1000))


def wide_map_cases() -> list[Case]:
    """Return operators without weights."""
    axes: Axes = {
        "kind": (
            _sum,
            _sum,
            _average,
            _global,
            _rescale,
            _max_pool,
            _concat,
            _crop,
            _upsample,
            _shuffle,
            _pad,
            _select,
        ),
        "widths": WIDTHS,
        "second": SECOND,
        "channels": (1, 3, 6, 12, 16, 17, 33, 40),
        "size": SIZES,
        "fill": FILLS,
        "zero": ZEROS,
        "bounds": BOUNDS,
        "reach": REACHES,
        "halo": HALOS,
        "out_halo": HALOS,
    }
    cases = []
    for seed, row in enumerate(covering(axes, 32)):
        rng, kind, (height, width) = np.random.default_rng(seed), row.pop("kind"), row["size"]
        x = Tensor("x", height, width, row["channels"], _qparams(row["widths"][0], row["zero"], row["reach"], rng))
        operator, others = kind(x, row, rng)
        tensors = {"x": _values(row["fill"], x, rng)} | {t.name: _values("random", t, rng) for t in others}
        name = (
            f"{kind.__name__} {seed}, {row['fill']} input: {', '.join(f'{key} {value}' for key, value in row.items())}"
        )
        cases.append(Case(name, operator, tensors, halos={"x": row["halo"], "y": row["out_halo"]}))
    return [*cases, _sum_by_hand(), _rescale_by_hand(), _longest_average()]


FAMILIES = {"wide layers": wide_layer_cases, "wide maps": wide_map_cases}


# -- layers ------------------------------------------------------------------------------------------------------------
def _layer(seed: int, **row: Any) -> Case:
    rng, (height, width), widths = np.random.default_rng(seed), row["size"], row["widths"]
    kernel, strides, dilations = (pair(side) for side in (*row["window"], 1)[:3])
    depthwise = row["kind"] == "depthwise"
    x = Tensor("x", height, width, row["inputs"], _qparams(widths[0], row["zero"], row["reach"], rng))
    pads = tuple(dilated(taps, apart) // 2 for taps, apart in zip(kernel, dilations, strict=True))
    sides = zip((height, width), pads, kernel, dilations, strides, strict=True)
    rows, columns = ((side + 2 * pad - dilated(taps, apart)) // by + 1 for side, pad, taps, apart, by in sides)
    outputs = x.channels if depthwise else row["outputs"]
    y = Tensor("y", rows, columns, outputs, _qparams(widths[1], 0, row["reach"], rng))
    shape = (outputs, *kernel) if depthwise else (outputs, *kernel, x.channels)
    weight = _weights(row["weights"], shape, rng)
    if x.qparams.is_wide:  # as calibration plans it
        largest = int(np.abs(weight.reshape(outputs, -1).astype(int)).sum(1).max())
        reach = min(row["reach"], (INT32_MAX - (1 << 28)) // max(largest, 1))
        x = replace(x, qparams=replace(x.qparams, reach=reach))
    deviation = x.qparams.farthest / 3 * np.sqrt((weight.reshape(outputs, -1).astype(float) ** 2).sum(1))
    spread = y.qparams.high / 2 * np.exp2(rng.uniform(-1, 1.5, outputs))
    scales = (spread * y.qparams.scale / x.qparams.scale / np.maximum(deviation, 1)).astype(np.float32)
    bias = rng.normal(0, y.qparams.high / 4, outputs) * y.qparams.scale
    scales = np.maximum(scales, np.float32(np.abs(bias) / x.qparams.scale / 2**27))
    layer = lower.IntegerLayer("case", weight, bias, scales, x.qparams)
    residual = None
    tensors = {"x": _values(row["fill"], x, rng)}
    if len(widths) == 3:
        residual = replace(y, name="r", qparams=_qparams(widths[2], 7, row["reach"], rng))
        tensors["r"] = _values("random", residual, rng)
    written = lower.LayerOutput(y.qparams, *_bounds(row["bounds"], y.qparams), residual)
    epilogue, start = lower.lower_depthwise(layer, written) if depthwise else lower.lower_dense(layer, written)
    kind = DepthwiseConv2d if depthwise else Conv2d
    operator = kind("y", x, y, weight, start, strides, pads, epilogue, dilations)
    name = f"layer {seed}, {_described(row)}"
    return Case(name, operator, tensors, halos={"x": row["halo"], "y": row["out_halo"]})


def _scores(seed: int, inputs: int, classes: int) -> Case:
    rng = np.random.default_rng(seed)
    x = Tensor("x", 1, 1, inputs, QParams(2.0**-12, 0, REACHES[seed]))
    weight = _weights("random", (classes, 1, 1, inputs), rng)
    scales = rng.uniform(0.001, 0.01, classes).astype(np.float32)
    layer = lower.IntegerLayer("case", weight, rng.normal(0, 1, classes), scales, x.qparams)
    epilogue, start = lower.lower_logits(layer)
    operator = Conv2d("y", x, Tensor("y", 1, 1, classes, QParams(1.0)), weight, start, (1, 1), (0, 0), epilogue)
    return Case(f"{classes} scores of {inputs} channels of int16", operator, {"x": _values("random", x, rng)})


def _layer_by_hand() -> Case:
    """Return 3 * 20000 - 2 * -30000 + 5 and the largest sum of a full int16, both halved, limited at 32000."""
    x, y = Tensor("x", 1, 2, 2, QParams(1.0, 0, WIDEST)), Tensor("y", 1, 2, 1, QParams(4.0, 0, 32000))
    values = np.array([20000, -30000, -32768, 32767], np.int16).reshape(1, 1, 2, 2)
    epilogue = Requantize(np.array([0.25], np.float32), 0, -32000, 32000)
    weight = np.array([3, -2], np.int8).reshape(1, 1, 1, 2)
    operator = Conv2d("y", x, y, weight, np.int32([5]), (1, 1), (0, 0), epilogue)
    # 120005 / 4 and -163833 / 4
    return Case("a layer of int16 by hand", operator, {"x": values}, answer=np.array([[[30001], [-32000]]]))


# -- operators without weights: each returns itself and what it reads besides x ----------------------------------------
def _sum(x: Tensor, row: dict[str, Any], rng: np.random.Generator) -> tuple[Operator, list[Tensor]]:
    widths, second = row["widths"], row["second"]
    y = replace(x, name="y", qparams=_qparams(widths[1], -9, row["reach"], rng))
    sizes = {
        "channels": (1, 1, x.channels),
        "pixels": (x.height, x.width, 1),
        "one": (1, 1, 1),
        "rows": (x.height, 1, 1),
    }
    other = Tensor("r", *sizes.get(second, x.shape), _qparams((widths + "w")[2], 5, row["reach"], rng))
    factors = lower.lower_wide_add(x.qparams, other.qparams, y.qparams)
    assert factors is not None
    sign = float(rng.choice((-1, 1)))
    return WideAdd("y", x, other, y, factors[0], sign * factors[1], *_bounds(row["bounds"], y.qparams)), [other]


def _sum_by_hand() -> Case:
    """Return a + 2 b with a of int16 in steps of 1 and b of int8 in steps of 0.5 above 3, in steps of 1 above -1."""
    a, b = Tensor("x", 1, 1, 4, QParams(1.0, 0, WIDEST)), Tensor("r", 1, 1, 4, QParams(0.5, 3))
    y = Tensor("y", 1, 1, 4, QParams(1.0, -1))
    tensors = {"x": np.int16([[[[100, -7, 32767, 3]]]]), "r": np.int8([[[[5, 4, -128, 6]]]])}
    operator = WideAdd("y", a, b, y, 16.0, 8.0, -128, 127)
    # 101, -6.5 and 4.5, whose halves go up, all above -1
    return Case("a sum of int16 by hand", operator, tensors, answer=np.array([[[100, -7, 127, 4]]]))


def _average(x: Tensor, row: dict[str, Any], rng: np.random.Generator) -> tuple[Operator, list[Tensor]]:
    size, stride = ((3, 3), (2, 2), (1, 4))[row["channels"] % 3], 1 + row["channels"] % 2
    pads = size[0] // 2, size[1] // 2
    sides = zip((x.height, x.width), pads, size, strict=True)
    rows, columns = ((side + 2 * pad - of) // stride + 1 for side, pad, of in sides)
    y = Tensor("y", rows, columns, x.channels, _out(x, row, rng))
    counts = rng.integers(1, 5, (rows, columns)) if row["bounds"] == "relu" else None
    bias, epilogue = lower.lower_pool(size[0] * size[1], x.qparams, y.qparams, counts=counts)
    return AveragePool("y", x, y, size, pair(stride), pads, bias, epilogue), []


def _global(x: Tensor, row: dict[str, Any], rng: np.random.Generator) -> tuple[Operator, list[Tensor]]:
    y = Tensor("y", 1, 1, x.channels, _out(x, row, rng))
    return GlobalAveragePool("y", x, y, *lower.lower_pool(x.height * x.width, x.qparams, y.qparams)), []


def _longest_average() -> Case:
    """Return the mean of as many of the lowest int16 as int32 holds the sum of."""
    x, y = Tensor("x", 255, 256, 4, QParams(1.0, 0, WIDEST)), Tensor("y", 1, 1, 4, QParams(1.0, 0, WIDEST))
    operator = GlobalAveragePool("y", x, y, *lower.lower_pool(255 * 256, x.qparams, y.qparams))
    values = np.full((1, *x.shape), -WIDEST, np.int16)
    return Case("mean of 65,280 int16", operator, {"x": values}, answer=np.full((1, 1, 4), -WIDEST))


def _rescale(x: Tensor, row: dict[str, Any], rng: np.random.Generator) -> tuple[Operator, list[Tensor]]:
    y = replace(x, name="y", qparams=_out(x, row, rng))
    return Rescale("y", x, y, lower.lower_rescale(x.qparams, y.qparams)), []


def _rescale_by_hand() -> Case:
    """Return int16 in steps of 1/64 as int8 in steps of 1 above 10: halves go to the even neighbour."""
    x, y = Tensor("x", 1, 1, 6, QParams(1 / 64, 0, WIDEST)), Tensor("y", 1, 1, 6, QParams(1.0, 10))
    values = np.int16([[[[64, 96, 160, -32, 32767, -32768]]]])
    answer = np.array([[[11, 12, 12, 10, 127, -128]]])
    return Case(
        "rescale by hand", Rescale("y", x, y, lower.lower_rescale(x.qparams, y.qparams)), {"x": values}, answer=answer
    )


def _max_pool(x: Tensor, row: dict[str, Any], rng: np.random.Generator) -> tuple[Operator, list[Tensor]]:
    x = _as_wide(x, row)
    size, stride = ((3, 3), (2, 2), (1, 5))[row["channels"] % 3], 1 + row["channels"] % 2
    pads = size[0] // 2, size[1] // 2
    sides = zip((x.height, x.width), pads, size, strict=True)
    rows, columns = ((side + 2 * pad - of) // stride + 1 for side, pad, of in sides)
    return MaxPool("y", x, replace(x, name="y", height=rows, width=columns), size, pair(stride), pads), [x]


def _concat(x: Tensor, row: dict[str, Any], rng: np.random.Generator) -> tuple[Operator, list[Tensor]]:
    x = _as_wide(x, row)
    other = replace(x, name="r", channels=int(rng.integers(1, 40)))
    y = replace(x, name="y", channels=2 * x.channels + other.channels)
    return Concat("y", (x, other, x), y), [x, other]


def _crop(x: Tensor, row: dict[str, Any], rng: np.random.Generator) -> tuple[Operator, list[Tensor]]:
    x = _as_wide(x, row)
    down, right, channel = (int(rng.integers(0, side)) for side in x.shape)
    y = Tensor("y", x.height - down, x.width - right, int(rng.integers(1, x.channels - channel + 1)), x.qparams)
    return Crop("y", x, y, down, right, channel), [x]


def _upsample(x: Tensor, row: dict[str, Any], rng: np.random.Generator) -> tuple[Operator, list[Tensor]]:
    x = _as_wide(x, row)
    return NearestUpsample("y", x, replace(x, name="y", height=2 * x.height, width=3 * x.width), 2, 3), [x]


def _shuffle(x: Tensor, row: dict[str, Any], rng: np.random.Generator) -> tuple[Operator, list[Tensor]]:
    groups = (2, 3, 7)[row["channels"] % 3]
    x = replace(_as_wide(x, row), channels=x.channels * groups)
    return ShuffleChannels("y", x, replace(x, name="y"), groups), [x]


def _pad(x: Tensor, row: dict[str, Any], rng: np.random.Generator) -> tuple[Operator, list[Tensor]]:
    x = _as_wide(x, row)
    y = Tensor("y", x.height + 3, x.width + 2, x.channels + 5, x.qparams)
    return Pad("y", x, y, 1, 2, 3, int(rng.integers(-300, 300))), [x]


def _select(x: Tensor, row: dict[str, Any], rng: np.random.Generator) -> tuple[Operator, list[Tensor]]:
    x = _as_wide(x, row)
    rows, columns = (rng.integers(0, side, side + 2).astype(np.int32) for side in (x.height, x.width))
    return SelectPixels("y", x, replace(x, name="y", height=len(rows), width=len(columns)), rows, columns), [x]


def _described(row: dict[str, Any]) -> str:
    return f"{row['fill']} input: " + ", ".join(f"{key} {value}" for key, value in row.items())


# -- numbers -----------------------------------------------------------------------------------------------------------
def _qparams(width: str, zero: int, reach: int, rng: np.random.Generator) -> QParams:
    """Return int8 or int16 that cover about as much."""
    if width == "n":
        return QParams(float(2.0 ** rng.uniform(-1, 1)), zero)
    return QParams(float(2.0 ** rng.uniform(-1, 1)) * 127 / reach, 0, reach)


def _out(x: Tensor, row: dict[str, Any], rng: np.random.Generator) -> QParams:
    """Return what an operator writes that has int16 on one side at least."""
    return _qparams("w" if row["widths"][0] == "n" else row["widths"][1], -20, row["reach"], rng)


def _as_wide(x: Tensor, row: dict[str, Any]) -> Tensor:
    return x if x.qparams.is_wide else replace(x, qparams=QParams(0.01, 0, row["reach"]))


def _bounds(name: str, y: QParams) -> tuple[int, int]:
    narrow = y.low // 3, y.high // 5
    return {"none": (y.low, y.high), "relu": (y.zero_point, y.high), "narrow": narrow}[name]


def _values(fill: str, tensor: Tensor, rng: np.random.Generator) -> NDArray[Any]:
    (low, high), shape = (tensor.qparams.low, tensor.qparams.high), (1, *tensor.shape)
    match fill:
        case "lowest" | "highest":
            values = np.full(shape, low if fill == "lowest" else high)
        case "corners":
            values = rng.choice([low, high], shape)
        case _:
            values = rng.integers(low, high + 1, shape)
    return values.astype(tensor.element)


def _weights(fill: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.int8]:
    if fill == "signs":
        return rng.choice([-127, 127], shape).astype(np.int8)
    return (np.full(shape, 127) if fill == "highest" else rng.integers(-127, 128, shape)).astype(np.int8)
