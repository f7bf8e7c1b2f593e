"""Activations in the workspace: nothing is overwritten before its last reader, and borders lie where kernels look."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calib.integer.program import Add, Conv2d, DepthwiseConv2d, InputTable, Lookup, Operator, Program
from calib.integer.qparams import QParams
from calib.integer.values import Requantize, RequantizeAdd, Tensor, ToLogits
from compile.ir.memory_plan import ALIGNMENT, OVERREAD, MemoryPlan, TensorPlace, plan_memory, round_up
from repghost.network.spec import WIDTHS
from tests.support.shapes import shape_program

SIDES = st.integers(1, 12)
CHANNELS = st.integers(1, 40)


def tensor(name: str, height: int, width: int, channels: int) -> Tensor:
    return Tensor(name, height, width, channels, QParams(1.0))


def convolution(name: str, x: Tensor, channels: int, kernel: int, stride: int) -> Conv2d:
    height, width = ((side - 1) // stride + 1 for side in (x.height, x.width))
    weight = np.zeros((channels, kernel, kernel, x.channels), np.int8)
    epilogue = Requantize(np.ones(channels, np.float32), 0, -128, 127)
    bias = np.zeros(channels, np.int32)
    return Conv2d(
        name,
        x,
        tensor(name, height, width, channels),
        weight,
        bias,
        (stride, stride),
        (kernel // 2, kernel // 2),
        epilogue,
    )


def depthwise(name: str, x: Tensor, kernel: int, residual: Tensor | None) -> DepthwiseConv2d:
    ones = np.ones(x.channels, np.float32)
    weight, bias = np.zeros((x.channels, kernel, kernel), np.int8), np.zeros(x.channels, np.int32)
    epilogue: Requantize | RequantizeAdd = Requantize(ones, 0, -128, 127)
    if residual is not None:
        epilogue = RequantizeAdd(ones, 0, -128, 127, residual, 4096)
    output = tensor(name, x.height, x.width, x.channels)
    return DepthwiseConv2d(name, x, output, weight, bias, (1, 1), (kernel // 2, kernel // 2), epilogue)


def logits(x: Tensor) -> Conv2d:
    weight, bias = np.zeros((5, x.height, x.width, x.channels), np.int8), np.zeros(5, np.int32)
    return Conv2d(
        "logits", x, tensor("logits", 1, 1, 5), weight, bias, (1, 1), (0, 0), ToLogits(np.ones(5, np.float32))
    )


@st.composite
def random_networks(draw: st.DrawFn) -> Program:
    """Draw a network in which any later operator may read any earlier tensor, once, often or never."""
    start = tensor("t0", draw(SIDES), draw(SIDES), 3)
    operators: list[Operator] = [InputTable("t0", start, np.zeros((3, 256), np.int8))]
    tensors = [start]
    for index in range(1, draw(st.integers(1, 14))):
        name = f"t{index}"
        x = draw(st.sampled_from(tensors))
        equals = [t for t in tensors if (t.height, t.width, t.channels) == (x.height, x.width, x.channels)]
        kernel = draw(st.sampled_from((1, 3, 5, 7)))
        operator: Operator
        match draw(st.integers(0, 3)):
            case 0:
                operator = convolution(name, x, draw(CHANNELS), kernel, draw(st.integers(1, 2)))
            case 1:
                operator = depthwise(name, x, kernel, draw(st.sampled_from([None, *equals])))
            case 2:
                other = draw(st.sampled_from(equals))
                output = tensor(name, x.height, x.width, x.channels)
                operator = Add(name, x, other, output, 4096, 4096, -128, 127)
            case _:
                output = tensor(name, x.height, x.width, x.channels)
                operator = Lookup(name, x, output, np.arange(-128, 128).astype(np.int8))
        operators.append(operator)
        tensors.append(operator.output)
    operators.append(logits(draw(st.sampled_from(tensors))))
    return Program(tuple(operators), start.height, start.width, 5, "")


def execute_on_a_map(program: Program, plan: MemoryPlan) -> None:
    """Run a network in which every byte of the workspace only knows whose it is."""
    owner = np.full(plan.workspace_bytes, -1)
    numbers = {operator.output.name: number for number, operator in enumerate(program.operators)}
    for operator in program.operators:
        for source in operator.inputs:
            place = plan.placements[source.name]
            assert place.offset + place.size + OVERREAD <= plan.workspace_bytes
            part = owner[place.offset : place.offset + place.size]
            assert np.all(part == numbers[source.name]), f"{operator.name} reads {source.name}, which is overwritten"
        if operator.output.name in plan.placements:
            place = plan.placements[operator.output.name]
            region = slice(place.offset, place.offset + place.size)
            read = {numbers[source.name] for source in operator.inputs}
            assert not read & set(owner[region]), f"{operator.name} writes over what it reads"
            owner[region] = numbers[operator.output.name]


@settings(max_examples=150, deadline=None)
@given(random_networks())
def test_no_tensor_is_overwritten_before_its_last_reader(program: Program) -> None:
    plan = plan_memory(program)
    assert set(plan.placements) == {operator.output.name for operator in program.operators[:-1]}
    assert plan.workspace_bytes % ALIGNMENT == 0
    assert all(place.offset % ALIGNMENT == 0 for place in plan.placements.values())
    execute_on_a_map(program, plan)


@settings(max_examples=100, deadline=None)
@given(random_networks())
def test_every_reader_finds_the_border_it_needs(program: Program) -> None:
    plan = plan_memory(program)
    needed: dict[str, int] = {}
    for operator in program.operators:
        if isinstance(operator, Conv2d | DepthwiseConv2d):
            needed[operator.input.name] = max(needed.get(operator.input.name, 0), *operator.pads)
    for name, place in plan.placements.items():
        assert place.halo == needed.get(name, 0)


@given(SIDES, SIDES, CHANNELS, st.integers(0, 3))
def test_borders_and_pixels_have_addresses_of_their_own(height: int, width: int, channels: int, halo: int) -> None:
    place = TensorPlace(tensor("t", height, width, channels), 0, halo)
    assert place.pixel % 4 == 0
    assert place.pixel - channels in range(4)

    def address(row: int, column: int) -> int:
        return place.origin + row * place.pitch + column * place.pixel

    inside = {address(row, column) for row in range(height) for column in range(width)}
    around = {
        address(row, column)
        for row in range(-halo, height + halo)
        for column in range(-halo, width + halo)
        if not (0 <= row < height and 0 <= column < width)
    }
    assert len(inside) == height * width
    assert not inside & around
    # Every pixel lies inside, and no byte is wasted: the first and the last address are those of the corners.
    assert min(inside | around) == 0
    assert max(inside | around) + place.pixel == place.size
    assert (place.size // place.pixel) == len(inside | around)


def lower_bound(program: Program, plan: MemoryPlan) -> int:
    """Return the bytes of the tensors that are alive together at the worst moment; no plan can need less."""
    last: dict[str, int] = {}
    for index, operator in enumerate(program.operators):
        last.update({source.name: index for source in operator.inputs})
    sums = [0] * len(program.operators)
    for born, operator in enumerate(program.operators[:-1]):
        size = round_up(plan.placements[operator.output.name].size + OVERREAD, ALIGNMENT)
        for index in range(born, last[operator.output.name] + 1):
            sums[index] += size
    return max(sums)


@pytest.mark.slow
@pytest.mark.parametrize("width", [width.multiplier for width in WIDTHS])
def test_networks_need_no_more_than_the_least_memory(width: float) -> None:
    program = shape_program(width, 224)
    plan = plan_memory(program)
    execute_on_a_map(program, plan)
    assert plan.workspace_bytes == lower_bound(program, plan)


def test_the_smallest_network_needs_less_than_half_a_megabyte() -> None:
    assert plan_memory(shape_program(0.5, 224)).workspace_bytes < 500_000


def test_a_tensor_no_one_reads_is_placed_apart_from_the_living() -> None:
    start = tensor("a", 4, 4, 3)
    unused = convolution("b", start, 8, 1, 1)
    program = Program((InputTable("a", start, np.zeros((3, 256), np.int8)), unused, logits(start)), 4, 4, 5, "")
    plan = plan_memory(program)
    execute_on_a_map(program, plan)
    a, b = plan.placements["a"], plan.placements["b"]
    assert a.offset + a.size <= b.offset or b.offset + b.size <= a.offset
