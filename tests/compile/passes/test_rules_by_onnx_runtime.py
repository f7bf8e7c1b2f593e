"""Operators that move, average or combine pixels: what their rules make is what ONNX Runtime computes in float."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from calib.integer import program as ir
from calib.integer.qparams import QParams, dequantize
from calib.integer.reference import execute
from compile.passes.plan import plan
from compile.passes.rules import Refusal
from tests.support.graphs import P, Q, graph, n

SEVEN = QParams(0.13, -7)
OPSET = 19
HALF = 0.501  # of a step, with some room for float32


def compare(
    operator: str,
    inputs: Mapping[str, tuple[int, ...]],
    constants: Mapping[str, np.ndarray] | None = None,
    qparams: Mapping[str, QParams] | None = None,
    near: float = HALF,
    **attributes: Any,
) -> ir.Operator:
    """Lower one node, compare its integers with ONNX Runtime's real numbers, and return what it became.

    A result keeps the scale of its input exactly, or is `near` steps away: half a step, and what else is rounded.
    """
    constants, given = dict(constants or {}), {**dict.fromkeys("xgy", P), **(qparams or {})}
    node = helper.make_node(operator, [*inputs, *constants], ["y"], **attributes)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    stored = [numpy_helper.from_array(value, name) for name, value in constants.items() if name]
    made = helper.make_graph(
        [node], "one", values, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], stored
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    integers = {name: rng.integers(-128, 128, shape).astype(np.int8) for name, shape in inputs.items()}
    (expected,) = session.run(None, {name: dequantize(value, given[name]) for name, value in integers.items()})
    lowered = graph(
        n(operator, " ".join([*inputs, *constants]), "y", **attributes), shapes={**inputs, "y": expected.shape},
        constants={name: value for name, value in constants.items() if name}, qparams=given, output="none",
    )  # fmt: skip
    (step,) = plan(lowered)
    assert not isinstance(step.result, Refusal), step.result
    got = execute(step.result, {name: value.transpose(0, 2, 3, 1) for name, value in integers.items()})
    real = np.clip(expected / np.float64(given["y"].scale) + given["y"].zero_point, -128, 127)
    assert np.abs(got.transpose(0, 3, 1, 2) - real).max() <= near
    return step.result


LINEAR = HALF + 2 * 255 / 2**12  # both weights are rounded to 11 bits, and multiplied by up to 255
SUM = HALF + 2 * 255 / 2**13  # both factors are rounded to 4096ths
SIZES = ((4, 4), (8, 8), (6, 10), (7, 5), (3, 2), (12, 1), (1, 9), (13, 17))
COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric")


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("size", SIZES)
def test_linear_resize(coordinates: str, size: tuple[int, int]) -> None:
    made = compare(
        "Resize", {"x": (1, 3, 4, 5)}, {"roi": np.float32([]), "scales": np.float32([]), "s": np.int64([1, 3, *size])},
        {"y": SEVEN}, LINEAR, mode="linear", coordinate_transformation_mode=coordinates,
    )  # fmt: skip
    assert isinstance(made, ir.LinearResize)


@pytest.mark.parametrize("coordinates", COORDINATES[:-1])
@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("size", SIZES)
def test_nearest_resize(coordinates: str, rounding: str, size: tuple[int, int]) -> None:
    made = compare(
        "Resize", {"x": (1, 3, 4, 5)}, {"roi": np.float32([]), "scales": np.float32([]), "s": np.int64([1, 3, *size])},
        coordinate_transformation_mode=coordinates, nearest_mode=rounding,
    )  # fmt: skip
    assert isinstance(made, ir.SelectPixels | ir.NearestUpsample)


@pytest.mark.parametrize("size", SIZES)
def test_nearest_resize_of_tensorflow(size: tuple[int, int]) -> None:
    constants = {"roi": np.float32([]), "scales": np.float32([]), "s": np.int64([1, 3, *size])}
    places = {"coordinate_transformation_mode": "tf_half_pixel_for_nn", "nearest_mode": "floor"}
    compare("Resize", {"x": (1, 3, 4, 5)}, constants, **places)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric"])
@pytest.mark.parametrize("scales", [(2.2, 1.3), (0.6, 2.0), (1.75, 0.5)])
def test_scales_that_make_no_whole_sizes(mode: str, coordinates: str, scales: tuple[float, float]) -> None:
    constants = {"roi": np.float32([]), "scales": np.float32([1, 1, *scales])}
    compare(
        "Resize", {"x": (1, 3, 4, 5)}, constants, None, LINEAR, mode=mode, coordinate_transformation_mode=coordinates
    )


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
@pytest.mark.parametrize("pads", [(0, 0, 1, 2, 0, 0, 3, 0), (0, 0, 0, 0, 0, 0, 0, 2), (0, 0, 3, 1, 0, 0, 0, 4)])
def test_pad(mode: str, pads: tuple[int, ...]) -> None:
    constants = {"pads": np.int64(pads)} | ({"value": np.float32(-0.9)} if mode == "constant" else {})
    made = compare("Pad", {"x": (1, 3, 4, 5)}, constants, mode=mode)
    assert isinstance(made, ir.Pad if mode == "constant" else ir.SelectPixels)


def test_pad_of_channels_and_of_some_axes() -> None:
    made = compare("Pad", {"x": (1, 3, 4, 5)}, {"pads": np.int64([0, 2, 1, 0, 0, 5, 0, 1])})
    assert (made.row, made.column, made.channel, made.value) == (1, 0, 2, P.zero_point)
    axes = {"pads": np.int64([1, 2, 0, 3]), "value": np.float32(np.inf), "axes": np.int64([-1, 1])}
    made = compare("Pad", {"x": (1, 3, 4, 5)}, axes)
    assert (made.row, made.column, made.channel, made.value) == (0, 1, 2, 127)


@pytest.mark.parametrize(
    ("limits", "kind"),
    [(([0, 1], [4, 5], [2, 3], [2, 2]), ir.SelectPixels), (([3], [-9], [2], [-1]), ir.SelectPixels),
     (([-2, 1], [1 << 40, 3], [2, 1], [1, 1]), ir.Crop), (([1, 3], [3, 0], [-4 + 2, 3], [1, -2]), ir.SelectPixels)],
)  # fmt: skip
def test_slice_with_steps(limits: tuple[list[int], ...], kind: type) -> None:
    constants = dict(zip(("starts", "ends", "axes", "steps"), map(np.int64, limits), strict=True))
    assert isinstance(compare("Slice", {"x": (1, 3, 4, 5)}, constants), kind)


@pytest.mark.parametrize("counted", [0, 1])
@pytest.mark.parametrize("ceil", [0, 1])
@pytest.mark.parametrize(
    ("kernel", "strides", "pads"),
    [((3, 3), (1, 1), (1, 1, 1, 1)), ((3, 3), (2, 2), (0, 0, 0, 0)), ((2, 3), (2, 1), (0, 1, 1, 1)),
     ((3, 2), (2, 2), (1, 0, 1, 1)), ((5, 7), (3, 3), (2, 3, 2, 3)), ((13, 11), (2, 3), (4, 3, 5, 4))],
)  # fmt: skip
def test_average_pool(counted: int, ceil: int, kernel: tuple, strides: tuple, pads: tuple) -> None:
    made = compare(
        "AveragePool", {"x": (1, 3, 12, 14)}, qparams={"y": SEVEN}, kernel_shape=kernel, strides=strides, pads=pads,
        ceil_mode=ceil, count_include_pad=counted,
    )  # fmt: skip
    assert isinstance(made, ir.AveragePool)


@pytest.mark.parametrize("ceil", [0, 1])
@pytest.mark.parametrize(
    ("kernel", "strides", "pads", "dilations"),
    [((3, 3), (2, 2), (0, 0, 0, 0), (1, 1)), ((2, 3), (2, 3), (1, 0, 0, 2), (1, 1)),
     ((3, 1), (1, 2), (2, 0, 2, 0), (2, 1)),
     ((2, 2), (2, 2), (0, 0, 0, 0), (3, 2))],
)  # fmt: skip
def test_max_pool(ceil: int, kernel: tuple, strides: tuple, pads: tuple, dilations: tuple) -> None:
    window = {"kernel_shape": kernel, "strides": strides, "pads": pads, "dilations": dilations}
    assert isinstance(compare("MaxPool", {"x": (1, 3, 11, 14)}, ceil_mode=ceil, **window), ir.MaxPool)


@pytest.mark.parametrize("operator", ["Mul", "Add", "Sub"])
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(
    "shape", [(1, 3, 4, 5), (1, 3, 1, 1), (1, 1, 4, 5), (1, 1, 1, 1), (1, 3, 4, 1), (1, 1, 1, 5), (1, 3, 1, 5)]
)
def test_products_and_sums(operator: str, swapped: bool, shape: tuple[int, ...]) -> None:
    inputs = {"x": (1, 3, 4, 5), "g": shape}
    inputs = dict(reversed(inputs.items())) if swapped else inputs
    y = QParams(4.0 if operator == "Mul" else 0.31, 11)
    made = compare(operator, inputs, qparams={"g": Q, "y": y}, near=HALF if operator == "Mul" else SUM)
    assert isinstance(made, ir.Multiply if operator == "Mul" else ir.Add)
