"""What no graph has, and files that are wrong: named, with what would work, before anything is computed."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data

from calib.importer.import_onnx import import_onnx
from repghost.errors import UsageError
from tests.support.small_onnx import CHANNELS, COLUMNS, ROWS, Spelled, model_of, network, numbers

C, H, W = CHANNELS, ROWS, COLUMNS
WEIGHTS: dict[str, Any] = {"w": numbers(6, C, 3, 3), "b": numbers(6)}


def ints(*values: int) -> Any:
    return np.asarray(values, np.int64)


REFUSED: dict[str, tuple[list[Spelled], dict[str, Any], str]] = {
    "attention": (
        [("Transpose", ["x"], "t", {"perm": [0, 1, 3, 2]}), ("MatMul", ["x", "t"], "y")], {},
        r"MatMul\): it multiplies two matrices that both depend on the image: attention"),
    "einsum": ([("Einsum", ["x", "x"], "y", {"equation": "bchw,bchw->bchw"})], {},
               r"Einsum \(node 'n0_Einsum'\): attention"),
    "softmax inside": ([("Softmax", ["x"], "s", {"axis": 1}), ("Mul", ["x", "s"], "y")], {},
                       r"Softmax\) is not at the end: attention"),
    "layer norm": ([("LayerNormalization", ["x", "s"], "y", {"axis": -1})], {"s": numbers(W)},
                   r"LayerNormalization .*variant with batch norms"),
    "layer norm in parts": ([("ReduceMean", ["x"], "m", {"axes": [1]}), ("Sub", ["x", "m"], "y")], {},
                            "reduces other axes than rows and columns; .*LayerNorm"),
    "instance norm": ([("InstanceNormalization", ["x", "s", "s"], "y")], {"s": numbers(C)}, "variant with batch norms"),
    "transposed convolution": ([("ConvTranspose", ["x", "w"], "y")], {"w": numbers(C, 2, 2, 2)},
                               "transposed convolutions are not understood; use Resize and a convolution"),
    "a constant for each pixel": ([("Add", ["x", "k"], "y")], {"k": numbers(1, C, H, W)},
                                  "a value for each pixel; .*Position embeddings"),
    "a function of two tensors": (
        [("Conv", ["x", "w1"], "c"), ("Max", ["c", "x"], "y")], {"w1": numbers(C, C, 1, 1)},
        "Max of two tensors that depend on the image in different ways"),
    "division of maps": (
        [("Conv", ["x", "w1"], "c"), ("Div", ["x", "c"], "y")], {"w1": numbers(C, C, 1, 1)}, "Div of two tensors"),
    "pixels into channels": (
        [("Reshape", ["x", "shape"], "r"), ("Transpose", ["r"], "t", {"perm": [0, 1, 3, 2, 4]}),
         ("Reshape", ["t", "new"], "u"), ("Conv", ["u", "w1"], "y")],
        {"shape": ints(1, C, 3, 3, W), "new": ints(1, C * 3, 3, W), "w1": numbers(2, C * 3, 1, 1)},
        "moves pixels into channels"),
    "a mixer over pixels": (
        [("Reshape", ["x", "flat"], "r"), ("MatMul", ["r", "m"], "p"), ("Reshape", ["p", "back"], "y")],
        {"flat": ints(1, C, H * W), "m": numbers(H * W, H * W), "back": ints(1, C, H, W)}, "Mixers over pixels"),
    "reflected padding": ([("Pad", ["x", "pads"], "y", {"mode": "reflect"})], {"pads": ints(0, 0, 1, 1, 0, 0, 1, 1)},
                          "'constant' is understood"),
    "padding with ones": ([("Pad", ["x", "pads", "one"], "y")],
                          {"pads": ints(0, 0, 1, 1, 0, 0, 1, 1), "one": np.float32(1)}, "zeros are understood"),
    "cubic resizing": ([("Resize", ["x", "", "", "sizes"], "y", {"mode": "cubic"})], {"sizes": ints(1, C, H * 2, W)},
                       "'nearest' and 'linear' resizing"),
    "flipping": ([("Slice", ["x", "start", "end", "axis", "step"], "y")],
                 {"start": ints(-1), "end": ints(-99), "axis": ints(3), "step": ints(-1)}, "walks backwards"),
    "sizes from the image": ([("NonZero", ["x"], "n"), ("Cast", ["n"], "y", {"to": 1})], {}, "NonZero"),
    "weights that are computed": (
        [("GlobalAveragePool", ["x"], "k"), ("Conv", ["x", "k"], "y")], {},
        r"its weight 'k' is computed from the image"),
    "a batch norm in training": (
        [("BatchNormalization", ["x", "g", "g", "g", "g"], ["y", "m", "v"], {"training_mode": 1})], {"g": numbers(C)},
        "training mode. Export the network in evaluation mode"),
    "a batch norm of negative variance": (
        [("BatchNormalization", ["x", "g", "g", "g", "v"], "y")], {"g": numbers(C), "v": -np.ones(C, np.float32)},
        "4 of 4 weight values are NaN or infinite once its batch norm is folded in"),
    "three dimensions": ([("Unsqueeze", ["x", "axis"], "u"), ("Conv", ["u", "w3"], "v"),
                          ("Squeeze", ["v", "axis"], "y")],
                         {"axis": ints(4), "w3": numbers(2, C, 1, 1, 1)}, "convolutions over rows and columns"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_operators(case: str) -> None:
    nodes, constants, message = REFUSED[case]
    with pytest.raises(UsageError, match=message):
        import_onnx(model_of(nodes, constants))


CONV: list[Spelled] = [("Conv", ["x", "w", "b"], "y")]


def changed(change: Callable[[onnx.ModelProto], object], **options: Any) -> bytes:
    model = network(model_of(CONV, WEIGHTS, **options))
    change(model)
    data: bytes = model.SerializeToString()
    return data


def second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, [1, 3]))


def second_output(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "c", "h", "w"]))


def control_flow(model: onnx.ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=body, else_branch=body))


def custom_domain(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("my.domain", 1))
    model.graph.node[0].domain = "my.domain"


def cycle(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = "pooled"


def twice(model: onnx.ModelProto) -> None:
    model.graph.node.append(model.graph.node[0])


def nan(model: onnx.ModelProto) -> None:
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.full(6, math.nan, np.float32), "b"))


def no_image(model: onnx.ModelProto) -> None:
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("Constant", [], ["scores"], value_floats=[1.0, 2.0]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (second_input, r"2 inputs \('x', 'second'\)"),
        (second_output, r"2 outputs \('scores', 'y'\)"),
        (control_flow, "control flow"),
        (custom_domain, "domain 'my.domain'"),
        (cycle, "cycle"),
        (twice, "names must be unique"),
        (nan, "'b' holds NaN"),
        (no_image, "does not depend on the image|shapes in the file do not fit"),
    ],
)
def test_files(change: Callable[[onnx.ModelProto], object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        import_onnx(changed(change))


@pytest.mark.parametrize("shape", [(1, C, 1 << 20, 1 << 20), (1, C, 1 << 40, 1 << 22)])
def test_terabytes(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"at most 268435456 numbers are allowed|do not fit together"):
        import_onnx(model_of(CONV, WEIGHTS, shape))


def test_a_file_that_would_take_for_ever() -> None:
    nodes: list[Spelled] = [("Add", ["x", "x"], "a0")]
    nodes += [("Add", [f"a{step}", f"a{step}"], f"a{step + 1}") for step in range(600)]  # 2**600 ways to the image
    nodes += [("Relu", ["a600"], "y")]
    begin = time.process_time()
    assert import_onnx(model_of(nodes, {})).classes == C
    assert time.process_time() - begin < 5


def test_open_sizes_ask_for_a_size() -> None:
    model = model_of(CONV, WEIGHTS, ("n", C, "h", "w"))
    with pytest.raises(UsageError, match=r"'x' has shape \[1, 4, 'h', 'w'\]; .* Give the size of the images"):
        import_onnx(model)


def test_images_that_are_too_small() -> None:
    with pytest.raises(UsageError, match=r"nothing is left of the images\. Give larger ones"):
        import_onnx(model_of([("MaxPool", ["x"], "y", {"kernel_shape": [20, 20]})], {}))


def test_a_network_without_a_classifier() -> None:
    model = network(model_of(CONV, WEIGHTS, head=False))
    model.graph.output[0].type.tensor_type.shape.CopyFrom(
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "c", "h", "w"]).type.tensor_type.shape
    )
    with pytest.raises(UsageError, match="one score for each of up to 100000 classes"):
        import_onnx(model.SerializeToString())


def external(folder: Path, location: str, **where: int) -> Path:
    """Write a network whose weight "w" lies in another file."""
    model = network(model_of(CONV, WEIGHTS))
    set_external_data(model.graph.initializer[0], location, **where)
    model.graph.initializer[0].ClearField("raw_data")
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    return folder / "net.onnx"


def test_data_in_the_folder_of_the_file(tmp_path: Path) -> None:
    raw = WEIGHTS["w"].tobytes()
    (tmp_path / "weights.bin").write_bytes(b"12345678" + raw)
    imported = import_onnx(external(tmp_path, "weights.bin", offset=8, length=len(raw)))
    (layer, *_) = imported.graph.layers()
    assert np.array_equal(layer.weight, WEIGHTS["w"])


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("../secret", "outside the folder"),
        ("/etc/passwd", "outside the folder"),
        ("link", "outside the folder"),
        ("..\\secret", "outside the folder"),
        ("absent", "cannot be read"),
        ("pipe", "not a regular file"),
        ("short", "needs 864 bytes and has 4"),
    ],
)
def test_data_elsewhere(location: str, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(b"1234")
    (folder / "short").write_bytes(b"1234")
    (folder / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "pipe")
    with pytest.raises(UsageError, match=message):
        import_onnx(external(folder, location))
    with pytest.raises(UsageError, match="which has 4"):
        import_onnx(external(folder, "short", offset=2, length=100))


def test_data_elsewhere_of_bytes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="keeps its data in another file, 'short'; give the path"):
        import_onnx(external(tmp_path, "short").read_bytes())
