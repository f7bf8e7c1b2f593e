"""Operators of 8-bit tensors: the network they make, against ONNX Runtime, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from calib.importer.qoperator import to_qdq
from calib.integer import program as ir
from calib.integer.reference import run
from compile.frontend.qdq_file import read_qdq
from compile.passes import lower
from repghost.errors import UsageError
from tests.support.agreement import check_steps, onnx_runtime
from tests.support.programs import random_images
from tests.support.qdq_models import Model, preprocess, save

WEIGHT_MAX = 63  # ONNX Runtime adds pairs of products in int16 on some CPUs
SCALES = {
    "input8": (4.8 / 255, 113), "conv": (0.05, 128), "leaky": (0.04, 30), "max": (0.04, 30), "mean": (0.02, 20),
    "squeeze": (0.03, 120), "gate": (1 / 256, 0), "gated": (0.03, 40), "sum": (0.06, 50), "both": (0.06, 50),
    "average": (0.05, 45), "vector": (0.03, 60), "hidden": (0.05, 128), "flat": (0.03, 60),
}  # fmt: skip


class QModel(Model):
    """Writes operators of 8-bit tensors; every tensor of SCALES is uint8 with that scale and zero point."""

    def params(self, tensor: str) -> list[str]:
        scale, zero_point = SCALES[tensor]
        self.constant(f"{tensor}.scale", scale)
        return [f"{tensor}.scale", self.constant(f"{tensor}.zero_point", zero_point, np.uint8)]

    def operand(self, tensor: str) -> list[str]:
        return [tensor, *self.params(tensor)]

    def matrix(self, name: str, shape: tuple[int, ...], axis: int) -> list[str]:
        """Return an int8 weight with one scale for each index of an axis, and an int32 bias beside it."""
        count = shape[axis]
        self.constant(f"{name}.bias", self.rng.integers(-500, 500, count), np.int32)
        return [
            self.constant(f"{name}.weight", self.rng.integers(-WEIGHT_MAX, WEIGHT_MAX + 1, shape), np.int8),
            self.constant(f"{name}.weight_scale", self.rng.uniform(0.002, 0.006, count)),
            self.constant(f"{name}.weight_zero", np.zeros(count), np.int8),
        ]

    def of_microsoft(self, operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        return self.node(operator, inputs, output, domain="com.microsoft", **attributes)

    def function(self, operator: str, x: str, output: str, **attributes: object) -> str:
        return self.of_microsoft(operator, [*self.operand(x), *self.params(output)], output, **attributes)

    def pair(self, operator: str, a: str, b: str, output: str) -> str:
        inputs = [*self.operand(a), *self.operand(b), *self.params(output)]
        return self.of_microsoft(operator, inputs, output)

    def convolution(self, x: str, output: str, shape: tuple[int, ...], **attributes: object) -> str:
        weight = self.matrix(output, shape, 0)
        inputs = [*self.operand(x), *weight, *self.params(output), f"{output}.bias"]
        return self.node("QLinearConv", inputs, output, **attributes)


def one_of_each() -> onnx.ModelProto:
    """Return a network with every operator but Softmax, which has no rule."""
    m = QModel()
    m.node("QuantizeLinear", ["input", *m.params("input8")], "input8")
    m.convolution("input8", "conv", (8, 3, 3, 3), pads=[1, 1, 1, 1], strides=[2, 2])
    m.function("QLinearLeakyRelu", "conv", "leaky", alpha=0.1)
    m.node("MaxPool", ["leaky"], "max", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1])
    m.function("QLinearGlobalAveragePool", "max", "mean", channels_last=0)
    m.convolution("mean", "squeeze", (8, 8, 1, 1))
    m.function("QLinearSigmoid", "squeeze", "gate")
    m.pair("QLinearMul", "max", "gate", "gated")
    m.pair("QLinearAdd", "gated", "leaky", "sum")
    m.of_microsoft("QLinearConcat", [*m.params("both"), *m.operand("sum"), *m.operand("gated")], "both", axis=1)
    m.function("QLinearAveragePool", "both", "average", kernel_shape=[2, 2], strides=[2, 2])
    m.function("QLinearGlobalAveragePool", "average", "vector")
    m.node("Flatten", ["vector"], "flat")
    inputs = [*m.operand("flat"), *m.matrix("hidden", (16, 12), 1), *m.params("hidden")]
    m.node("QLinearMatMul", inputs, "hidden")
    weight = m.matrix("logits", (7, 12), 0)
    m.of_microsoft("QGemm", [*m.operand("hidden"), *weight, "logits.bias"], "logits", alpha=1.0, transB=1)
    model = m.build("logits", 7)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


def test_one_of_each_is_the_same_network(tmp_path: Path) -> None:
    model = one_of_each()
    program, images = lower(read_qdq(save(model, tmp_path))), random_images(4, 16, 16, seed=1)
    assert [type(operator) for operator in program.operators] == [
        ir.InputTable, ir.Conv2d, ir.Lookup, ir.MaxPool, ir.GlobalAveragePool, ir.Conv2d, ir.Lookup, ir.Multiply,
        ir.Add, ir.Lookup, ir.Concat, ir.AveragePool, ir.GlobalAveragePool, ir.Conv2d, ir.Conv2d,
    ]  # fmt: skip
    check_steps(to_qdq(model), program, images, preprocess(16))


def test_onnx_runtime_gives_both_forms_the_same_scores() -> None:
    model, x = one_of_each(), preprocess(16).normalize(random_images(4, 16, 16, seed=2))
    given, made = onnx_runtime(model), onnx_runtime(to_qdq(model))
    expected, scores = (np.concatenate([form({"input": x[[i]]})[0] for i in range(4)]) for form in (given, made))
    assert np.ptp(scores) > 0.5 and np.ptp(scores[:, 6]) > 0.3  # the images differ
    # ONNX Runtime rounds its 8-bit operators otherwise: two steps of a last int8 value times its weight
    np.testing.assert_allclose(scores, expected, atol=2 * 0.05 * WEIGHT_MAX * 0.006)


def test_what_moves_bytes_keeps_their_scale(tmp_path: Path) -> None:
    """Pad puts the byte of 0 around, Split has two results, Transpose and Resize are in the way of nothing."""
    m = QModel()
    m.node("QuantizeLinear", ["input", *m.params("input8")], "input8")
    pads = m.constant("pads", [0, 0, 1, 1, 0, 0, 1, 1], np.int64)
    m.node("Pad", ["input8", pads, m.params("input8")[1]], "padded")
    convolution = ["padded", *m.params("input8"), *m.matrix("conv", (8, 3, 3, 3), 0)]
    m.node("QLinearConv", [*convolution, *m.params("conv"), "conv.bias"], "conv", strides=[2, 2])
    sizes = m.constant("sizes", [3, 5], np.int64)
    m.nodes.append(helper.make_node("Split", ["conv", sizes], ["left", "right"], name="split", axis=1))
    scales = m.constant("scales", [1, 1, 2, 2])
    kind = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    m.node("Resize", ["right", "", scales], "larger", **kind)
    larger = ["larger", *m.params("conv"), *m.params("vector")]
    m.of_microsoft("QLinearGlobalAveragePool", larger, "vector", channels_last=0)
    m.node("Flatten", ["vector"], "flat")
    m.of_microsoft("QGemm", [*m.operand("flat"), *m.matrix("logits", (7, 5), 0), "logits.bias"], "logits", transB=1)
    model = m.build("logits", 7)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    program = lower(read_qdq(save(model, tmp_path)))
    assert [type(operator) for operator in program.operators] == [
        ir.InputTable, ir.Conv2d, ir.Crop, ir.NearestUpsample, ir.GlobalAveragePool, ir.Conv2d,
    ]  # fmt: skip
    images = random_images(3, 16, 16, seed=3)
    x, evaluate = preprocess(16).normalize(images), onnx_runtime(model)
    expected = np.concatenate([evaluate({"input": x[[i]]})[0] for i in range(3)])
    np.testing.assert_allclose(run(program, images), expected, atol=0.03 * WEIGHT_MAX * 0.006)  # a step of the vector


def test_other_networks_are_left_alone() -> None:
    m = Model()
    model = m.build(m.node("Relu", ["input"], "y"), 7)
    assert to_qdq(model) is model


def node(model: onnx.ModelProto, output: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if output in node.output)


def channels_last(model: onnx.ModelProto) -> None:
    node(model, "mean").attribute[0].i = 1


def without_scale(model: onnx.ModelProto) -> None:
    node(model, "sum").input[4] = ""


def cut_short(model: onnx.ModelProto) -> None:
    del node(model, "both").input[3:]


def two_outputs(model: onnx.ModelProto) -> None:
    node(model, "gated").output.append("mask")


def bias_of_bytes(model: onnx.ModelProto) -> None:
    node(model, "conv").input[8] = "conv.weight_zero"


def computed_bias(model: onnx.ModelProto) -> None:
    node(model, "logits").input[6] = "hidden"


def unknown(model: onnx.ModelProto) -> None:
    node(model, "gate").op_type = "QLinearWhere"


def repeated_name(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32([0]), "sum, real"))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (channels_last, "has channels_last"), (without_scale, "needs a tensor, a scale and a zero point"),
        (cut_short, "needs a tensor, a scale"), (two_outputs, "has 2 outputs"),
        (bias_of_bytes, "has a bias of int8"), (computed_bias, "computes 'hidden'"),
        (unknown, "'QLinearWhere' of domain 'com.microsoft'"), (repeated_name, "two tensors are called 'sum, real'"),
    ],
)  # fmt: skip
def test_bad_operators_are_named(tmp_path: Path, edit: Callable[[onnx.ModelProto], None], words: str) -> None:
    model = one_of_each()
    edit(model)
    with pytest.raises(UsageError, match=words):
        read_qdq(save(model, tmp_path))
