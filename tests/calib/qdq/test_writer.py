from __future__ import annotations

import json
from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from calib.integer.qparams import quantize_weights
from calib.ptq.calibrate import calibrate
from calib.qdq import writer as qdq
from calib.qdq.digest import program_digest
from calib.settings.config import QuantConfig, config_from_dict
from calib.settings.quantspec import QuantSpec
from calib.simulate.exact import ExactNetwork
from repghost.data.images.preprocess import Preprocess
from repghost.graph.operators import Convolution, Graph
from repghost.graph.run import run_operator
from repghost.network.model import RepGhostNet
from tests.support.layerwise import assert_within_a_step
from tests.support.lively_network import CLASSES, SIZE

DESCRIPTION = qdq.Description(
    model="repghostnet_0_5x",
    preprocess=Preprocess(size=SIZE, resize=SIZE).to_dict(),
    labels=("a", "b", "c", "d", "é"),
    checkpoint_sha256="0" * 64,
    calibration={"pictures": 16},
    tools={"torch": "2"},
)


@pytest.fixture(scope="module")
def model(graph: Graph, spec: QuantSpec) -> onnx.ModelProto:
    return qdq.build_qdq(graph, spec, SIZE)


def test_the_operators_are_those_of_the_network(model: onnx.ModelProto, spec: QuantSpec) -> None:
    kinds = Counter(node.op_type for node in model.graph.node)
    assert kinds == Counter(
        Conv=95,
        Relu=42,
        Add=16,
        GlobalAveragePool=8,
        HardSigmoid=7,
        Mul=7,
        Flatten=1,
        Gemm=1,
        QuantizeLinear=len(spec.activations),
        DequantizeLinear=len(spec.activations) + 96,
    )
    assert model.opset_import[0].version == 17 and model.ir_version == 8


def test_nodes_are_called_as_the_modules_of_the_network(model: onnx.ModelProto) -> None:
    """What Netron and other viewers show beside a node: blocks.1.0.ghost1.primary of the module blocks.1.0.ghost1."""
    modules = {name for name, _ in RepGhostNet(0.5).named_modules() if name}
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names) and all(names)
    strange = [name for name in names if not any(name == it or name.startswith(f"{it}.") for it in modules)]
    assert {name.partition(".")[0] for name in strange} == {"input"}  # the image's own pair
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    assert "blocks.6.3.se.reduce" in convolutions and all(".convolution" not in name for name in convolutions)


def test_no_pair_stands_between_a_convolution_and_its_add_nor_behind_the_logits(model: onnx.ModelProto) -> None:
    makers = {node.output[0]: node for node in model.graph.node}
    adds = [node for node in model.graph.node if node.op_type == "Add"]
    assert {(makers[add.input[0]].op_type, makers[add.input[1]].op_type) for add in adds} == {
        ("Conv", "DequantizeLinear")
    }
    assert makers["logits"].op_type == "Gemm"
    for node in model.graph.node:
        if node.op_type in ("Conv", "Mul", "GlobalAveragePool", "HardSigmoid", "Flatten"):
            assert makers[node.input[0]].op_type == "DequantizeLinear"


def test_weights_are_int8_with_a_scale_per_channel_and_biases_float(
    model: onnx.ModelProto, graph: Graph, spec: QuantSpec
) -> None:
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    layers = [op for op in graph.operators if isinstance(op, Convolution)]
    for op in layers:
        weight = tensors[f"{op.name}.weight"]
        assert weight.dtype == np.int8 and weight.min() >= -127
        np.testing.assert_array_equal(weight, quantize_weights(op.weight, spec.weight_scales[op.name]))
        np.testing.assert_array_equal(tensors[f"{op.name}.weight.scale"], spec.weight_scales[op.name])
        np.testing.assert_array_equal(tensors[f"{op.name}.bias"], op.bias)
        assert not tensors[f"{op.name}.weight.zero_point"].any()
    for name, qparams in spec.activations.items():
        assert tensors[f"{name}.scale"] == np.float32(qparams.scale)
        assert tensors[f"{name}.zero_point"].dtype == np.int8 and tensors[f"{name}.zero_point"] == qparams.zero_point


def test_every_tensor_has_a_shape(model: onnx.ModelProto) -> None:
    known = {value.name for value in (*model.graph.value_info, *model.graph.output)}
    assert {name for node in model.graph.node for name in node.output} <= known


@pytest.mark.parametrize("policy", ["cpu", "tensorrt"])
def test_each_operator_of_onnx_runtime_is_within_a_step_of_the_integers(
    policy: str, graph: Graph, images: NDArray[np.float32]
) -> None:
    import onnxruntime

    spec = calibrate(graph, [images], config_from_dict({"policy": policy}))
    model = qdq.build_qdq(graph, spec, SIZE)
    names = list(spec.activations)
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(f"{name}.quantized", onnx.TensorProto.INT8, None) for name in names
    )
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(qdq.serialize(model), options, providers=["CPUExecutionProvider"])
    logits, *tensors = session.run(None, {"input": images[:1]})
    found = dict(zip(names, tensors, strict=True))
    assert_within_a_step(graph, spec, found, logits)
    # On the integers that ONNX Runtime's operators read, the exact ones give the same or a neighbour.
    kernels = ExactNetwork(graph, spec)._kernels
    values = {name: torch.from_numpy(q.astype(np.int32)) for name, q in found.items()}
    np.testing.assert_array_equal(
        found["input"], ExactNetwork(graph, spec).quantize_input(torch.from_numpy(images[:1])).numpy()
    )
    for op in graph.operators[:-1]:
        value = run_operator(op, kernels, values)
        if op.name in found:
            assert (value - values[op.name]).abs().max() <= 1, op.name
        else:
            values[op.name] = value  # accumulators, which the add behind takes


def test_onnx_runtime_loads_the_file_with_its_own_optimizations(
    model: onnx.ModelProto, images: NDArray[np.float32]
) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(qdq.serialize(model), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"input": images[:1]})
    assert logits.shape == (1, CLASSES) and np.all(np.isfinite(logits)) and len(np.unique(logits)) > 1


def test_the_metadata_describes_the_file(graph: Graph, spec: QuantSpec) -> None:
    model = qdq.build_qdq(graph, spec, SIZE)
    config = QuantConfig()
    digest = qdq.describe(model, DESCRIPTION, config, spec)
    onnx.checker.check_model(model, full_check=True)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    assert entries[qdq.DIGEST] == digest == program_digest(model, DESCRIPTION.preprocess)
    assert Preprocess.from_dict(json.loads(entries[qdq.PREPROCESS])) == Preprocess(size=SIZE, resize=SIZE)
    assert json.loads(entries[qdq.LABELS]) == ["a", "b", "c", "d", "é"]
    assert config_from_dict(json.loads(entries[qdq.QUANTIZATION])["config"]) == config
    assert json.loads(entries[qdq.CALIBRATION]) == {"pictures": 16}
    assert entries[qdq.MODEL] == model.graph.name == "repghostnet_0_5x" and entries[qdq.CHECKPOINT] == "0" * 64


def test_describing_twice_is_describing_once(graph: Graph, spec: QuantSpec) -> None:
    once, twice = (qdq.build_qdq(graph, spec, SIZE) for _ in range(2))
    qdq.describe(once, DESCRIPTION, QuantConfig(), spec)
    qdq.describe(twice, DESCRIPTION, QuantConfig(), spec)
    qdq.describe(twice, DESCRIPTION, QuantConfig(), spec)
    assert qdq.serialize(once) == qdq.serialize(twice)
