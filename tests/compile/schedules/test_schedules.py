"""Schedules: who answers for what; tiles, panels, phases and blocks cover every output exactly. No compiler runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import tvm_ffi

from calib.integer.program import Conv2d, DepthwiseConv2d, Multiply, Program
from calib.integer.qparams import QParams
from calib.integer.values import Requantize, Tensor, ToLogits
from compile.codegen.program_to_objects import ScheduledNetwork, schedule_network
from compile.intrin import InstructionSet
from compile.intrin.avx2 import Avx2
from compile.intrin.base import GemmShape, GemmTile
from compile.intrin.i8mm import DEPTH, Smmla
from compile.intrin.table import find_instruction_set
from compile.intrin.vnni import Vnni
from compile.ir import tir
from compile.ir.memory_plan import CHANNEL_GROUP, AnyOperator, MemoryPlan, TensorPlace, plan_memory, round_up
from compile.schedules import RULES, Context, Scheduled, schedule
from compile.schedules.base import is_wide
from compile.schedules.int8.depthwise import schedule_depthwise
from compile.schedules.int8.depthwise_dot import schedule_depthwise_dot
from compile.schedules.int8.gemm import int8_panels
from compile.schedules.int8.input_table import find_lines
from compile.schedules.int8.pixel_pairs import for_pixels
from compile.schedules.int8.pools.pool import SAFE_TERMS, sum_blocks
from compile.schedules.phases import MOST_ROWS, Phases, flat_phases, lane_options, pixel_phases, row_tile
from compile.schedules.tiles import adjoin, gemm_shape
from compile.schedules.walk import CHANNEL_PARTS, Position, depthwise_units, map_units, most_of_two, shared
from repghost.errors import UsageError
from repghost.network.spec import WIDTHS
from tests.support.float_cases import FLOAT_FAMILIES
from tests.support.float_harness import _program as float_case_program
from tests.support.float_map_cases import MAP_FAMILIES
from tests.support.kernel_cases import line_tables
from tests.support.kernel_families import FAMILIES
from tests.support.kernel_harness import _program
from tests.support.shapes import _ShapeBuilder, shape_program, small_program

ARM, X86 = ("neon", "dot", "i8mm"), ("avx2", "vnni")
INTEGER_SETS = (*ARM, *X86)
SIZES = (160, 224)
NETWORKS = [(width.multiplier, size) for width in WIDTHS for size in SIZES]
REGISTERS = {"neon": 32, "dot": 32, "i8mm": 32, "avx2": 16, "vnni": 32}
LANES = {"neon": 4, "dot": 4, "i8mm": 4, "avx2": 8, "vnni": 16}  # int32 in a register


# -- which rule answers ------------------------------------------------------------------------------------------------
def integer_operators() -> list[tuple[AnyOperator, MemoryPlan]]:
    kinds = {}
    for cases in FAMILIES.values():
        for case in cases():
            operator = case.operator
            spread = isinstance(operator, Multiply) and operator.inputs[1].channels < operator.output.channels
            kinds.setdefault((type(operator), spread, is_wide(operator)), (operator, plan_memory(_program(case))))
    return list(kinds.values())


def float_operators() -> list[tuple[AnyOperator, MemoryPlan]]:
    """Return an operator of each kind, and of each form of what is read besides the map: a gate of pixels, one map."""
    kinds = {}
    for cases in {**FLOAT_FAMILIES, **MAP_FAMILIES}.values():
        for case in cases("float32"):
            y = case.operator.output
            forms = [(x.shape[:2] == y.shape[:2], x.channels == y.channels) for x in case.operator.inputs]
            kinds.setdefault((type(case.operator), *forms), (case.operator, plan_memory(float_case_program(case))))
    return list(kinds.values())


@pytest.mark.slow
@pytest.mark.parametrize("isa", ["neon", "avx2"])
def test_exactly_one_rule_answers_for_an_operator(isa: str) -> None:
    answering = set()
    for operator, plan in [*integer_operators(), *float_operators()]:
        context = Context(find_instruction_set(isa), plan)
        answers = {rule: rule(operator, context) for rule in RULES}
        (answered,) = [rule for rule, answer in answers.items() if answer is not None]
        answering.add(answered)
        assert schedule(operator, context).name == answers[answered].name
    assert answering == {*RULES} - {schedule_depthwise_dot}


def test_an_operator_no_rule_knows_is_named() -> None:
    class Softmax:
        name = "attention.softmax"

    with pytest.raises(UsageError, match=r"'attention\.softmax' of type Softmax"):
        schedule(Softmax(), Context(find_instruction_set("neon"), MemoryPlan({}, 0)))  # type: ignore[arg-type]


def scheduled(program: Program, isa: str) -> ScheduledNetwork:
    return schedule_network(program, plan_memory(program), find_instruction_set(isa))


def test_every_instruction_set_cuts_the_work_alike() -> None:
    """The runner has one table of units for all of them."""
    units = {isa: [step.kernel.units for step in scheduled(small_program(), isa).steps] for isa in INTEGER_SETS}
    assert all(counts == units["neon"] for counts in units.values())


def test_arm_variants_differ_in_their_products_only() -> None:
    """This is why test_kernels.py runs the other kernels of the newer ones on a part of the grid."""
    program = small_program()
    neon, *newer = [scheduled(program, isa).steps for isa in ARM]
    different = 0
    for index, operator in enumerate(program.operators):
        dot, i8mm = (steps[index].kernel for steps in newer)
        # `schedule_depthwise_dot`, and a residual that sqrdmlah adds
        own = "c8x3_c" in dot.name or "q15_add" in dot.name
        equal = [tvm_ffi.structural_equal(neon[index].kernel.function, kernel.function) for kernel in (dot, i8mm)]
        assert all(equal) or own or isinstance(operator, Conv2d)
        assert tvm_ffi.structural_equal(dot.function, i8mm.function) or isinstance(operator, Conv2d)
        assert dot.constants == neon[index].kernel.constants, "both read one copy"
        different += not all(equal)
    assert different > 2


def depthwise_rules(size: int, channels: int, isa: str = "dot", kernel: int = 3) -> list[Scheduled | None]:
    """Return what both rules say about a layer; the first one that answers wins."""
    builder = _ShapeBuilder(size, 0, int16=True)
    image = builder.dense("x", builder.image(), channels, relu=True)
    y = builder.depthwise("y", image, kernel=kernel, relu=True)
    builder.dense("classifier", builder.pool("pool", y), 10, logits=True)
    program = Program(tuple(builder.operators), size, size, 10, "")
    (operator,) = (operator for operator in program.operators if operator.output is y)
    context = Context(find_instruction_set(isa), plan_memory(program))
    return [rule(operator, context) for rule in (schedule_depthwise_dot, schedule_depthwise)]


@pytest.mark.parametrize(("size", "channels"), [(112, 16), (56, 24), (28, 40), (14, 120)])
def test_depthwise_layers_use_dot_products_where_that_pays(size: int, channels: int) -> None:
    interleaved, other = depthwise_rules(size, channels)
    assert interleaved is not None and other is not None
    assert interleaved.constants == other.constants and interleaved.units == other.units


@pytest.mark.parametrize(
    ("size", "channels", "isa", "kernel"),
    [
        (7, 240, "dot", 3),  # the last pair of columns overlaps its neighbour
        (56, 12, "dot", 3),  # and here the last channels do
        (56, 4, "dot", 3),
        (1, 40, "dot", 3),
        (56, 24, "dot", 5),
        (56, 24, "neon", 3),
        (56, 24, "avx2", 3),
    ],
)
def test_depthwise_layers_multiply_where_dot_products_do_not_pay(
    size: int, channels: int, isa: str, kernel: int
) -> None:
    interleaved, other = depthwise_rules(size, channels, isa, kernel)
    assert interleaved is None and other is not None


# -- matrix products ---------------------------------------------------------------------------------------------------
def convolutions(program: Program) -> Iterator[tuple[Conv2d, GemmShape]]:
    plan = plan_memory(program)
    for operator in program.operators:
        if isinstance(operator, Conv2d):
            yield operator, gemm_shape(operator, plan.placements[operator.input.name])


def tile_of(name: str, operator: Conv2d, shape: GemmShape) -> tuple[InstructionSet, GemmTile, int]:
    """Return the set that writes a product, its tile, and the pixels the tile walks along."""
    output, channels = operator.output, round_up(operator.output.channels, CHANNEL_GROUP)
    isa = find_instruction_set(name).for_product(output.height, output.width, channels, shape)
    pixels = output.height * output.width if isa.gathers_pixels else output.width
    return isa, isa.choose_tile(pixels, channels, shape), pixels


@pytest.mark.slow
@pytest.mark.parametrize(("width", "size"), NETWORKS)
@pytest.mark.parametrize("isa", INTEGER_SETS)
def test_tiles_fit_the_registers(isa: str, width: float, size: int) -> None:
    """The sums of a tile stay in registers, with at least two more for a pixel and a weight."""
    for operator, shape in convolutions(shape_program(width, size)):
        _, tile, pixels = tile_of(isa, operator, shape)
        sums = (
            tile.rows * -(-tile.columns // LANES[isa]) * (2 if isa == "neon" else 1)
        )  # plain NEON has two parts of each
        assert sums + 2 <= REGISTERS[isa], operator.name
        assert 1 <= tile.rows <= pixels
        assert tile.columns % CHANNEL_GROUP == 0


@pytest.mark.slow
@pytest.mark.parametrize(("width", "size"), NETWORKS)
@pytest.mark.parametrize("isa", INTEGER_SETS)
def test_tiles_and_panels_cover_every_output(isa: str, width: float, size: int) -> None:
    for operator, shape in convolutions(shape_program(width, size)):
        chosen, tile, pixels = tile_of(isa, operator, shape)
        starts = [min(index * tile.rows, pixels - tile.rows) for index in range(-(-pixels // tile.rows))]
        assert {start + row for start in starts for row in range(tile.rows)} == set(range(pixels))
        check_panels(chosen, operator.output.channels, tile, shape)


@pytest.mark.parametrize("width", [0.5, 1.0, 2.0])
def test_smmla_is_for_all_but_the_shallowest_products(width: float) -> None:
    chosen, others = [], []
    for operator, shape in convolutions(shape_program(width, 224)):
        isa, tile, pixels = tile_of("i8mm", operator, shape)
        if isa.gathers_pixels:
            assert tile.rows % 2 == 0
            chosen.append(shape.length)
        elif pixels > 1:
            others.append(shape.length)
    assert len(chosen) > 25 and max(others, default=0) <= 20


def test_plain_neon_takes_two_pixels_at_a_time_of_a_map_that_is_seven_wide() -> None:
    """Along a row that is one or seven. All variants have the columns of one tile: they read the same weights."""
    neon, dot, shape = find_instruction_set("neon"), find_instruction_set("dot"), GemmShape(1, 160, 0, 160)
    tile = neon.choose_tile(7, 960, shape)
    assert tile.rows == 1
    assert neon.tile_of_map(tile, 7, 7, 960, shape) == GemmTile(2, tile.columns)
    assert neon.tile_of_map(tile, 1, 1, 960, shape) == tile
    even = neon.choose_tile(14, 336, shape)
    assert neon.tile_of_map(even, 14, 14, 336, shape) == even
    assert dot.tile_of_map(tile, 7, 7, 960, shape) == tile


@pytest.mark.parametrize(
    ("kernel", "stride", "pad", "halo", "expected"),
    [(1, 1, 0, 0, True), (3, 1, 1, 1, False), (1, 2, 0, 0, False), (1, 1, 0, 1, False), (1, 1, 1, 1, False)],
)
def test_pixels_adjoin_where_nothing_lies_between_them(
    kernel: int, stride: int, pad: int, halo: int, expected: bool
) -> None:
    source = Tensor("x", 8, 8, 8, QParams(1.0))
    weight, bias = np.zeros((4, kernel, kernel, 8), np.int8), np.zeros(4, np.int32)
    epilogue = Requantize(np.ones(4, np.float32), 0, -128, 127)
    output = Tensor("y", 8 // stride, 8 // stride, 4, QParams(1.0))
    operator = Conv2d("y", source, output, weight, bias, (stride, stride), (pad, pad), epilogue)
    assert adjoin(operator, TensorPlace(source, 0, halo)) is expected


def test_operands_of_smmla_lie_as_it_takes_them() -> None:
    """Eight bytes of two channels, then of the next two; a segment of twelve bytes ends with four zeros."""
    smmla = Smmla(8)
    weight = np.arange(4 * 12, dtype=np.int8).reshape(4, 1, 12)
    packed = np.frombuffer(smmla.pack(weight, 4), np.int8).reshape(2, 2, 2, DEPTH)  # [steps, pairs, channels, bytes]
    assert packed[0, 1, 0].tolist() == [24, 25, 26, 27, 28, 29, 30, 31]
    assert packed[1, 0, 1].tolist() == [20, 21, 22, 23, 0, 0, 0, 0]
    assert len(smmla.pack(weight, 4)) == smmla.packed_bytes(GemmShape(1, 12, 100, 12), 4)
    parameters = np.frombuffer(for_pixels(smmla, np.arange(4, dtype=np.int32)), np.int32)
    assert parameters.tolist() == [0, 1, 0, 1, 2, 3, 2, 3]
    assert for_pixels(find_instruction_set("dot"), np.arange(2, dtype=np.int32)) == bytes([0, 0, 0, 0, 1, 0, 0, 0])


@pytest.mark.parametrize("isa", INTEGER_SETS)
@pytest.mark.parametrize("columns", [4, 8, 12, 16, 20, 24, 32, 48, 64])
def test_panels_cover_any_number_of_channels(isa: str, columns: int) -> None:
    for channels in range(1, 140):
        shape = GemmShape(segments=3, length=12, segment_stride=100, pixel_stride=4)
        check_panels(find_instruction_set(isa), channels, GemmTile(1, columns), shape)


def check_panels(isa: InstructionSet, channels: int, tile: GemmTile, shape: GemmShape) -> None:
    """Panels hold each channel once, the padded ones of the last group included, and follow each other in memory."""
    for width in (1, 8):  # a map of one pixel needs no copies of the start values
        covered: list[int] = []
        start = 0
        for panel in int8_panels(isa, Tensor("y", 1, width, channels, QParams(1.0)), tile, shape):
            assert panel.start == start
            assert panel.first == len(covered)
            assert panel.columns <= max(tile.columns, CHANNEL_GROUP)
            assert panel.bytes_each % 4 == 0, "parameters are loaded as 32-bit numbers"
            assert panel.copies == (isa.start_copies(panel.columns) if width > 1 else 1)
            covered += range(panel.first, panel.first + panel.count * panel.columns)
            start += panel.count * panel.bytes_each
        assert covered == list(range(round_up(channels, CHANNEL_GROUP)))


@pytest.mark.parametrize("isa", INTEGER_SETS)
def test_stores_are_powers_of_two_and_cover_a_tile(isa: str) -> None:
    instruction_set = find_instruction_set(isa)
    for columns in range(4, 68, 4):
        widths = instruction_set.vector_widths(columns)
        groups = instruction_set.store_groups(columns)
        assert sum(widths) == columns
        assert [index for group in groups for index in group] == list(range(len(widths)))
        for group in groups:
            lanes = sum(widths[group.start : group.stop])
            assert lanes & (lanes - 1) == 0
            assert lanes <= instruction_set.lanes8 or len(group) == 1


# -- depthwise, element-wise and pooling -------------------------------------------------------------------------------
def check_phases(phases: Phases, place: TensorPlace, most_lanes: int) -> None:
    """Vectors cover each byte of a row, none beside it, and know which channel each byte belongs to."""
    row = place.tensor.width * place.pixel
    covered = np.zeros(row, bool)
    for start, channels in zip(phases.starts, phases.channels, strict=True):
        for index in range(phases.count):
            first = min(index * phases.step, phases.last) + start
            for at in range(first, first + phases.pixels * place.pixel, place.pixel):
                assert 0 <= at <= row - phases.lanes
                assert np.array_equal((at + np.arange(phases.lanes)) % place.pixel, channels)
                covered[at : at + phases.lanes] = True
    assert covered.all()
    assert phases.lanes in lane_options(most_lanes)


def check_both(place: TensorPlace, most_lanes: int) -> None:
    check_phases(flat_phases(most_lanes, place), place, most_lanes)
    check_phases(pixel_phases(most_lanes, place), place, most_lanes)
    check_phases(pixel_phases(most_lanes, place, 8), place, most_lanes)


@pytest.mark.parametrize("lanes", [16, 32])
def test_phases_cover_rows_of_any_width(lanes: int) -> None:
    for channels in range(1, 49):
        for width in (1, 2, 3, 4, 5, 7, 8, 13, 14, 28):
            place = TensorPlace(Tensor("t", 1, width, channels, QParams(1.0)), 0, 1)
            check_both(place, lanes)


@pytest.mark.parametrize(("width", "size"), NETWORKS)
def test_phases_cover_the_networks(width: float, size: int) -> None:
    program = shape_program(width, size)
    plan = plan_memory(program)
    shapes = {}
    for operator in program.operators:
        if isinstance(operator, DepthwiseConv2d):
            shapes.setdefault((operator.output.width, operator.output.channels), operator)
    assert len(shapes) > 5
    for operator in shapes.values():
        for lanes in (16, 32):
            check_both(plan.placements[operator.output.name], lanes)


@pytest.mark.parametrize(
    ("channels", "lanes"), [(8, 8), (16, 16), (20, 8), (24, 8), (36, 8), (40, 8), (60, 16), (120, 16)]
)
def test_strided_rows_waste_few_products(channels: int, lanes: int) -> None:
    """One multiplication takes eight lanes: twice sixteen lanes for twenty channels would be a third too many."""
    place = TensorPlace(Tensor("t", 1, 14, channels, QParams(1.0)), 0, 1)
    assert pixel_phases(16, place, 8).lanes == lanes
    assert pixel_phases(16, place).lanes == min(16, channels)


@pytest.mark.parametrize(("taps", "rows"), [(9, 7), (49, 7), (81, 6), (169, 3), (961, 1)])
def test_large_kernels_have_low_tiles(taps: int, rows: int) -> None:
    """A unit of 31x31 taps and seven rows took LLVM five minutes."""
    assert row_tile(14, taps) == rows


@pytest.mark.parametrize(("side", "channels"), [(1, 32), (3, 2048), (31, 512), (31, 1024)])
@pytest.mark.parametrize("isa", [Avx2(), Vnni()])
def test_copies_of_pixels_fit_the_stack(isa: Avx2 | Vnni, side: int, channels: int) -> None:
    shape = GemmShape(side, side * channels, 100, channels)
    rows = isa.choose_tile(14 * 14, 64, shape).rows
    one = side * side * channels * (4 // isa.group_bytes)  # int32 for each group
    assert rows == 1 or rows * one <= 1 << 20
    assert rows > 1 or side == 31


def test_row_tiles_cover_every_row() -> None:
    for height in range(1, 300):
        rows = row_tile(height)
        starts = [min(unit * rows, height - rows) for unit in range(-(-height // rows))]
        assert {start + row for start in starts for row in range(rows)} == set(range(height))
        assert rows <= MOST_ROWS
        assert len(starts) * rows < height + rows


@pytest.mark.parametrize("size", SIZES)
def test_row_tiles_of_the_networks_compute_nothing_twice(size: int) -> None:
    for height in (size // 2, size // 4, size // 8, size // 16, size // 32):
        assert height % row_tile(height) == 0


@pytest.mark.parametrize("height", [1, 2, 7, 16, 17, 40, 257])
@pytest.mark.parametrize("width", [1, 2, 7, 16, 17, 255, 256, 257, 600])
def test_sums_of_a_pool_cover_the_map_and_fit_int16(height: int, width: int) -> None:
    seen = np.zeros((height, width), int)
    for block in sum_blocks(height, width):
        assert 0 < block.rows * block.columns <= SAFE_TERMS
        for index in range(block.count):
            top = block.row + index * block.rows
            seen[top : top + block.rows, block.column : block.column + block.columns] += 1
    assert np.all(seen == 1)
    assert np.iinfo(np.int16).min <= SAFE_TERMS * -128


def test_scores_are_no_tensor() -> None:
    """The classifier writes to the caller's array: it has one offset less than a convolution with an output."""
    network = scheduled(small_program(), "neon")
    for operator, step in zip(small_program().operators, network.steps, strict=True):
        if isinstance(operator, Conv2d):
            is_logits = isinstance(operator.epilogue, ToLogits)
            assert len(step.kernel.offsets) == (1 if is_logits else 2)
            assert not (is_logits and step.halo)


# -- the image -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(20))
def test_tables_of_a_normalization_are_lines_at_every_byte(seed: int) -> None:
    tables = line_tables(np.random.default_rng(seed))
    lines = find_lines(tables)
    assert lines is not None
    products = np.arange(256)[None] * lines.factor[:, None].astype(np.int64) + lines.start[:, None]
    assert np.abs(products).max() <= np.iinfo(np.int32).max
    np.testing.assert_array_equal(np.clip(products >> lines.shift, -128, 127), tables)
    assert len(lines.constants()) == 2 * 8 * 4


def test_other_tables_are_no_lines() -> None:
    tables = line_tables(np.random.default_rng(1))
    assert find_lines(np.full((3, 256), 127, np.int8)) is None  # no slope is known
    changed = tables.copy()
    changed[1, 128] += 3
    assert find_lines(changed) is None
    assert find_lines(tables[:, ::-1]) is not None  # a falling line is one


@pytest.mark.parametrize("pixels", [1, 4, 6])
@pytest.mark.parametrize(("height", "width"), [(7, 7), (1, 5), (14, 14), (3, 1)])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_units_share_all_tiles(pixels: int, height: int, width: int, threads: int) -> None:
    tiles, units = -(-height * width // pixels), map_units(height, width)
    cuts = [units * index // threads for index in range(threads + 1)]
    shares = [shared(tiles, (begin, end), units) for begin, end in itertools.pairwise(cuts)]
    assert [begin for begin, _ in shares] == [0, *(end for _, end in shares[:-1])] and shares[-1][1] == tiles


@pytest.mark.parametrize("count", [2, 5, 7, 10, 20])
def test_two_threads_share_a_small_map_as_evenly_as_its_parts_allow(count: int) -> None:
    """Tiles of its pixels, or of its channels; by whole rows of seven one thread would have four."""
    units = map_units(7, 7)
    begin, end = shared(count, (0, units // 2), units), shared(count, (units // 2, units), units)
    assert max(begin[1] - begin[0], end[1] - end[0]) == most_of_two(count) * count


def test_threads_share_the_channels_of_a_low_depthwise_layer() -> None:
    tensors = [Tensor("t", height, 7, channels, QParams(1.0)) for height, channels in ((14, 80), (7, 80), (7, 8))]
    assert [depthwise_units(tensor, 7) for tensor in tensors] == [2, CHANNEL_PARTS, 1]


@pytest.mark.parametrize(("width", "halo", "expected"), [(5, 0, 7 * 8), (6, 0, 8 * 8), (5, 1, 8 * 8)])
def test_a_pixel_of_tiles_across_rows_lies_in_rows_of_its_tensor(width: int, halo: int, expected: int) -> None:
    pixel = Position(tir.const(1), tir.const(2), tir.const(7), width=5)
    place = TensorPlace(Tensor("t", 4, width, 8, QParams(1.0)), 0, halo)
    assert int(pixel.at(place)) == expected
