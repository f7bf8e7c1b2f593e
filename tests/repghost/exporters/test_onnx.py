from __future__ import annotations

import functools
import json
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from repghost.errors import IntegrityError, UsageError
from repghost.exporters.onnx import check_onnx, to_bytes, to_onnx
from repghost.network.fuse import fuse
from repghost.network.model import RepGhostNet, repghost_model_convert
from tests.support.networks import images, network


@functools.cache
def model() -> RepGhostNet:
    return network()


def run(proto: onnx.ModelProto, x: torch.Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(to_bytes(proto), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"input": x.numpy()})[0]


def test_operators() -> None:
    proto = to_onnx(model(), 64)
    assert Counter(node.op_type for node in proto.graph.node) == {
        "Conv": 95,
        "Relu": 42,
        "Add": 16,
        "GlobalAveragePool": 8,
        "HardSigmoid": 7,
        "Mul": 7,
        "Flatten": 1,
        "Gemm": 1,
    }
    assert [entry.version for entry in proto.opset_import] == [17]
    assert len(proto.graph.initializer) == 192
    onnx.checker.check_model(proto, full_check=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{}, {"branches": "none"}, {"shortcut": False}, {"enable_se": False}, {"in_chans": 1}]
)
@torch.no_grad()
def test_onnx_runtime_gives_the_same_logits(options: dict) -> None:
    original = network(**options)
    x = images(1, options.get("in_chans", 3))
    assert np.abs(run(to_onnx(original, 64), x) - original(x).numpy()).max() <= 2e-5


@torch.no_grad()
def test_every_form_gives_the_same_file() -> None:
    wanted = to_bytes(to_onnx(fuse(model()), 64))
    assert to_bytes(to_onnx(model(), 64)) == wanted
    assert to_bytes(to_onnx(repghost_model_convert(model()), 64)) == wanted


@torch.no_grad()
def test_an_open_batch() -> None:
    proto = to_onnx(model(), 64, "batch")
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    for count in (1, 3):
        x = images(count)
        assert np.abs(run(proto, x) - model()(x).numpy()).max() <= 2e-5


def test_names_are_those_of_the_checkpoint() -> None:
    proto = to_onnx(model(), 64)
    names = {tensor.name for tensor in proto.graph.initializer}
    assert {"conv_stem.weight", "blocks.0.0.ghost1.primary.weight", "classifier.bias"} <= names
    assert (proto.graph.input[0].name, proto.graph.output[0].name) == ("input", "logits")
    shape = [dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim]
    assert shape == [1, 3, 64, 64]
    nodes = [node.name for node in proto.graph.node]
    assert len(set(nodes)) == len(nodes) and "" not in nodes


def test_the_file_says_what_it_is() -> None:
    proto = to_onnx(model(), 64, 1, {"size": 64}, list("abcdéfg"), {"repghost.checkpoint": "ab12"})
    texts = {entry.key: entry.value for entry in proto.metadata_props}
    assert json.loads(texts["repghost.spec"])["width"] == 0.5
    assert json.loads(texts["repghost.preprocess"]) == {"size": 64}
    assert json.loads(texts["repghost.labels"]) == list("abcdéfg")
    assert texts["repghost.checkpoint"] == "ab12"


def test_equal_networks_give_equal_bytes() -> None:
    assert to_bytes(to_onnx(network(), 96)) == to_bytes(to_onnx(network(), 96))


def test_a_changed_weight_is_found() -> None:
    proto = to_onnx(model(), 64)
    assert check_onnx(proto, model()) <= 5e-5
    weight = next(tensor for tensor in proto.graph.initializer if tensor.name == "conv_stem.weight")
    values = onnx.numpy_helper.to_array(weight).copy()
    values[0, 0, 0, 0] += 0.1
    weight.raw_data = values.tobytes()
    with pytest.raises(IntegrityError, match="Nothing was written"):
        check_onnx(proto, model())


@pytest.mark.parametrize(
    ("arguments", "message"), [((0,), "1 to 4096"), ((5000,), "1 to 4096"), ((64, 0), "batch must be at least 1")]
)
def test_sizes_out_of_range(arguments: tuple, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        to_onnx(model(), *arguments)


def test_training_mode_is_refused() -> None:
    with pytest.raises(UsageError, match="training mode"):
        to_onnx(network().train(), 64)
