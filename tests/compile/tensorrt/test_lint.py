from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from onnx import numpy_helper

from calib.ptq.apply import quantize_graph
from calib.settings.config import LayerSettings, QuantConfig
from compile.tensorrt.jetpack import check_dla, find_board, find_jetpack
from compile.tensorrt.network.placement import PlacementOptions, QdqPlacement, float_placement, place
from compile.tensorrt.network.scales import half_spec
from compile.tensorrt.network.writer import FileForm, write_onnx
from repghost.cli import cli
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError
from repghost.graph.trace import graph_of
from repghost.network.fuse import fused
from repghost.network.model import RepGhostNet

SIZE = 32
PREPROCESS = Preprocess(size=SIZE, resize=SIZE)


@pytest.fixture(scope="module")
def made() -> tuple[Callable[[str, int, bool], onnx.ModelProto], QdqPlacement]:
    """What writes a random network, and where its quantization stands."""
    torch.manual_seed(0)
    network = fused(RepGhostNet(0.5, num_classes=10).eval())
    images = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3)).astype(np.uint8)
    graph, spec = quantize_graph(
        graph_of(network), images, PREPROCESS, QuantConfig("tensorrt", LayerSettings(observer="min_max"))
    )
    half, placement = half_spec(graph, spec), place(graph, PlacementOptions())

    def write(dtype: str, opset: int, int8: bool) -> onnx.ModelProto:
        return write_onnx(graph, half, placement if int8 else float_placement(graph), SIZE, FileForm(opset, dtype), {})

    return write, placement


def lint(model: onnx.ModelProto, folder: Path, *arguments: str) -> tuple[int, str]:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    done = CliRunner().invoke(cli, ["lint", str(path), "--for", "tensorrt", *arguments])
    return done.exit_code, done.output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("jetpack", "dtype", "opset"), [("5", "float32", 17), ("6", "float16", 19), ("7", "float16", 19)]
)
def test_what_the_writer_writes_is_clean(made: tuple, tmp_path: Path, jetpack: str, dtype: str, opset: int) -> None:
    code, output = lint(made[0](dtype, opset, True), tmp_path, "--jetpack", jetpack)
    assert code == 0, output


@pytest.mark.slow
def test_a_promise_is_kept_for_each_convolution(made: tuple) -> None:
    model, promise = made[0]("float32", 17, True), made[1].layer_types()
    makers = {node.output[0]: node for node in model.graph.node}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    int8 = sum(makers[node.input[1]].op_type == "DequantizeLinear" for node in convolutions if node.input[1] in makers)
    assert len(convolutions) == len(promise)
    assert 0 < int8 < len(promise)
    assert int8 == sum(kind == "int8" for kind in promise.values())


def _set_zero_point(model: onnx.ModelProto) -> str:
    node = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
    names = [item for item in model.graph.initializer if item.name == node.input[2]]
    names[0].CopyFrom(numpy_helper.from_array(np.array(3, np.int8), node.input[2]))
    return node.name


def _set_scale(model: onnx.ModelProto) -> str:
    node = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
    names = [item for item in model.graph.initializer if item.name == node.input[1]]
    names[0].CopyFrom(numpy_helper.from_array(np.zeros((), np.float32), node.input[1]))
    return node.name


def _initializer(model: onnx.ModelProto, name: str, values: np.ndarray) -> None:
    found = next((item for item in model.graph.initializer if item.name == name), None)
    (found or model.graph.initializer.add()).CopyFrom(numpy_helper.from_array(values, name))


def _first(model: onnx.ModelProto, operator: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == operator)


def _int32_bias(model: onnx.ModelProto) -> str:
    convolution = _first(model, "Conv")
    channels = int(next(v for v in model.graph.initializer if v.name == convolution.input[2]).dims[0])
    _initializer(model, "bias.integers", np.zeros(channels, np.int32))
    _initializer(model, "bias.scale", np.full(channels, 0.1, np.float32))
    node = onnx.helper.make_node("DequantizeLinear", ["bias.integers", "bias.scale"], ["bias.real"], "bias.dq", axis=0)
    model.graph.node.insert(0, node)
    convolution.input[2] = "bias.real"
    return "bias.dq"


def _weight_axis(model: onnx.ModelProto) -> str:
    name = _first(model, "Conv").input[1]
    pair = [node for node in model.graph.node if name in node.output]
    (entry,) = [item for item in pair[0].attribute if item.name == "axis"]
    entry.i = 1
    return _first(model, "Conv").name


def _one_weight_scale(model: onnx.ModelProto) -> str:
    name = _first(model, "Conv").name
    for part, values in (("scale", np.array(0.1, np.float32)), ("zero_point", np.array(0, np.int8))):
        _initializer(model, f"{name}.weight.{part}", values)
    return name


def _float_weight(model: onnx.ModelProto) -> str:
    convolution = _first(model, "Conv")
    convolution.input[1] = convolution.input[1].removesuffix(".dequantized")
    return str(convolution.name)


def _unsigned(model: onnx.ModelProto) -> str:
    node = _first(model, "QuantizeLinear")
    _initializer(model, node.input[2], np.array(128, np.uint8))
    return str(node.name)


def _scale_of_shape_one(model: onnx.ModelProto) -> str:
    node = _first(model, "QuantizeLinear")
    _initializer(model, node.input[1], np.full(1, 0.1, np.float32))
    _initializer(model, node.input[2], np.zeros(1, np.int8))
    return str(node.name)


EDITS = [
    (_set_zero_point, "zero-point"), (_unsigned, "zero-point"), (_scale_of_shape_one, "per-tensor"),
    (_set_scale, "scale"), (_int32_bias, "bias"),
    (_weight_axis, "axis"), (_one_weight_scale, "per-channel"), (_float_weight, "half-quantized"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("edit", "rule"), EDITS, ids=[f"{edit.__name__} {rule}" for edit, rule in EDITS])
def test_a_breach_names_the_node(
    made: tuple, tmp_path: Path, edit: Callable[[onnx.ModelProto], str], rule: str
) -> None:
    model = made[0]("float32", 17, True)
    node = edit(model)
    code, output = lint(model, tmp_path, "--jetpack", "5")
    assert code == 2
    assert f"[{rule}]" in output and f"{node} (" in output


def test_one_scale_is_right_for_one_output_channel(tmp_path: Path) -> None:
    """A layer with a single output channel, whose only scale is a scalar, as other tools write it."""
    make, values = onnx.helper.make_node, numpy_helper.from_array
    constants = [
        values(np.ones((1, 3, 1, 1), np.float32), "w"), values(np.array(0.1, np.float32), "s"),
        values(np.array(0, np.int8), "z"),
    ]  # fmt: skip
    nodes = [
        make("QuantizeLinear", ["x", "s", "z"], ["xq"], "xq"), make("DequantizeLinear", ["xq", "s", "z"], ["xd"], "xd"),
        make("QuantizeLinear", ["w", "s", "z"], ["wq"], "wq"), make("DequantizeLinear", ["wq", "s", "z"], ["wd"], "wd"),
        make("Conv", ["xd", "wd"], ["y"], "conv"),
    ]  # fmt: skip
    ends = [onnx.helper.make_tensor_value_info(name, 1, [1, depth, 4, 4]) for name, depth in (("x", 3), ("y", 1))]
    body = onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    model = onnx.helper.make_model(body, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 8
    code, output = lint(model, tmp_path, "--jetpack", "5")
    assert code == 0, output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--board", "agx-thor", "--jetpack", "6"], "JetPack 6 does not run on agx-thor.*choose JetPack 7"),
        (["--board", "xavier-nx", "--jetpack", "7"], "JetPack 7 does not run on xavier-nx.*choose JetPack 5"),
        (["--board", "orin-nano", "--dla"], "orin-nano has no DLA; .*agx-orin have one"),
        (["--board", "nano"], "unknown board 'nano'"),
        (["--jetpack", "8"], "unknown JetPack '8'; allowed: 5, 6, 7"),
    ],
)
def test_a_board_that_does_not_fit_is_named(made: tuple, tmp_path: Path, arguments: list[str], words: str) -> None:
    code, output = lint(made[0]("float32", 17, True), tmp_path, *arguments)
    assert code == 2 and re.search(words, output), output


def test_what_concerns_the_file_is_named(made: tuple, tmp_path: Path) -> None:
    code, output = lint(made[0]("float16", 19, True), tmp_path, "--jetpack", "5")
    assert code == 2 and "opset" in output
    code, output = lint(made[0]("float32", 17, False), tmp_path, "--jetpack", "5")
    assert code == 2 and "quantized" in output
    assert lint(made[0]("float32", 17, False), tmp_path, "--jetpack", "5", "--float")[0] == 0


def test_unknown_releases_and_boards_are_refused() -> None:
    with pytest.raises(UsageError, match="4"):
        find_jetpack("4")
    with pytest.raises(UsageError, match="pi"):
        find_board("pi")
    nano = find_board("orin-nano")
    with pytest.raises(UsageError):
        check_dla(nano)
