from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from calib.qdq.digest import program_digest
from calib.qdq.writer import build_qdq
from calib.settings.quantspec import QuantSpec
from repghost.errors import UsageError
from repghost.graph.operators import Graph
from tests.support.lively_network import SIZE

PREPROCESS = {"size": SIZE, "mean": [0.5, 0.5, 0.5]}


@pytest.fixture(scope="module")
def model(graph: Graph, spec: QuantSpec) -> onnx.ModelProto:
    return build_qdq(graph, spec, SIZE)


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    return onnx.ModelProto.FromString(model.SerializeToString())


def rename_everything(model: onnx.ModelProto) -> None:
    def renamed(name: str) -> str:
        return f"x_{name}" if name else ""

    graph = model.graph
    for node in graph.node:
        node.name = renamed(node.name)
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]
    for entry in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        entry.name = renamed(entry.name)


def reverse_initializers(model: onnx.ModelProto) -> None:
    reversed_tensors = list(model.graph.initializer)[::-1]
    del model.graph.initializer[:]
    model.graph.initializer.extend(reversed_tensors)


def add_metadata(model: onnx.ModelProto) -> None:
    helper.set_model_props(model, {"compile.accuracy": "{}"})
    model.producer_name, model.doc_string, model.graph.doc_string = "other", "text", "text"
    model.graph.name = "other"
    del model.graph.value_info[:]


def store_as_typed_fields(model: onnx.ModelProto) -> None:
    """Keep the values of float tensors in float_data instead of raw_data."""
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor).reshape(-1).tolist()
            tensor.ClearField("raw_data")
            tensor.float_data.extend(values)


NEUTRAL: list[Callable[[onnx.ModelProto], None]] = [
    rename_everything,
    reverse_initializers,
    add_metadata,
    store_as_typed_fields,
]


@pytest.mark.parametrize("change", NEUTRAL, ids=lambda change: change.__name__)
def test_what_does_not_change_the_program_keeps_the_digest(
    model: onnx.ModelProto, change: Callable[[onnx.ModelProto], None]
) -> None:
    changed = copy_of(model)
    change(changed)
    assert changed.SerializeToString() != model.SerializeToString()
    assert program_digest(changed, PREPROCESS) == program_digest(model, PREPROCESS)


def tensor_of(model: onnx.ModelProto, suffix: str) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name.endswith(suffix))


def flip_a_bit(suffix: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        tensor = tensor_of(model, suffix)
        data = bytearray(tensor.raw_data)
        data[0] ^= 1
        tensor.raw_data = bytes(data)

    change.__name__ = f"flip a bit of {suffix}"
    return change


def swap_inputs_of_an_add(model: onnx.ModelProto) -> None:
    add = next(node for node in model.graph.node if node.op_type == "Add")
    add.input[:] = [add.input[1], add.input[0]]


def change_a_stride(model: onnx.ModelProto) -> None:
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    next(a for a in conv.attribute if a.name == "strides").ints[0] = 1


def change_alpha(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.op_type == "HardSigmoid")
    alpha = next(a for a in node.attribute if a.name == "alpha")
    alpha.f = float(np.nextafter(np.float32(alpha.f), np.float32(1)))


def change_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 18


def change_the_operator(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Abs"


def drop_a_node(model: onnx.ModelProto) -> None:
    index = next(i for i, node in enumerate(model.graph.node) if node.op_type == "Relu")
    relu = model.graph.node[index]
    for node in model.graph.node:
        node.input[:] = [relu.input[0] if name == relu.output[0] else name for name in node.input]
    del model.graph.node[index]


CHANGES: list[Callable[[onnx.ModelProto], None]] = [
    *(flip_a_bit(suffix) for suffix in (".weight", ".weight.scale", ".bias", ".scale", ".zero_point")),
    swap_inputs_of_an_add,
    change_a_stride,
    change_alpha,
    change_opset,
    change_the_operator,
    drop_a_node,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_changes_the_program_changes_the_digest(
    model: onnx.ModelProto, change: Callable[[onnx.ModelProto], None]
) -> None:
    changed = copy_of(model)
    change(changed)
    assert program_digest(changed, PREPROCESS) != program_digest(model, PREPROCESS)


def test_the_preprocess_counts(model: onnx.ModelProto) -> None:
    digests = {
        program_digest(model, PREPROCESS),
        program_digest(model, {**PREPROCESS, "size": 64}),
        program_digest(model, {**PREPROCESS, "mean": [0.5, 0.5, 0.5000001]}),
    }
    assert len(digests) == 3
    assert program_digest(model, dict(reversed(PREPROCESS.items()))) in digests


def test_the_digest_is_64_hexadecimal_digits(model: onnx.ModelProto) -> None:
    digest = program_digest(model, PREPROCESS)
    assert len(digest) == 64 and set(digest) <= set("0123456789abcdef")


def external_data(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")


def truncated_tensor(model: onnx.ModelProto) -> None:
    tensor = tensor_of(model, ".weight")
    tensor.raw_data = tensor.raw_data[:-1]


def unordered(model: onnx.ModelProto) -> None:
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def written_twice(model: onnx.ModelProto) -> None:
    model.graph.node[1].output[0] = model.graph.node[0].output[0]


def subgraph(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("body", model.graph))


def unknown_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "nothing"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (external_data, "lies in another file"),
        (truncated_tensor, "is damaged"),
        (unordered, "is read before any node makes it"),
        (written_twice, "is written twice"),
        (subgraph, "not part of a QDQ network"),
        (unknown_output, "'nothing' is read before"),
    ],
)
def test_what_has_no_canonical_form_is_refused(
    model: onnx.ModelProto, damage: Callable[[onnx.ModelProto], None], message: str
) -> None:
    damaged = copy_of(model)
    damage(damaged)
    with pytest.raises(UsageError, match=message):
        program_digest(damaged, PREPROCESS)
