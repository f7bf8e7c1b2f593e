"""Random small QDQ graphs, built from what mobile networks are made of: each must lower and agree with ONNX Runtime."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime.capi.onnxruntime_pybind11_state as onnxruntime_errors
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from calib.integer.program import Program
from calib.integer.reference import run
from compile.frontend.qdq_file import read_qdq
from compile.passes import lower
from repghost.errors import RepGhostError
from tests.support.agreement import check_steps
from tests.support.map_nets import MAP_LAYERS, MapNet
from tests.support.mutations import mutate
from tests.support.programs import random_images
from tests.support.qdq_models import preprocess, save
from tests.support.random_nets import SIZE, ForeignNet, Net

LAYERS = [Net.dense, Net.depthwise, Net.residual, Net.gate, Net.function, Net.requantize]
FOREIGN = [
    ForeignNet.constant_operand, ForeignNet.constant_behind_convolution, ForeignNet.dedicated_pairs,
    ForeignNet.product_with_function, ForeignNet.halves, ForeignNet.padded, ForeignNet.channel_scales,
    ForeignNet.averaged_function, ForeignNet.pooled, ForeignNet.batch_norm, ForeignNet.difference, ForeignNet.grouped,
    ForeignNet.dilated, ForeignNet.slopes, ForeignNet.enlarged, ForeignNet.shuffled,
]  # fmt: skip
FOREIGN += MAP_LAYERS
CHANGED = LAYERS + FOREIGN
NOT_RUN = (onnxruntime_errors.Fail, onnxruntime_errors.InvalidArgument, onnxruntime_errors.InvalidGraph)


DETERMINISTIC = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


def changed(program: Program, images: np.ndarray) -> int:
    """Return how many tensors differ between images; a program that ignores its input would prove nothing."""
    trace: dict[str, np.ndarray] = {}
    run(program, images, trace)
    return sum(bool((value[0] != value[1]).any()) for value in trace.values())


@pytest.mark.slow
@settings(DETERMINISTIC, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.lists(st.sampled_from(LAYERS), min_size=1, max_size=7))
def test_random_graph_agrees_layer_by_layer(tmp_path: Path, seed: int, chosen: list) -> None:
    net = Net(seed)
    for layer in chosen:
        layer(net)
    net.end()
    model = net.build("logits", 3)
    program = lower(read_qdq(save(model, tmp_path)))
    images = random_images(2, SIZE, SIZE, seed % 1000)
    assume(changed(program, images))
    check_steps(model, program, images, preprocess(SIZE))


def foreign_model(seed: int, layers: list, normalized: bool, matmul: bool, dynamic: bool) -> onnx.ModelProto:
    net = MapNet(seed)
    if normalized:
        net.normalize()
    for layer in layers:
        layer(net)
    (net.end_with_matmul if matmul else net.end)()
    return net.build("logits", 3, ["batch" if dynamic else 1, 3, SIZE, SIZE])


@pytest.mark.slow
@settings(DETERMINISTIC, max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.sampled_from(LAYERS + FOREIGN), min_size=1, max_size=6),
    st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip
def test_random_graph_of_another_tool_agrees_layer_by_layer(
    tmp_path: Path, seed: int, chosen: list, normalized: bool, matmul: bool, dynamic: bool
) -> None:
    model = foreign_model(seed, chosen, normalized, matmul, dynamic)
    program = lower(read_qdq(save(model, tmp_path)))
    images = random_images(2, SIZE, SIZE, seed % 1000)
    assume(changed(program, images))
    check_steps(model, program, images, preprocess(SIZE))


@settings(DETERMINISTIC, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.lists(st.sampled_from(CHANGED), min_size=1, max_size=3), st.booleans())
def test_changed_graph_is_refused_or_agrees(tmp_path: Path, seed: int, chosen: list, matmul: bool) -> None:
    """Whatever is wired, spelt or stored otherwise: a named error, or a program that computes what the file says."""
    model, rng = foreign_model(seed, chosen, False, matmul, False), np.random.default_rng(seed)
    mutate(model, rng)
    try:
        program = lower(read_qdq(save(model, tmp_path)))
    except RepGhostError:
        return
    try:
        check_steps(model, program, random_images(1, SIZE, SIZE, seed % 1000), preprocess(SIZE))
    except NOT_RUN:  # ONNX Runtime refuses more than the program needs to
        assume(False)


HOSTILE = (-(1 << 62), -1, 0, 1, 2, 3, 9, 64, 65, 1 << 16, 1 << 31, (1 << 62) - 1)
WINDOWED = (
    MapNet.oblong,
    MapNet.same_pads,
    MapNet.mean,
    MapNet.largest,
    MapNet.border,
    MapNet.resized,
    MapNet.every_other,
)


@settings(DETERMINISTIC, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from(WINDOWED))
def test_hostile_windows_are_refused_by_name_or_lowered(tmp_path: Path, seed: int, layer: Callable) -> None:
    """Kernels, strides, pads, sizes and limits no network has: a named error, or a program of a sane size."""
    model, rng = foreign_model(seed, [Net.dense, layer], False, False, False), np.random.default_rng(seed)
    for node in model.graph.node:
        for attribute in node.attribute if node.op_type in ("Conv", "AveragePool", "MaxPool") else ():
            for index in range(len(attribute.ints)):
                if rng.integers(4) == 0:
                    attribute.ints[index] = int(rng.choice(HOSTILE))
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor).copy()
        if values.dtype == np.int64 and rng.integers(2):
            values.flat[int(rng.integers(values.size))] = rng.choice(HOSTILE)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    try:
        program = lower(read_qdq(save(model, tmp_path)))
    except RepGhostError:
        return
    assert all(operator.output.height * operator.output.width <= 1 << 20 for operator in program.operators)
    run(program, random_images(1, SIZE, SIZE))


@pytest.mark.parametrize("layer", FOREIGN)
def test_each_foreign_kind_alone(tmp_path: Path, layer: Callable[[ForeignNet], None]) -> None:
    for seed in range(4):
        model = foreign_model(seed, [Net.dense, layer], seed == 1, seed == 2, seed == 3)
        check_steps(model, lower(read_qdq(save(model, tmp_path))), random_images(2, SIZE, SIZE), preprocess(SIZE))


@pytest.mark.parametrize("layer", LAYERS)
def test_each_kind_alone(tmp_path: Path, layer: object) -> None:
    for seed in range(3):
        net = Net(seed)
        net.dense()
        layer(net)
        net.end()
        model = net.build("logits", 3)
        check_steps(model, lower(read_qdq(save(model, tmp_path))), random_images(2, SIZE, SIZE), preprocess(SIZE))
