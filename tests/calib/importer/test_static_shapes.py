"""Sizes that follow from constants, in files from outside."""

import time
import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from calib.importer.import_onnx import import_onnx
from calib.importer.static_shapes import MAX_ELEMENTS, make_static
from compile.frontend.qdq_file import read_qdq
from compile.passes import lower
from repghost.errors import UsageError
from tests.support.bad_files import Edit, input_shape
from tests.support.qdq_models import Model, mini_net, save
from tests.support.random_nets import SIZE, ForeignNet


def test_a_static_model_is_left_as_it_is() -> None:
    model = mini_net()
    assert make_static(model) is model


@pytest.mark.parametrize("slices", [1, 2])
@pytest.mark.parametrize("kind", ["MaxPool", "Pad"])
def test_nothing_is_left_before_a_slice(kind: str, slices: int, tmp_path: Path) -> None:
    """onnx ends the process, where it should raise an error, at a Slice of a size below zero."""
    net = ForeignNet(0)
    limits = [net.constant(name, [value], np.int64) for name, value in zip("seat", (0, 1000, 2, 1), strict=True)]
    x = net.node("Slice", [net.x, *limits], "whole") if slices == 2 else net.x
    if kind == "MaxPool":
        y = net.node(kind, [x], "made", kernel_shape=[SIZE + 5, 1])
    else:
        y = net.node(kind, [x, net.constant("pads", [0, 0, -SIZE, 0, 0, 0, -5, 0], np.int64)], "made")
    net.x = net.finish(net.node("Slice", [y, *limits], "part"))
    net.end()
    path = save(net.build("logits", 3, [1, 3, SIZE, SIZE]), tmp_path)
    with pytest.raises(UsageError, match=r"'made' has shape \[1, 3, -\d+, 9\]: nothing is left of the images"):
        read_qdq(path)
    with pytest.raises(UsageError, match="nothing is left"):
        import_onnx(path)


def stale_batch(model: onnx.ModelProto) -> None:
    """Fix the batch of the input alone, as tools do that know nothing of the shapes inside."""
    model.graph.value_info.append(helper.make_tensor_value_info("stem", TensorProto.FLOAT, ["batch", 8, 8, 8]))


def dynamic_output(model: onnx.ModelProto) -> None:
    input_shape("batch", 3, 16, 16)(model)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 7]))


@pytest.mark.parametrize(
    "edit", [input_shape("batch", 3, 16, 16), input_shape(0, 3, 16, 16), stale_batch, dynamic_output]
)
def test_any_batch_is_read_as_one_image(tmp_path: Path, edit: Edit) -> None:
    model = mini_net()
    edit(model)
    before = model.SerializeToString()
    graph = read_qdq(save(model, tmp_path))
    assert graph.shapes["input"] == (1, 3, 16, 16) and graph.shapes["logits"] == (1, 7)
    assert len(lower(graph).operators) == 16
    make_static(model)
    assert model.SerializeToString() == before


def test_sizes_behind_a_node_with_two_results_are_known() -> None:
    nodes = [
        helper.make_node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2),
        helper.make_node("Shape", ["b"], ["size"]),
        helper.make_node("Reshape", ["a", "size"], ["y"]),
    ]
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size, 4, 4]) for name, size in (("x", 8), ("y", 4))
    )
    model = helper.make_model(helper.make_graph(nodes, "halves", [x], [y]), opset_imports=[helper.make_opsetid("", 18)])
    static = make_static(model)
    assert [node.op_type for node in static.graph.node] == ["Split", "Reshape"]
    assert onnx.numpy_helper.to_array(static.graph.initializer[0]).tolist() == [1, 4, 4, 4]


def test_sizes_that_are_computed_from_sizes() -> None:
    net = ForeignNet(0)
    net.dense()
    net.padded()
    net.halves()
    net.end()
    static = make_static(net.build("logits", 3, ["batch", 3, SIZE, SIZE]))
    kinds = {item.op_type for item in static.graph.node}
    assert not kinds & {"Shape", "Gather", "Div", "Cast", "ConstantOfShape"} and {"Pad", "Slice"} <= kinds


def test_constants_in_every_attribute(tmp_path: Path) -> None:
    """As PyTorch's newer exporter writes scales and sizes."""
    model = mini_net()
    kept = [tensor for tensor in model.graph.initializer if tensor.name != "stem.relu.scale"]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    sizes = helper.make_node("Constant", [], ["sizes"], value_ints=[1])
    rest = helper.make_node("Constant", [], ["rest"], value_int=-1)
    rows = helper.make_node("Unsqueeze", ["rest", "first"], ["rows"])
    first = helper.make_node("Constant", [], ["first"], value_ints=[0])
    both = helper.make_node("Concat", ["sizes", "rows"], ["shape"], axis=0)
    scale = helper.make_node("Constant", [], ["stem.relu.scale"], value_float=8 / 255)
    at = next(index for index, item in enumerate(model.graph.node) if item.output[0] == "flat")
    model.graph.node[at].CopyFrom(helper.make_node("Reshape", [model.graph.node[at].input[0], "shape"], ["flat"]))
    for made in (both, rows, first, rest, sizes, scale):
        model.graph.node.insert(0, made)
    assert len(lower(read_qdq(save(model, tmp_path))).operators) == 16


def huge(m: Model, operator: str) -> str:
    """Append something that takes 5 TB."""
    size = m.constant("size", [5_000_000_000_000], np.int64)
    if operator == "Expand":
        return m.node(operator, [m.constant("one", [1.0]), size], "huge")
    if operator == "Range":
        ends = [m.constant(f"range{index}", value, np.int64) for index, value in enumerate((0, 5_000_000_000_000, 1))]
        return m.node(operator, ends, "huge")
    return m.node(operator, [size], "huge")


@pytest.mark.parametrize("operator", ["ConstantOfShape", "Expand", "Range"])
def test_a_huge_constant_is_not_made(operator: str) -> None:
    m = Model()
    m.node("ReduceMax", [huge(m, operator)], "largest")
    m.node("Add", ["input", "largest"], "sum")
    model = m.build("sum", 3)
    tracemalloc.start()
    static = make_static(model)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 << 20 and operator in {item.op_type for item in static.graph.node}


def test_doubling_ends_at_the_limit() -> None:
    m = Model()
    x = m.constant("x", [1], np.int64)
    for index in range(60):
        x = m.node("Concat", [x, x], f"doubled{index}", axis=0)
    start = time.monotonic()
    static = make_static(m.build("doubled59", 3))
    assert max(np.prod(tensor.dims) for tensor in static.graph.initializer) == MAX_ELEMENTS
    assert len(static.graph.node) == 60 - 12 and time.monotonic() - start < 10


def test_a_size_that_depends_on_the_image_names_its_node(tmp_path: Path) -> None:
    model = mini_net()
    model.graph.node.append(helper.make_node("NonZero", ["flat"], ["places"], name="where"))
    with pytest.raises(UsageError, match=r"'places' of node 'where' .NonZero.* every size must be fixed but the batch"):
        read_qdq(save(model, tmp_path))


def test_tensors_of_different_ranks_are_not_put_together(tmp_path: Path) -> None:
    """ONNX aligns the last axes: one value for each of 9 columns, where one for each of 9 channels looks the same."""
    m = Model(9)
    x = m.quantize(m.conv("c", m.quantize("input", 0.02, 0), 3, 9), 0.02, 0)
    gate = m.node("Flatten", [m.quantize(m.node("GlobalAveragePool", [x], "pool"), 0.02, 0)], "flat")
    y = m.quantize(m.node("Mul", [x, gate], "product"), 0.02, 0)
    m.linear("logits", m.node("Flatten", [m.node("GlobalAveragePool", [y], "mean")], "all"), 9, 4)
    with pytest.raises(UsageError, match=r"product.node.*\[1, 9, 9, 9\] and \[1, 9\] together.*last axis"):
        read_qdq(save(m.build("logits", 4), tmp_path))
