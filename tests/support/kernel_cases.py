"""The remainder grid: operators of many shapes and numbers, each a case for `kernel_harness`.

A family crosses its axes pairwise: any two values of two axes meet in at least one case. That finds what a product of
all axes finds, with a small part of the kernels, and each kernel costs a compilation.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from calib.integer import lower
from calib.integer.operation import dilated
from calib.integer.program import (
    Add,
    AveragePool,
    ChannelSlopes,
    Concat,
    Conv2d,
    Crop,
    DepthwiseConv2d,
    Dequantize,
    GlobalAveragePool,
    InputTable,
    Lookup,
    MaxPool,
    Multiply,
    NearestUpsample,
    ShuffleChannels,
)
from calib.integer.qparams import INT16_MAX, INT16_MIN, QParams
from calib.integer.values import Epilogue, Requantize, RequantizeQ15, RequantizeQ15Add, Tensor
from tests.support.kernel_harness import Case

Axes: TypeAlias = Mapping[str, Sequence[Any]]
Side: TypeAlias = int | tuple[int, int]  # of rows and of columns; one number for both
CANDIDATES = 100  # rows tried for each row taken
UNIFORM_DEVIATION = 74  # of int8 values that are equally likely

BOUNDS = ("none", "relu", "relu6", "narrow")
FILLS = ("random", "random", "lowest", "highest", "corners")  # of the input
WEIGHTS = ("random", "random", "lowest", "highest", "signs")
ZEROS = (0, -128, 127, -9)  # 0 is the symmetric policy
HALOS = (0, 1, 3)
WINDOWS = ((3, 3), (2, 2), (2, 3), (5, 1), (11, 11))  # of an average pool; 11 * 11 is the largest square


def covering(axes: Axes, seed: int) -> list[dict[str, Any]]:
    """Return rows that hold every pair of values of every two axes at least once; the same rows for the same seed."""
    rng = np.random.default_rng(seed)
    names = list(axes)
    missing = {
        (a, i, b, j)
        for a, b in itertools.combinations(range(len(names)), 2)
        for i in range(len(axes[names[a]]))
        for j in range(len(axes[names[b]]))
    }
    sizes = [len(axes[name]) for name in names]
    rows = []
    while missing:
        wanted = min(missing)
        best: tuple[int, ...] = ()
        most = 0
        for _ in range(CANDIDATES):
            row = [int(rng.integers(size)) for size in sizes]
            row[wanted[0]], row[wanted[2]] = wanted[1], wanted[3]
            found = len(_pairs(row) & missing)
            if found > most:
                best, most = tuple(row), found
        missing -= _pairs(best)
        rows.append({name: axes[name][index] for name, index in zip(names, best, strict=True)})
    return rows


def _pairs(row: Sequence[int]) -> set[tuple[int, int, int, int]]:
    return {(a, row[a], b, row[b]) for a, b in itertools.combinations(range(len(row)), 2)}


def gemm_cases() -> list[Case]:
    """Return 1x1 convolutions: every remainder of the register tiles in pixels, input and output channels."""
    axes: Axes = {
        "inputs": (1, 6, 12, 16, 20, 60, 100),
        "outputs": (1, 7, 8, 12, 18, 33, 49),
        "width": (1, 2, 3, 5, 7, 8, 13),
        "height": (1, 2, 3),
        "residual": (False, True),
        **NUMBERS,
    }
    rows = covering(axes, 1)
    # Two of the widest tiles and one channel more; a classifier-like depth; a row longer than two cache lines.
    for inputs, outputs, width in ((4, 65, 14), (17, 129, 8), (33, 130, 5), (320, 8, 2), (5, 5, 67)):
        rows.append({**rows[0], "inputs": inputs, "outputs": outputs, "width": width})
    cases = [_dense_case(kernel=1, stride=1, same=False, seed=seed, **row) for seed, row in enumerate(rows)]
    return cases + [_tie_case(zero, outputs) for zero in NUMBERS["out_zero"] for outputs in (4, 9, 16)]


def dense_cases() -> list[Case]:
    """Return dense convolutions with larger kernels, strides and paddings, and 1x1 ones with a stride."""
    axes: Axes = {
        "kernel_stride": ((3, 1), (3, 2), (5, 1), (5, 2), (7, 1), (7, 2), (1, 2), (3, 3)),
        "inputs": (1, 3, 4, 5, 8, 13, 16),
        "outputs": (1, 4, 5, 12, 17, 33),
        "size": ((1, 1), (2, 2), (1, 9), (7, 1), (5, 14), (9, 13)),
        "same": (True, True, False, "below"),
        "residual": (False, False, True),
        **NUMBERS,
    }
    cases = []
    for seed, row in enumerate(covering(axes, 2)):
        (kernel, stride), (height, width) = row.pop("kernel_stride"), row.pop("size")
        cases.append(_dense_case(kernel=kernel, stride=stride, height=height, width=width, seed=seed, **row))
    for seed, row in enumerate([*covering({**axes, **DILATED}, 8)[::2], *covering({**axes, **OBLONG}, 10)[::2]]):
        (kernel, stride), (height, width) = row.pop("kernel_stride"), row.pop("size")
        cases.append(_dense_case(kernel=kernel, stride=stride, height=height, width=width, seed=seed, **row))
    # Rows of the input that are longer than those of the output, where no border lies around either.
    plain: dict[str, Any] = {
        **dict.fromkeys(("zero", "out_zero", "halo", "out_halo"), 0),
        "residual": False,
        "same": False,
    }
    plain |= {"fill": "random", "weights": "random", "bounds": "none", "height": 9, "width": 13, "outputs": 5}
    cases += [_dense_case(kernel=k, stride=1, inputs=8, seed=k, **plain) for k in (2, 3)]
    return [*cases, _dilated_by_hand(), _oblong_by_hand()]


def depthwise_cases() -> list[Case]:
    """Return depthwise convolutions with both accumulators, with and without a residual."""
    axes: Axes = {
        "kernel_stride": ((3, 1), (3, 2), (5, 1), (5, 2), (7, 1), (7, 2), (1, 1), (3, 3)),
        "channels": (1, 6, 12, 16, 17, 31, 33, 40),
        "size": ((1, 1), (2, 2), (1, 9), (7, 1), (5, 14), (9, 4), (11, 13)),
        "int16": (True, False),
        "residual": (False, True),
        "same": (True, True, False, "below"),
        **NUMBERS,
    }
    cases = []
    for seed, row in enumerate(covering(axes, 3)):
        (kernel, stride), (height, width) = row.pop("kernel_stride"), row.pop("size")
        cases.append(_depthwise_case(kernel=kernel, stride=stride, height=height, width=width, seed=seed, **row))
    for seed, row in enumerate([*covering({**axes, **DILATED}, 9)[::2], *covering({**axes, **OBLONG}, 11)[::2]]):
        (kernel, stride), (height, width) = row.pop("kernel_stride"), row.pop("size")
        cases.append(_depthwise_case(kernel=kernel, stride=stride, height=height, width=width, seed=seed, **row))
    # Kernels of so many taps that a unit has fewer rows than divide the height.
    plain = {**dict.fromkeys(("zero", "out_zero", "halo", "out_halo"), 0), "fill": "random", "weights": "random"}
    plain |= {"bounds": "none", "residual": False, "same": True, "stride": 1, "channels": 12, "height": 14, "width": 9}
    return cases + [
        _depthwise_case(kernel=side, int16=side == 9, seed=side, **plain) for side in (9, (13, 11), (1, 40))
    ]


def interleaved_cases() -> list[Case]:
    """Return what `compile.schedules.int8.depthwise_dot` can take: 3x3, stride 1, int16, at least two rows."""
    axes: Axes = {
        "channels": (8, 12, 16, 17, 24, 33, 40, 52),
        "height": (2, 3, 4, 5, 7, 9, 15),
        "width": (4, 5, 6, 7, 8, 13),
        "residual": (False, True),
        "same": (True, True, False, "below"),
        **NUMBERS,
    }
    rows = covering(axes, 7)
    return [_depthwise_case(kernel=3, stride=1, int16=True, seed=seed, **row) for seed, row in enumerate(rows)]


def logits_cases() -> list[Case]:
    """Return classifiers; the scores are float and there are exactly as many as classes."""
    axes: Axes = {
        "inputs": (1, 7, 16, 99),
        "classes": (1, 2, 3, 4, 10, 33, 67),
        "fill": FILLS,
        "weights": WEIGHTS,
        "zero": ZEROS,
    }
    return [_logits_case(seed=seed, **row) for seed, row in enumerate(covering(axes, 4))]


def elementwise_cases() -> list[Case]:
    """Return pools, gates, adds, lookups and input tables."""
    axes: Axes = {
        "kind": (_pool_case, _gate_case, _add_case, _lookup_case),
        "channels": (1, 6, 12, 17, 31, 33, 60),
        "size": ((1, 1), (2, 2), (1, 9), (7, 1), (5, 14), (16, 16)),
        **{name: NUMBERS[name] for name in ("fill", "zero", "out_zero", "bounds", "halo", "out_halo")},
    }
    cases = []
    for seed, row in enumerate(covering(axes, 5)):
        (height, width), kind = row.pop("size"), row.pop("kind")
        cases.append(kind(height=height, width=width, seed=seed, **row))
        if kind is _pool_case:
            window, stride, padding = WINDOWS[seed % len(WINDOWS)], (1, 2)[seed % 2], (1, 1, 0)[seed % 3]
            cases.append(_average_pool_case(height, width, window, stride, padding, seed=seed, **row))
        if kind is _lookup_case:
            cases.append(_slopes_case(height=height, width=width, seed=seed, **row))
    cases += [_average_pool_by_hand(), _slopes_by_hand(), _difference_by_hand()]
    # A pool of one row that alone could leave int16.
    row = {"channels": 5, "bounds": "none", "zero": 0, "out_zero": 0, "halo": 0, "out_halo": 0}
    for seed, (height, width) in enumerate(((1, 255), (1, 256), (1, 257), (3, 600), (300, 1))):
        cases.append(_pool_case(height=height, width=width, fill=("lowest", "highest")[seed % 2], seed=seed, **row))
    sizes = ((1, 1), (2, 15), (3, 16), (2, 17), (1, 31), (2, 32), (5, 33), (4, 48), (1, 67))
    cases += [_table_case(height, width, seed) for seed, (height, width) in enumerate(sizes)]
    cases += [_table_case(height, width, seed, lines=True) for seed, (height, width) in enumerate(sizes)]
    others = ((seed, *size, lines) for seed, size in enumerate(sizes) for lines in (False, True))
    cases += [
        _table_case(height, width, seed, lines, channels)
        for seed, height, width, lines in others
        for channels in (1, 2, 4)
    ]
    return cases


def movement_cases() -> list[Case]:
    """Return max pools, concatenations, crops, enlargements, shuffles and int8 scores."""
    axes: Axes = {
        "channels": (1, 3, 6, 12, 16, 17, 33, 40),
        "size": ((1, 1), (2, 2), (1, 9), (7, 1), (5, 14), (9, 13)),
        "window": (
            (2, 2),
            (3, 1),
            (3, 2),
            (5, 1),
            (7, 3),
            ((3, 2), (1, 2)),
            ((1, 5), 2),
            (3, 1, (2, 1)),
            (3, 2, (1, 3)),
        ),
        "fill": FILLS,
        "zero": ZEROS,
        "halo": HALOS,
        "out_halo": HALOS,
    }
    cases = []
    for seed, row in enumerate(covering(axes, 6)):
        (height, width), window = row.pop("size"), row.pop("window")
        cases.append(_max_pool_case(height=height, width=width, window=window, seed=seed, **row))
        kind = (_concat_case, _crop_case, _upsample_case, _shuffle_case)[seed % 4]
        cases.append(kind(height=height, width=width, seed=seed, **row))
    cases += [_dequantize_case(classes, seed) for seed, classes in enumerate((1, 2, 7, 10, 33))]
    cases += [_result_case(*sizes) for sizes in ((5, 3, 7, 1), (2, 9, 24, 0))]
    return [*cases, _max_pool_by_hand(), _upsample_by_hand(), _shuffle_by_hand()]


def _max_pool_by_hand() -> Case:
    """Return a 3x3 max pool of stride 2 over 1 .. 16, negated: the border never wins."""
    x = Tensor("x", 4, 4, 1, QParams(0.1, 7))
    values = -np.arange(1, 17, dtype=np.int8).reshape(1, 4, 4, 1)
    operator = MaxPool("y", x, Tensor("y", 2, 2, 1, x.qparams), (3, 3), (2, 2), (1, 1))
    return Case("max pool by hand", operator, {"x": values}, answer=np.array([[[-1], [-2]], [[-5], [-6]]]))


def _dilated_by_hand() -> Case:
    """Return a 2x2 kernel of ones over every other pixel of 1 .. 9: 1 + 3 + 7 + 9, above a zero point of 2."""
    x, y = Tensor("x", 3, 3, 1, QParams(1.0, 2)), Tensor("y", 1, 1, 1, QParams(1.0, -1))
    values = np.arange(3, 12, dtype=np.int8).reshape(1, 3, 3, 1)
    epilogue, start = Requantize(np.ones(1, np.float32), -1, -128, 127), np.int32([-2 * 4])
    operator = Conv2d("y", x, y, np.ones((1, 2, 2, 1), np.int8), start, (1, 1), (0, 0), epilogue, (2, 2))
    return Case("dilation by hand", operator, {"x": values}, answer=np.array([[[20 - 1]]]))


def _oblong_by_hand() -> Case:
    """Return a 1x3 kernel of 1, 10, 100 over 1 2 3 / 4 5 6 / 7 8 9, every other row, one zero on the left of each."""
    x, y = Tensor("x", 3, 3, 1, QParams(1.0, 0)), Tensor("y", 2, 2, 1, QParams(10.0, 0))
    values = np.arange(1, 10, dtype=np.int8).reshape(1, 3, 3, 1)
    weight = np.array([1, 10, 100], np.int8).reshape(1, 1, 3, 1)
    epilogue, start = Requantize(np.full(1, 0.1, np.float32), 0, -128, 127), np.int32([0])
    operator = Conv2d("y", x, y, weight, start, (2, 1), (0, 1), epilogue)
    answer = np.array([[21, 32], [87, 99]])[..., None]  # tenths of 210 and 321, 870 and 987
    return Case("oblong by hand", operator, {"x": values}, answer=answer)


DILATED: Axes = {"kernel_stride": ((3, 1), (3, 2), (5, 1), (2, 1)), "dilation": (2, 3, 5)}
OBLONG: Axes = {
    "kernel_stride": (((1, 3), 1), ((7, 1), 1), ((3, 1), (2, 1)), ((2, 5), (1, 2)), ((3, 3), (1, 2)), ((1, 4), (3, 2))),
    "dilation": (1, 1, (2, 1), (1, 3)),
    "same": (True, "below", "uneven"),
}

NUMBERS: dict[str, Sequence[Any]] = {
    "fill": FILLS,
    "weights": WEIGHTS,
    "zero": ZEROS,
    "out_zero": (0, -128, 60, -9),
    "bounds": BOUNDS,
    "halo": HALOS,
    "out_halo": HALOS,
}

FAMILIES: dict[str, Callable[[], list[Case]]] = {
    "gemm": gemm_cases,
    "dense": dense_cases,
    "depthwise": depthwise_cases,
    "logits": logits_cases,
    "elementwise": elementwise_cases,
    "movement": movement_cases,
}


# -- one case ----------------------------------------------------------------------------------------------------------
def _dense_case(
    kernel: Side, stride: Side, same: bool | str, inputs: int, outputs: int, height: int, width: int, residual: bool,
    fill: str, weights: str, zero: int, out_zero: int, bounds: str, halo: int, out_halo: int, seed: int,
    dilation: Side = 1,
) -> Case:  # fmt: skip
    rng = np.random.default_rng(seed)
    kernel, strides, dilations = pair(kernel), pair(stride), pair(dilation)
    x = Tensor("x", height, width, inputs, QParams(1.0, zero))
    pads, output = _output(x, outputs, covered(kernel, dilations), strides, same, out_zero)
    weight = _weights(weights, (outputs, *kernel, inputs), rng)
    tensors = {"x": values_of(fill, x, rng)}
    other = None
    if residual:
        other = _residual(output, rng)
        tensors["r"] = values_of("random", other, rng)
    scales, bias = _scales_and_bias(weight, zero, out_zero, fill, weights, rng)
    layer = lower.IntegerLayer("case", weight, bias, scales, x.qparams)
    epilogue, start = lower.lower_dense(layer, lower.LayerOutput(output.qparams, *bounds_of(bounds, out_zero), other))
    operator = Conv2d("y", x, output, weight, start, strides, pads, epilogue, dilations)
    name = (
        f"conv {kernel} strides {strides} pads {pads}, {height}x{width}x{inputs} to {outputs} channels"
        f"{', residual' * residual}{_dilation(dilations)}, "
        f"{numbers_of(fill, weights, zero, out_zero, bounds, halo, out_halo)}"
    )
    return Case(name, operator, tensors, halos={"x": halo, "y": out_halo})


def _tie_case(out_zero: int, outputs: int) -> Case:
    """Return a 1x1 convolution whose products are whole numbers and halves, which go to the even neighbour."""
    rng = np.random.default_rng(outputs)
    x = Tensor("x", 3, 5, 1, QParams(1.0, 0))
    y = Tensor("y", 3, 5, outputs, QParams(1.0, out_zero))
    weight = rng.integers(-2, 3, (outputs, 1, 1, 1)).astype(np.int8)
    epilogue = Requantize(np.full(outputs, 0.5, np.float32), out_zero, -128, 127)
    operator = Conv2d("y", x, y, weight, rng.integers(-3, 4, outputs).astype(np.int32), (1, 1), (0, 0), epilogue)
    return Case(f"halves in {outputs} channels, zero point {out_zero}", operator, {"x": values_of("random", x, rng)})


def _depthwise_case(
    kernel: Side, stride: Side, same: bool | str, channels: int, height: int, width: int, residual: bool, int16: bool,
    fill: str, weights: str, zero: int, out_zero: int, bounds: str, halo: int, out_halo: int, seed: int,
    dilation: Side = 1,
) -> Case:  # fmt: skip
    rng = np.random.default_rng(seed)
    kernel, strides, dilations = pair(kernel), pair(stride), pair(dilation)
    x = Tensor("x", height, width, channels, QParams(1.0, zero))
    pads, output = _output(x, channels, covered(kernel, dilations), strides, same, out_zero)
    weight = _weights(weights, (channels, *kernel), rng)
    tensors = {"x": values_of(fill, x, rng)}
    other = None
    if residual:
        other = _residual(output, rng)
        tensors["r"] = values_of("random", other, rng)
    limits = bounds_of(bounds, out_zero)
    epilogue: Epilogue
    if int16:
        weight = _within_int16(weight)
        epilogue, start = _q15(weight, limits, other, rng)
    else:
        scales, bias = _scales_and_bias(weight, zero, out_zero, fill, weights, rng)
        layer = lower.IntegerLayer("case", weight, bias, scales, x.qparams)
        epilogue, start = lower.lower_dense(layer, lower.LayerOutput(output.qparams, *limits, other))
    operator = DepthwiseConv2d("y", x, output, weight, start, strides, pads, epilogue, dilations)
    name = (
        f"depthwise {kernel} strides {strides} pads {pads}, {height}x{width}x{channels}, "
        f"int{16 if int16 else 32}{', residual' * residual}{_dilation(dilations)}, "
        f"{numbers_of(fill, weights, zero, out_zero, bounds, halo, out_halo)}"
    )
    return Case(name, operator, tensors, halos={"x": halo, "y": out_halo})


def _logits_case(inputs: int, classes: int, fill: str, weights: str, zero: int, seed: int) -> Case:
    rng = np.random.default_rng(seed)
    x = Tensor("x", 1, 1, inputs, QParams(0.03, zero))
    weight = _weights(weights, (classes, 1, 1, inputs), rng)
    scales = rng.uniform(0.001, 0.01, classes).astype(np.float32)
    layer = lower.IntegerLayer("case", weight, rng.normal(0, 1, classes), scales, x.qparams)
    epilogue, start = lower.lower_logits(layer)
    operator = Conv2d("y", x, Tensor("y", 1, 1, classes, QParams(1.0)), weight, start, (1, 1), (0, 0), epilogue)
    name = f"logits of {classes} classes from {inputs} channels, {fill} input, {weights} weights, zero point {zero}"
    return Case(name, operator, {"x": values_of(fill, x, rng)})


def _pool_case(
    height: int, width: int, channels: int, fill: str, zero: int, out_zero: int, bounds: str, halo: int, out_halo: int,
    seed: int,
) -> Case:  # fmt: skip
    rng = np.random.default_rng(seed)
    x = Tensor("x", height, width, channels, QParams(0.1, zero))
    y = Tensor("y", 1, 1, channels, QParams(0.1 / np.sqrt(height * width), out_zero))
    bias, epilogue = lower.lower_pool(height * width, x.qparams, y.qparams, *bounds_of(bounds, out_zero))
    operator = GlobalAveragePool("y", x, y, bias, epilogue)
    name = f"pool of {height}x{width}x{channels}, {numbers_of(fill, 'no', zero, out_zero, bounds, halo, out_halo)}"
    return Case(name, operator, {"x": values_of(fill, x, rng)}, halos={"x": halo, "y": out_halo})


def _average_pool_case(
    height: int, width: int, window: tuple[int, int], stride: int, padding: int, channels: int, fill: str, zero: int,
    out_zero: int, bounds: str, halo: int, out_halo: int, seed: int,
) -> Case:  # fmt: skip
    rng = np.random.default_rng(seed)
    x = Tensor("x", height, width, channels, QParams(0.1, zero))
    padding = padding if min(height, width) >= max(window) else max(window) // 2
    rows, columns = ((side + 2 * padding - of) // stride + 1 for side, of in zip((height, width), window, strict=True))
    y = Tensor("y", rows, columns, channels, QParams(0.04, out_zero))
    bias, epilogue = lower.lower_pool(window[0] * window[1], x.qparams, y.qparams, *bounds_of(bounds, out_zero))
    operator = AveragePool("y", x, y, window, pair(stride), pair(padding), bias, epilogue)
    numbers = numbers_of(fill, "no", zero, out_zero, bounds, halo, out_halo)
    name = f"average of {window[0]}x{window[1]} stride {stride} pad {padding} of {height}x{width}x{channels}, {numbers}"
    return Case(name, operator, {"x": values_of(fill, x, rng)}, halos={"x": halo, "y": out_halo})


def _average_pool_by_hand() -> Case:
    """Return a mean of 3x3 over 9, 18, 27, ... with padding; scales and zero points differ."""
    x = Tensor("x", 2, 2, 1, QParams(0.5, 1))
    y = Tensor("y", 2, 2, 1, QParams(0.25, -2))
    values = np.array([10, 19, 28, 37], np.int8).reshape(1, 2, 2, 1)  # 9, 18, 27, 36 above the zero point: sum 90
    bias, epilogue = lower.lower_pool(9, x.qparams, y.qparams)
    operator = AveragePool("y", x, y, (3, 3), (1, 1), (1, 1), bias, epilogue)
    return Case("average of 3x3 by hand", operator, {"x": values}, answer=np.full((2, 2, 1), 90 * 2 // 9 - 2))


def _gate_case(
    height: int, width: int, channels: int, fill: str, zero: int, out_zero: int, bounds: str, halo: int, out_halo: int,
    seed: int,
) -> Case:  # fmt: skip
    rng = np.random.default_rng(seed)
    x = Tensor("x", height, width, channels, QParams(0.1, zero))
    gate = Tensor("g", 1, 1, channels, QParams(1 / 255, (-128, 127, 0)[seed % 3]))
    y = replace(x, name="y", qparams=QParams(0.07, out_zero))
    epilogue = lower.lower_multiply(x.qparams, gate.qparams, y.qparams, *bounds_of(bounds, out_zero))
    name = f"gate of {height}x{width}x{channels}, {numbers_of(fill, 'no', zero, out_zero, bounds, halo, out_halo)}"
    tensors = {"x": values_of(fill, x, rng), "g": values_of("random", gate, rng)}
    return Case(name, Multiply("y", x, gate, y, epilogue), tensors, halos={"x": halo, "y": out_halo})


def _add_case(
    height: int, width: int, channels: int, fill: str, zero: int, out_zero: int, bounds: str, halo: int, out_halo: int,
    seed: int,
) -> Case:  # fmt: skip
    rng = np.random.default_rng(seed)
    a = Tensor("x", height, width, channels, QParams(0.1, zero))
    b = replace(a, name="r", qparams=QParams(0.1, int(rng.integers(-128, 128))))
    y = replace(a, name="y", qparams=QParams(0.1, out_zero))
    factors = [int(factor) for factor in np.exp2(rng.uniform(0, 20 if fill == "corners" else 13, 2))]
    sign = (1, -1)[seed % 2]  # a difference is a sum with a negative factor
    operator = Add("y", a, b, y, factors[0], sign * factors[1], *bounds_of(bounds, out_zero))
    numbers = numbers_of(fill, "no", zero, out_zero, bounds, halo, out_halo)
    name = f"{'add' if sign > 0 else 'difference'} of {height}x{width}x{channels}, {numbers}"
    tensors = {"x": values_of(fill, a, rng), "r": values_of("random", b, rng)}
    return Case(name, operator, tensors, halos={"x": halo, "y": out_halo})


def _difference_by_hand() -> Case:
    """Return 0.5 * (a - 1) - (b + 2) in steps of 0.5 above -3, clamped at 0 as by a ReLU."""
    a, b, y = (
        Tensor(name, 1, 1, 4, QParams(*given)) for name, given in (("x", (0.5, 1)), ("r", (1, -2)), ("y", (0.5, -3)))
    )
    operator = Add("y", a, b, y, 4096, -8192, -3, 127)
    tensors = {"x": np.int8([[[[1, 41, 127, -128]]]]), "r": np.int8([[[[-2, 3, -128, 127]]]])}
    return Case("difference by hand", operator, tensors, answer=np.array([[[-3, 27, 127, -3]]]))


def _lookup_case(
    height: int, width: int, channels: int, fill: str, zero: int, out_zero: int, bounds: str, halo: int, out_halo: int,
    seed: int,
) -> Case:  # fmt: skip
    rng = np.random.default_rng(seed)
    x = Tensor("x", height, width, channels, QParams(0.1, zero))
    y = replace(x, name="y", qparams=QParams(0.1, out_zero))
    operator = Lookup("y", x, y, rng.permutation(np.arange(-128, 128)).astype(np.int8))
    name = f"lookup of {height}x{width}x{channels}, {numbers_of(fill, 'no', zero, out_zero, bounds, halo, out_halo)}"
    return Case(name, operator, {"x": values_of(fill, x, rng)}, halos={"x": halo, "y": out_halo})


def _slopes_case(
    height: int, width: int, channels: int, fill: str, zero: int, out_zero: int, bounds: str, halo: int, out_halo: int,
    seed: int,
) -> Case:  # fmt: skip
    rng = np.random.default_rng(seed)
    x = Tensor("x", height, width, channels, QParams(0.1, zero))
    y = replace(x, name="y", qparams=QParams((0.07, 1e-5, 20.0)[seed % 3], out_zero))
    slopes = rng.normal(0.2, 1, channels) * rng.choice((0, 1, 1, 30), channels)
    below, epilogue = lower.lower_slopes(slopes, x.qparams, y.qparams, *bounds_of(bounds, out_zero))
    numbers = numbers_of(fill, "no", zero, out_zero, bounds, halo, out_halo)
    name = f"slopes of {height}x{width}x{channels}, scale {y.qparams.scale}, {numbers}"
    operator = ChannelSlopes("y", x, y, below, epilogue)
    return Case(name, operator, {"x": values_of(fill, x, rng)}, halos={"x": halo, "y": out_halo})


def _slopes_by_hand() -> Case:
    """Return slopes of 0.25, -1, 0 and 3 below zero, with scales of 0.5 and 0.25."""
    x, y = Tensor("x", 1, 4, 4, QParams(0.5, 2)), Tensor("y", 1, 4, 4, QParams(0.25, -3))
    values = np.array([2, 12, -8, -128], np.int8)  # 0, 10, -10 and -130 steps of 0.5
    below, epilogue = lower.lower_slopes(np.array([0.25, -1, 0, 3]), x.qparams, y.qparams)
    answer = np.array([[-3] * 4, [17] * 4, [-8, 17, -3, -63], [-68, 127, -3, -128]])
    operator = ChannelSlopes("y", x, y, below, epilogue)
    tensors = {"x": np.repeat(values, 4).reshape(1, 1, 4, 4)}
    return Case("slopes by hand", operator, tensors, answer=answer[None])


def line_tables(rng: np.random.Generator, channels: int = 3) -> NDArray[np.int8]:
    """Return tables as a normalization gives them, int8 [channels, 256]; some saturate."""
    mean, deviation = rng.uniform(0.2, 0.7, channels), rng.uniform(0.15, 0.4, channels)
    scale, zero_point = np.float32(rng.uniform(0.01, 0.04)), int(rng.integers(-60, 60))
    bytes_ = np.arange(256, dtype=np.float32) / 255
    normalized = (bytes_ - mean[:, None].astype(np.float32)) / deviation[:, None].astype(np.float32)
    return np.clip(np.rint(normalized / scale) + zero_point, -128, 127).astype(np.int8)


def _table_case(height: int, width: int, seed: int, lines: bool = False, channels: int = 3) -> Case:
    rng = np.random.default_rng(seed)
    output = Tensor("y", height, width, channels, QParams(0.1, int(rng.integers(-128, 128))))
    tables = np.stack([rng.permutation(np.arange(-128, 128)) for _ in range(channels)]).astype(np.int8)
    tables = line_tables(rng, channels) if lines else tables
    image = rng.integers(0, 256, (1, height, width, channels)).astype(np.uint8)
    name = f"picture {height}x{width}x{channels}{' by lines' * lines}"
    return Case(name, InputTable("y", output, tables), image=image, halos={"y": seed % 3})


def _max_pool_case(
    height: int, width: int, channels: int, window: tuple[Side, ...], fill: str, zero: int, halo: int, out_halo: int,
    seed: int,
) -> Case:  # fmt: skip
    x = Tensor("x", height, width, channels, QParams(0.1, zero))
    size, strides, dilations = (pair(value) for value in (*window, 1)[:3])
    whole = covered(size, dilations)
    pads = whole[0] // 2, whole[1] // 2
    sides = zip((height, width), pads, whole, strides, strict=True)
    rows, columns = ((side + 2 * pad - of) // stride + 1 for side, pad, of, stride in sides)
    operator = MaxPool("y", x, replace(x, name="y", height=rows, width=columns), size, strides, pads, dilations)
    name = f"maxpool {window} of {height}x{width}x{channels}, {fill}, {halo} {out_halo} {zero}"
    return Case(
        name, operator, {"x": values_of(fill, x, np.random.default_rng(seed))}, halos={"x": halo, "y": out_halo}
    )


def _concat_case(
    height: int, width: int, channels: int, fill: str, zero: int, halo: int, out_halo: int, seed: int
) -> Case:
    rng = np.random.default_rng(seed)
    x = Tensor("x", height, width, channels, QParams(0.1, zero))
    r = replace(x, name="r", channels=int(rng.integers(1, 40)))
    y = replace(x, name="y", channels=2 * x.channels + r.channels)
    name = f"concat of {channels} and {r.channels}, {height}x{width}, {fill}, zero {zero}, borders {halo} {out_halo}"
    tensors = {"x": values_of(fill, x, rng), "r": values_of("random", r, rng)}
    return Case(name, Concat("y", (x, r, x), y), tensors, halos={"x": halo, "y": out_halo})


def _crop_case(
    height: int, width: int, channels: int, fill: str, zero: int, halo: int, out_halo: int, seed: int
) -> Case:
    rng = np.random.default_rng(seed)
    x = Tensor("x", height, width, channels, QParams(0.1, zero))
    row, column, channel = (int(rng.integers(0, side)) for side in (height, width, channels))
    y = Tensor("y", height - row, width - column, int(rng.integers(1, channels - channel + 1)), x.qparams)
    name = f"crop of {height}x{width}x{channels} at {row}, {column}, {channel}, {fill}, {zero}, {halo} {out_halo}"
    case = Crop("y", x, y, row, column, channel)
    return Case(name, case, {"x": values_of(fill, x, rng)}, halos={"x": halo, "y": out_halo})


def _upsample_case(
    height: int, width: int, channels: int, fill: str, zero: int, halo: int, out_halo: int, seed: int
) -> Case:
    rng = np.random.default_rng(seed)
    x = Tensor("x", height, width, channels, QParams(0.1, zero))
    rows, columns = ((2, 2), (1, 3), (4, 1), (3, 5))[seed // 4 % 4]
    y = replace(x, name="y", height=rows * height, width=columns * width)
    name = f"upsample {rows}x{columns} of {height}x{width}x{channels}, {fill}, {zero}, {halo} {out_halo}"
    operator = NearestUpsample("y", x, y, rows, columns)
    return Case(name, operator, {"x": values_of(fill, x, rng)}, halos={"x": halo, "y": out_halo})


def _upsample_by_hand() -> Case:
    x, y = Tensor("x", 2, 2, 1, QParams(0.1)), Tensor("y", 4, 6, 1, QParams(0.1))
    values = np.array([1, 2, 3, 4], np.int8).reshape(1, 2, 2, 1)
    answer = np.array([[1, 1, 1, 2, 2, 2]] * 2 + [[3, 3, 3, 4, 4, 4]] * 2)[..., None]
    return Case("upsample by hand", NearestUpsample("y", x, y, 2, 3), {"x": values}, answer=answer)


def _shuffle_case(
    height: int, width: int, channels: int, fill: str, zero: int, halo: int, out_halo: int, seed: int
) -> Case:
    rng = np.random.default_rng(seed)
    groups = (2, 3, 4, 7)[seed // 4 % 4]
    x = Tensor("x", height, width, channels * groups, QParams(0.1, zero))
    name = f"shuffle of {groups} x {channels}, {height}x{width}, {fill}, {zero}, {halo} {out_halo}"
    operator = ShuffleChannels("y", x, replace(x, name="y"), groups)
    return Case(name, operator, {"x": values_of(fill, x, rng)}, halos={"x": halo, "y": out_halo})


def _shuffle_by_hand() -> Case:
    x = Tensor("x", 1, 1, 6, QParams(0.1))
    operator = ShuffleChannels("y", x, replace(x, name="y"), 2)
    values = np.array([1, 2, 3, 10, 20, 30], np.int8).reshape(1, 1, 1, 6)
    return Case("shuffle by hand", operator, {"x": values}, answer=np.array([[[1, 10, 2, 20, 3, 30]]]))


def _dequantize_case(classes: int, seed: int) -> Case:
    x = Tensor("x", 1, 1, classes, QParams(0.037, (-128, 3, 127)[seed % 3]))
    operator = Dequantize("y", x, replace(x, name="y"))
    return Case(f"{classes} int8 scores", operator, {"x": values_of("random", x, np.random.default_rng(seed))})


def _result_case(height: int, width: int, channels: int, halo: int) -> Case:
    """Return a map as one of several results; its numbers have no border between rows."""
    x = Tensor("x", height, width, channels, QParams(0.037, (-128, 3, 127)[channels % 3]))
    operator = Dequantize("y", x, replace(x, name="y"))
    values = values_of("random", x, np.random.default_rng(channels))
    return Case(f"result {x.shape}, halo {halo}", operator, {"x": values}, halos={"x": halo})


# -- shapes and numbers ------------------------------------------------------------------------------------------------
def pair(side: Side) -> tuple[int, int]:
    """Return what holds for rows, then for columns; one number holds for both."""
    return (side, side) if isinstance(side, int) else side


def covered(kernel: tuple[int, int], dilations: tuple[int, int]) -> tuple[int, int]:
    """Return the pixels that a kernel covers."""
    return dilated(kernel[0], dilations[0]), dilated(kernel[1], dilations[1])


def _output(
    x: Tensor, channels: int, window: tuple[int, int], strides: tuple[int, int], same: bool | str, zero: int
) -> tuple[tuple[int, int], Tensor]:
    """Return the pads and the output of a convolution; a window larger than the map is padded anyway."""
    whole = window[0] - 1, window[1] - 1
    if same in ("below", "uneven"):  # all padding below and on the right, or above and on the right
        pads, both = (whole[0] * (same == "uneven"), 0), whole
    else:
        is_padded = same or max(window) > min(x.height, x.width)
        pads = (window[0] // 2, window[1] // 2) if is_padded else (0, 0)
        both = 2 * pads[0], 2 * pads[1]
    sides = zip((x.height, x.width), both, window, strides, strict=True)
    height, width = ((side + more - of) // stride + 1 for side, more, of, stride in sides)
    return pads, Tensor("y", height, width, channels, QParams(1.0, zero))


def _dilation(dilations: tuple[int, int]) -> str:
    return f", dilations {dilations}" if dilations != (1, 1) else ""


def _residual(output: Tensor, rng: np.random.Generator) -> Tensor:
    scale = float(np.exp2(rng.uniform(-5, 1)))
    return replace(output, name="r", qparams=QParams(scale, int(rng.integers(-128, 128))))


def bounds_of(name: str, zero: int) -> tuple[int, int]:
    return {"none": (-128, 127), "relu": (zero, 127), "relu6": (zero, min(zero + 90, 127)), "narrow": (-17, 40)}[name]


def values_of(fill: str, tensor: Tensor, rng: np.random.Generator) -> NDArray[np.int8]:
    shape = (1, tensor.height, tensor.width, tensor.channels)
    match fill:
        case "lowest":
            return np.full(shape, -128, np.int8)
        case "highest":
            return np.full(shape, 127, np.int8)
        case "corners":
            return rng.choice([-128, 127], shape).astype(np.int8)
        case _:
            return rng.integers(-128, 128, shape).astype(np.int8)


def _weights(fill: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.int8]:
    match fill:
        case "lowest":
            return np.full(shape, -127, np.int8)
        case "highest":
            return np.full(shape, 127, np.int8)
        case "signs":
            return rng.choice([-127, 127], shape).astype(np.int8)
        case _:
            return rng.integers(-127, 128, shape).astype(np.int8)


def _scales_and_bias(
    weight: NDArray[np.int8], zero: int, out_zero: int, fill: str, weights: str, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return scales that bring outputs into int8, some beyond it, and biases that put them around 0."""
    flat = weight.reshape(len(weight), -1).astype(np.float64)
    if fill == weights == "random":
        reach = np.sqrt((UNIFORM_DEVIATION**2 + zero**2) * (flat**2).sum(1))
    else:
        reach = (128 + abs(zero)) * np.abs(flat).sum(1)
    spread = np.exp2(rng.uniform(-1, 1, len(weight)))
    return (60 * spread / np.maximum(reach, 1)).astype(np.float32), rng.normal(-out_zero, 30, len(weight))


def _within_int16(weight: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return weights scaled so that an int16 holds the sum over all inputs; where they are extreme, exactly holds."""
    flat = weight.reshape(len(weight), -1).astype(np.int64)
    limit = (INT16_MAX - INT16_MIN) // 255  # 255 steps from the lowest to the highest input
    total = np.abs(flat).sum(1, keepdims=True)
    scaled = np.where(total > limit, (np.abs(flat) * limit // np.maximum(total, 1)), np.abs(flat))
    rest = np.minimum(limit - scaled.sum(1), 127 - scaled[:, 0])
    scaled[:, 0] += np.where(np.abs(flat).min(1) == 127, rest, 0)
    return (np.sign(flat) * scaled).astype(np.int8).reshape(weight.shape)


def _q15(
    weight: NDArray[np.int8], bounds: tuple[int, int], residual: Tensor | None, rng: np.random.Generator
) -> tuple[RequantizeQ15 | RequantizeQ15Add, NDArray[np.int32]]:
    """Return an int16 epilogue; a part of its channels saturates wherever the contract says so."""
    flat = weight.reshape(len(weight), -1).astype(np.int64)
    positive, negative = np.maximum(flat, 0).sum(1), -np.minimum(flat, 0).sum(1)
    least, most = -128 * positive - 127 * negative, 127 * positive + 128 * negative
    start = rng.integers(INT16_MIN - least, INT16_MAX - most, endpoint=True)
    fraction = 1 if residual is None else 32
    deviation = UNIFORM_DEVIATION * np.sqrt((flat**2).sum(1))
    multiplier = np.clip(60 * fraction * 2**15 / np.maximum(deviation, 1), 1, INT16_MAX)
    offset = rng.normal(0, 30 * fraction, len(flat)) - (start + (least + most) / 2) * multiplier / 2**15
    extreme = rng.random(len(flat)) < 0.15
    multiplier = np.where(extreme, INT16_MAX, multiplier).astype(np.int16)
    signs = rng.choice([-INT16_MAX, INT16_MAX], len(flat))
    offset = np.clip(np.where(extreme, signs, offset), -INT16_MAX, INT16_MAX).astype(np.int16)
    if residual is None:
        return RequantizeQ15(multiplier, offset, *bounds), start.astype(np.int32)
    factor = int(rng.choice([0, 300, 8192, INT16_MAX]))
    return RequantizeQ15Add(multiplier, offset, *bounds, residual, factor), start.astype(np.int32)


def numbers_of(fill: str, weights: str, zero: int, out_zero: int, bounds: str, halo: int, out_halo: int) -> str:
    return (
        f"{fill} input, {weights} weights, zero points {zero} and {out_zero}, bounds {bounds}, "
        f"borders {halo} and {out_halo}"
    )
