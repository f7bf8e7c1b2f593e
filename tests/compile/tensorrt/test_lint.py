from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from onnx import numpy_helper

from calib.config import LayerSettings, QuantConfig
from calib.pipeline import fused, quantize_graph
from calib.walk import graph_of
from compile.tensorrt.jetpack import check_dla, find_board, find_jetpack
from compile.tensorrt.placement import Placement, PlacementOptions, float_placement, place
from compile.tensorrt.scales import half_spec
from compile.tensorrt.writer import write_onnx
from repghost.cli import cli
from repghost.errors import UsageError
from repghost.model import RepGhostNet
from repghost.preprocess import Preprocess

SIZE = 32
PREPROCESS = Preprocess(size=SIZE, resize=SIZE)


@pytest.fixture(scope="module")
def made() -> tuple[Callable[[str, int, bool], onnx.ModelProto], Placement]:
    """What writes a random network, and where its quantization stands."""
    torch.manual_seed(0)
    network = fused(RepGhostNet(0.5, num_classes=10).eval())
    pictures = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3)).astype(np.uint8)
    graph, spec = quantize_graph(
        graph_of(network), pictures, PREPROCESS, QuantConfig("tensorrt", LayerSettings(observer="min_max"))
    )
    half, placement = half_spec(graph, spec), place(graph, PlacementOptions())

    def write(dtype: str, opset: int, int8: bool) -> onnx.ModelProto:
        return write_onnx(graph, half, placement if int8 else float_placement(graph), SIZE, opset, dtype, {})

    return write, placement


def lint(model: onnx.ModelProto, folder: Path, *arguments: str) -> tuple[int, str]:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    done = CliRunner().invoke(cli, ["lint", str(path), "--for", "tensorrt", *arguments])
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("jetpack", "dtype", "opset"), [("5", "float32", 17), ("6", "float16", 19), ("7", "float16", 19)]
)
def test_what_the_writer_writes_is_clean(made: tuple, tmp_path: Path, jetpack: str, dtype: str, opset: int) -> None:
    code, output = lint(made[0](dtype, opset, True), tmp_path, "--jetpack", jetpack)
    assert code == 0, output


def test_a_promise_is_kept_for_each_convolution(made: tuple) -> None:
    model, promise = made[0]("float32", 17, True), made[1].promise()
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


@pytest.mark.parametrize(("edit", "rule"), [(_set_zero_point, "zero-point"), (_set_scale, "scale")])
def test_a_breach_names_the_node(
    made: tuple, tmp_path: Path, edit: Callable[[onnx.ModelProto], str], rule: str
) -> None:
    model = made[0]("float32", 17, True)
    node = edit(model)
    code, output = lint(model, tmp_path, "--jetpack", "5")
    assert code == 2
    assert rule in output and node in output


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
