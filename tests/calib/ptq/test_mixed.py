"""Layers that stay float: in the QDQ file and for TensorRT, and refused with a reason where all has to be integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from calib.ptq.apply import check_float_layers
from calib.ptq.calibrate import calibrate
from calib.qdq import writer as qdq
from calib.settings.config import config_from_dict
from calib.settings.policy import float_parts
from calib.settings.quantspec import QuantSpec
from calib.simulate.exact import ExactNetwork
from calib.simulate.float32 import dequantized_weight, through_int8
from compile.frontend.qdq_file import read_qdq
from compile.passes import lower
from compile.tensorrt.jetpack import find_jetpack
from compile.tensorrt.lint.check import lint_file
from compile.tensorrt.network.placement import PlacementOptions, place
from compile.tensorrt.network.scales import half_spec
from compile.tensorrt.network.writer import FileForm, write_onnx
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError
from repghost.graph.operators import INPUT, Classifier, Convolution, Graph
from repghost.graph.run import float_kernels, run_operator
from tests.support.layerwise import UNIT, float_error, grid_error
from tests.support.lively_network import CLASSES, SIZE

CONFIG = config_from_dict({"policy": "tensorrt", "layers": {"blocks.6.*": None, "classifier": None}})
PREPROCESS = Preprocess(size=SIZE, resize=SIZE, interpolation="bilinear")
DESCRIPTION = qdq.Description("m", PREPROCESS.to_dict(), tuple("abcde"), "1" * 64, {}, {})


@pytest.fixture(scope="module")
def mixed(graph: Graph, images: NDArray[np.float32]) -> QuantSpec:
    return calibrate(graph, [images], CONFIG)


@pytest.fixture(scope="module")
def file(graph: Graph, mixed: QuantSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = qdq.build_qdq(graph, mixed, SIZE)
    qdq.describe(model, DESCRIPTION, CONFIG, mixed)
    path = tmp_path_factory.mktemp("mixed") / "m.qdq.onnx"
    path.write_bytes(qdq.serialize(model))
    return path


def test_what_an_integer_layer_reads_is_quantized_and_nothing_else(graph: Graph, mixed: QuantSpec) -> None:
    kept = set(float_parts(graph, mixed)) - {"blocks.5.0.add", "conv_head"}  # which float layers read
    assert all(name.startswith(("blocks.6.", "classifier")) for name in kept)
    layers = {op.name for op in graph.operators if hasattr(op, "weight")}
    inside = {name for name in layers if name.startswith(("blocks.6.", "classifier"))}
    assert inside and layers - set(mixed.weight_scales) == inside
    assert "blocks.5.0.add" not in mixed.activations  # only float layers read it
    last = [op.name for op in graph.operators if op.name.startswith("blocks.6.")][-1]
    assert last in mixed.activations  # an integer layer reads it
    assert "blocks.6.0.ghost1.primary" not in mixed.activations


def test_each_operator_of_the_file_is_that_of_the_simulated_network(
    graph: Graph, mixed: QuantSpec, file: Path, images: NDArray[np.float32]
) -> None:
    model = onnx.load(file)
    weights = {entry.name: entry.data_type for entry in model.graph.initializer}
    assert weights["blocks.6.0.ghost1.primary.weight"] == onnx.TensorProto.FLOAT
    assert weights["blocks.5.0.ghost1.primary.weight"] == onnx.TensorProto.INT8
    tensors = [op.name for op in graph.operators[:-1]] + [f"{name}.dequantized" for name in mixed.activations]
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in tensors
    )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(qdq.serialize(model), options, ["CPUExecutionProvider"])
    logits, *found = session.run(None, {"input": images[:1]})
    assert logits.shape == (1, CLASSES)
    real = {name: torch.from_numpy(value) for name, value in zip(tensors, found, strict=True)}
    real |= {INPUT: torch.from_numpy(images[:1]), "classifier": torch.from_numpy(logits)}
    read = {name: real.get(f"{name}.dequantized", value) for name, value in real.items()}
    for name, qparams in mixed.activations.items():  # x / s and x * (1 / s) may fall to different sides of a tie
        assert (read[name] - through_int8(real[name], qparams)).abs().max() <= 1.001 * qparams.scale, name
    layers = [op for op in graph.operators if isinstance(op, Convolution | Classifier)]
    weights = {
        op.name: dequantized_weight(op, mixed.weight_scales[op.name])
        if op.name in mixed.weight_scales
        else torch.from_numpy(op.weight)
        for op in layers
    }
    kernels = float_kernels(weights)
    for op in graph.operators:  # each from what ONNX Runtime's operators before it gave
        inputs = real if isinstance(op, Convolution | Classifier) and op.name not in mixed.weight_scales else read
        difference = (run_operator(op, kernels, inputs) - real[op.name]).abs().double()
        if isinstance(op, Convolution | Classifier):
            given = op, weights[op.name], inputs[op.input]
            allowed = 2 * float_error(*given) + grid_error(*given)
        else:  # a mean has the most roundings: one for each of at most SIZE * SIZE values
            largest = max(float(inputs[name].abs().max()) for name in op.inputs)
            allowed = torch.tensor(2 * SIZE * SIZE * UNIT * max(1.0, largest) ** len(op.inputs))
        assert bool((difference <= allowed).all()), op.name


@pytest.mark.parametrize("jetpack", ["5", "6", "7"])
def test_symmetric_files_pass_the_rules_of_tensorrt(
    jetpack: str, graph: Graph, images: NDArray[np.float32], file: Path, tmp_path: Path
) -> None:
    spec = calibrate(graph, [images], config_from_dict({"policy": "tensorrt"}))
    whole = tmp_path / "whole.onnx"
    whole.write_bytes(qdq.serialize(qdq.build_qdq(graph, spec, SIZE)))
    for path, layers in ((whole, len(spec.weight_scales)), (file, None)):
        result = lint_file(path, find_jetpack(jetpack))
        assert result.breaches == ()
        assert layers is None or len(result.int8_layers) == layers


def test_a_bundle_for_jetson_keeps_them_in_float(graph: Graph, mixed: QuantSpec, tmp_path: Path) -> None:
    placement = place(graph, PlacementOptions(), mixed)
    promise = placement.layer_types()
    assert promise["classifier"] == "float" and promise["blocks.5.0.ghost1.primary"] == "int8"
    assert {promise[name] for name in promise if name.startswith("blocks.6.")} == {"float"}
    path = tmp_path / "m.onnx"
    path.write_bytes(
        write_onnx(graph, half_spec(graph, mixed), placement, SIZE, FileForm(19, "float16"), {}).SerializeToString()
    )
    assert lint_file(path, find_jetpack("6")).breaches == ()


def test_an_integer_program_refuses_it_by_the_layers_name(graph: Graph, mixed: QuantSpec, file: Path) -> None:
    with pytest.raises(UsageError, match=r"blocks\.6\.0\.ghost1\.primary"):
        lower(read_qdq(file))
    with pytest.raises(UsageError, match=r"blocks\.6\..*an integer program has no float layers"):
        ExactNetwork(graph, mixed)


def test_the_cpu_policy_refuses_float_layers_before_any_work(graph: Graph) -> None:
    config = config_from_dict({"layers": {"blocks.6.*": None}})
    with pytest.raises(UsageError, match=r"blocks\.6\.0.*policy='tensorrt'"):
        check_float_layers(graph, config)
    check_float_layers(graph, CONFIG)
    check_float_layers(graph, config_from_dict({"layers": {"blocks.6.*": None, "*": {}}}))  # the last match wins
