"""What the compiler hands over: objects that need no library, the promised instructions, int8 weights, equal bytes."""

from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from numpy.typing import NDArray

from calib.integer.program import Conv2d, DepthwiseConv2d, Operator
from compile.codegen.kernel_compiler import object_of
from compile.codegen.program_to_objects import ScheduledNetwork, compile_program, schedule_network
from compile.intrin.i8mm import I8mm
from compile.intrin.table import find_instruction_set
from compile.intrin.wasm.rotated import Rotated
from compile.intrin.wasm.sliding import Sliding
from compile.ir.compiled_network import BLOB_ALIGNMENT, CompiledNetwork
from compile.ir.memory_plan import plan_memory
from compile.link.wasm import HEADER
from compile.schedules.int8.gemm import int8_panels, parameter_bytes
from compile.schedules.phases import flat_phases
from compile.schedules.tiles import gemm_shape
from compile.storage.kernel_store import FOLDER_VARIABLE, OFF
from compile.targets.table import TARGETS, Target, Variant
from tests.support import ROOT
from tests.support.archives import archive_members
from tests.support.kernel_cases import FAMILIES
from tests.support.kernel_harness import KERNEL_TARGETS, _prepare_all, whole_source
from tests.support.shapes import shape_program, small_program
from tests.support.wasm_object import wasm_symbols

VARIANTS = [(target, variant) for target in KERNEL_TARGETS for variant in target.variants_for("int8")]
VARIANT_IDS = [variant.name for _, variant in VARIANTS]
SYMBOL = "rg_step_test"
PROVIDED = {"memcpy", "memmove", "memset"}  # by compile/runner/library/memory.c, inside model.so
HALF_FLOAT_HELPERS = {"__truncsfhf2", "__extendhfsf2"}  # TVM writes these weak functions into every object
FREESTANDING = {"memcpy", "memmove", "memset"}  # what LLVM makes of plain loops; model.so brings it in memory.c


@dataclass(frozen=True)
class Built:
    """One instruction set of the small program."""

    network: ScheduledNetwork
    assembly: str
    object_bytes: bytes


@cache
def built(variant: str) -> Built:
    target, row = next((target, row) for target, row in VARIANTS if row.name == variant)
    program = small_program()
    with pytest.MonkeyPatch.context() as patch:
        # The products of so small a network are too shallow for smmla to pay; here it is used wherever it fits.
        patch.setattr(I8mm, "prefers", lambda *_: True)
        network = schedule_network(program, plan_memory(program), find_instruction_set(variant))
    module = whole_source(network, SYMBOL, target, row).module()
    return Built(network, module.inspect_source("asm"), object_of(module))


# -- objects -----------------------------------------------------------------------------------------------------------
def symbols(data: bytes) -> tuple[set[str], set[str]]:
    """Return the global symbols an object defines, and those it needs."""
    if data.startswith(HEADER):
        return wasm_symbols(data)
    defined, needed = set(), set()
    for section in ELFFile(io.BytesIO(data)).iter_sections("SHT_SYMTAB"):
        for symbol in section.iter_symbols():
            if symbol["st_info"]["bind"] != "STB_LOCAL":
                (needed if symbol["st_shndx"] == "SHN_UNDEF" else defined).add(symbol.name)
    return defined, needed


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANT_IDS)
def test_objects_export_the_step_function_and_need_no_library(variant: str) -> None:
    defined, needed = symbols(built(variant).object_bytes)
    assert needed <= PROVIDED
    kernels = {name for name in defined if is_kernel(name)}
    assert kernels
    assert all(f"__{variant}_" in name for name in kernels)
    assert defined - kernels - HALF_FLOAT_HELPERS == {SYMBOL}


@pytest.mark.slow
@pytest.mark.parametrize(("target", "variant"), VARIANTS, ids=VARIANT_IDS)
def test_large_layers_need_no_library_either(target: Target, variant: Variant) -> None:
    """Large scratch arrays must not come from an allocator that no device has."""
    cases = [case for case in FAMILIES["gemm"]() if isinstance(case.operator, Conv2d)]
    largest = max(cases, key=lambda case: case.operator.weight.size)  # type: ignore[union-attr]
    _, network = _prepare_all([largest, *FAMILIES["logits"]()[:1]], variant)
    assert symbols(object_of(whole_source(network, SYMBOL, target, variant).module()))[1] <= FREESTANDING


def is_kernel(symbol: str) -> bool:
    """Tell whether a symbol is the name of a kernel and a number of what it does, and of the second way to order it."""
    found = GRAMMAR.match(symbol)
    return found is not None and re.fullmatch(r"_[0-9a-f]{16}(_1)?", symbol[found.end() :]) is not None


@pytest.mark.slow
@pytest.mark.parametrize("target", ["arm64", "x86-64"])
def test_the_archive_of_a_variant_has_each_kernel_once_and_needs_no_other(target: str) -> None:
    for variant in compiled(target).variants:
        defined, needed = zip(*map(symbols, archive_members(variant.object_bytes).values()), strict=True)
        functions = [name for names in defined for name in names - HALF_FLOAT_HELPERS]
        assert len(functions) == len(set(functions)), "each member holds one function"
        assert set().union(*needed) <= set(functions) | FREESTANDING
        assert {name for name in functions if not is_kernel(name)} == {variant.step_symbol}


@pytest.mark.slow
def test_what_two_arm_variants_have_in_common_is_compiled_once_for_the_plainer() -> None:
    neon, dot, i8mm = (archive_members(variant.object_bytes) for variant in compiled("arm64").variants)
    for plain, fast in ((neon, dot), (dot, i8mm)):
        both = plain.keys() & fast.keys()
        assert both
        assert all(plain[name] == fast[name] for name in both)
    shared = [name for name in symbols_of(dot) if is_kernel(name) and "__neon_" in name]
    assert any("_dwconv" in name for name in shared)
    assert not any("_gemm" in name for name in shared)


def symbols_of(members: dict[str, bytes]) -> set[str]:
    return set().union(*(symbols(content)[0] for content in members.values()))


# -- instructions ------------------------------------------------------------------------------------------------------
PROMISED: dict[str, tuple[str, ...]] = {
    "neon": ("smull", "smlal2?", "sadalp", "sqrdmulh", "fcvtns", "sqxtn2?", "tbl"),
    "dot": ("sdot", "sqrdmulh", "fcvtns", "sqxtn2?", "tbl"),
    "i8mm": ("smmla", "sdot", "sqrdmulh"),
    "neonv7": (r"vmull\.s8", r"vmlal\.s8", r"vpadal\.s16", r"vqrdmulh\.s16", r"vqmovn\.s16", "vtbx"),
    "rvv": (r"vwmacc\.vx", r"vfcvt\.x\.f\.v", r"vsadd\.vv", r"vnclip\.wi"),
    "avx2": ("vpmaddwd", "vpmulhrsw", "vpackssdw", "vroundps"),
    "simd128": (r"i32x4\.dot_i16x8_s", r"i16x8\.q15mulr_sat_s", r"i8x16\.narrow_i16x8_s", r"f32x4\.nearest"),
    "relaxed": (r"i32x4\.relaxed_dot_i8x16_i7x16_add_s", r"i16x8\.relaxed_q15mulr_s"),
    "avxvnni": (r"\{vex\}\s+vpdpbusd", "vpmulhrsw"),
    "vnni": ("vpdpbusd", "vpmulhrsw"),
}
FORBIDDEN: dict[str, tuple[str, ...]] = {
    "neon": ("sdot", "udot", "smmla", "ummla", "usdot", "fmla"),
    "dot": ("smmla", "ummla", "usdot", "fmla"),
    "i8mm": ("fmla",),
    "neonv7": (r"v?fn?m[as]", r"vsdot", "smull"),
    "rvv": (r"vfn?m(acc|add|sac|sub)\.\w+",),
    "avx2": ("vpdpbusd", "vpdpwssd", "vpmaddubsw", r"vfn?m(add|sub)\w*"),
    "simd128": (r"[\w.]*relaxed\w*", r"\w+\.atomic\.\w+"),  # whose results depend on the engine
    "relaxed": (r"[\w.]*relaxed_(?!dot|q15mulr)\w*", r"\w+\.atomic\.\w+"),  # a product and a sum are rounded twice
    "avxvnni": ("vpdpbusd", "vpmaddubsw", r"vfn?m(add|sub)\w*"),  # without {vex} it would be that of AVX-512
    "vnni": ("vpmaddubsw", r"vfn?m(add|sub)\w*"),
}
# (mask, value) of 32-bit instruction words, from the Arm Architecture Reference Manual.
SDOT_BY_ELEMENT, SDOT_VECTOR = (0xFFC0F400, 0x4F80E000), (0xFFE0FC00, 0x4E809400)
SMMLA = (0xFFE0FC00, 0x4E80A400)
SADALP = (0xBF3FFC00, 0x0E206800)


def count(assembly: str, mnemonic: str) -> int:
    return len(re.findall(rf"^\s+{mnemonic}(?:\.\w+)?\s", assembly, re.MULTILINE))


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANT_IDS)
def test_the_promised_instructions_are_used_and_no_others(variant: str) -> None:
    assembly = built(variant).assembly
    for mnemonic in PROMISED[variant]:
        assert count(assembly, mnemonic), f"{variant} has no {mnemonic}"
    for mnemonic in FORBIDDEN[variant]:
        assert not count(assembly, mnemonic), f"{variant} has {mnemonic}"
    if variant in ("avx2", "avxvnni"):
        assert "%zmm" not in assembly and "%ymm16" not in assembly


def code_words(data: bytes) -> NDArray[np.uint32]:
    """Return the instructions of an arm64 object."""
    sections = ELFFile(io.BytesIO(data)).iter_sections("SHT_PROGBITS")
    code = [section.data() for section in sections if section["sh_flags"] & SH_FLAGS.SHF_EXECINSTR]
    return np.concatenate([np.frombuffer(words, "<u4", len(words) // 4) for words in code])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "present", "absent"),
    [
        ("neon", [SADALP], [SDOT_BY_ELEMENT, SDOT_VECTOR, SMMLA]),
        ("dot", [SDOT_BY_ELEMENT], [SMMLA]),
        ("i8mm", [SMMLA, SDOT_BY_ELEMENT], []),
    ],
)
def test_instructions_are_in_the_object_itself(
    variant: str, present: list[tuple[int, int]], absent: list[tuple[int, int]]
) -> None:
    words = code_words(built(variant).object_bytes)
    for mask, value in present:
        assert np.any(words & mask == value), hex(value)
    for mask, value in absent:
        assert not np.any(words & mask == value), hex(value)


# -- weights -----------------------------------------------------------------------------------------------------------
@cache
def compiled(target: str) -> CompiledNetwork:
    return compile_program(small_program(), TARGETS[target])


def operator_at(network: ScheduledNetwork, name: str) -> tuple[Operator, int]:
    index = next(i for i, operator in enumerate(small_program().operators) if operator.name == name)
    return small_program().operators[index], network.steps[index].constants


def unpacked(variant: str, operator: Conv2d, constants: bytes) -> NDArray[np.int8]:
    """Return the weights of a dense layer as [O, kh, kw, I], read back from what a kernel reads."""
    place = plan_memory(small_program()).placements[operator.input.name]
    shape, output = gemm_shape(operator, place), operator.output
    out, height, width, depth = operator.weight.shape
    channels = -(-out // 4) * 4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(I8mm, "prefers", lambda *_: True)
        isa = find_instruction_set(variant).for_product(output.height, output.width, channels, shape)
    tile = isa.choose_tile(output.height * output.width if isa.gathers_pixels else output.width, channels, shape)
    group = 2 if variant == "avx2" else isa.depth  # bytes of a channel that lie together
    length = -(-shape.length // group) * group
    rows = []
    for panel in int8_panels(isa, output, tile, shape):
        for index in range(panel.count):
            start = panel.start + index * panel.bytes_each + parameter_bytes(isa, panel.columns, panel.copies)
            packed = np.frombuffer(constants, np.int8, shape.segments * length * panel.columns, start)
            if isinstance(isa, Sliding):
                packed = slid_back(packed.reshape(-1, panel.columns, group))
            elif isinstance(isa, Rotated):
                packed = turned_back(packed.reshape(shape.segments, -1), panel.columns, isa.group_bytes)
            steps = packed.reshape(shape.segments, length // group, panel.columns, group).transpose(2, 0, 1, 3)
            segments = steps.reshape(panel.columns, shape.segments, length)
            assert not segments[..., shape.length :].any()
            rows.append(segments[..., : shape.length].reshape(panel.columns, height, width, place.pixel))
    return np.concatenate(rows)[:out, ..., :depth]


def slid_back(packed: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return [units, columns, 4] of weights whose lane i of a vector begins with unit i."""
    units, columns, _ = packed.shape
    return packed[(np.arange(units)[:, None] - np.arange(columns) % 4) % units, np.arange(columns)]


def turned_back(packed: NDArray[np.int8], columns: int, size: int) -> NDArray[np.int8]:
    """Return [segments, length / 4, columns, 4] of weights in turns: of four units, lane i begins with its unit i."""
    segments = []
    for part in packed:
        channels: list[list[int]] = [[] for _ in range(columns)]
        whole = len(part) // (4 * size * columns) * 4 * size * columns
        for group in part[:whole].reshape(-1, 4, columns, size):
            for column, units in enumerate(channels):
                units += [int(it) for unit in range(4) for it in group[(unit - column) % 4, column]]
        for unit in part[whole:].reshape(-1, columns, size):
            for column, units in enumerate(channels):
                units += [int(it) for it in unit[column]]
        segments.append(np.array(channels, np.int8).reshape(columns, -1, 4).transpose(1, 0, 2))
    return np.stack(segments)


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["stem", "expand", "project", "classifier"])
@pytest.mark.parametrize("variant", VARIANT_IDS)
def test_int8_weights_of_a_dense_layer_are_what_its_kernel_reads(variant: str, layer: str) -> None:
    network = built(variant).network
    operator, start = operator_at(network, layer)
    assert isinstance(operator, Conv2d)
    assert len(np.unique(operator.weight)) > 80
    np.testing.assert_array_equal(unpacked(variant, operator, network.weights[start:]), operator.weight)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["arm64", "x86-64"])
def test_the_blob_holds_what_every_variant_reads_once(target: str) -> None:
    program = small_program()
    read = {
        step.kernel.constants
        for variant in TARGETS[target].variants_for("int8")
        for step in schedule_network(program, plan_memory(program), find_instruction_set(variant.name)).steps
    }
    (blob,) = compiled(target).blobs.values()
    assert all(constants in blob for constants in read)
    assert len(blob) == sum(-(-len(constants) // BLOB_ALIGNMENT) * BLOB_ALIGNMENT for constants in read)


@pytest.mark.parametrize("variant", ["neon", "vnni"])
def test_int8_weights_of_a_depthwise_layer_are_in_the_blob(variant: str) -> None:
    network = built(variant).network
    operator, start = operator_at(network, "cheap")
    assert isinstance(operator, DepthwiseConv2d)
    isa = find_instruction_set(variant)
    phases = flat_phases(isa.lanes8, plan_memory(small_program()).placements[operator.output.name])
    taps = operator.weight[0].size
    found = {}
    for number, channels in enumerate(phases.channels):
        at = start + number * phases.lanes * (taps + 6) + phases.lanes * 6  # three int16 for each lane come first
        packed = np.frombuffer(network.weights, np.int8, taps * phases.lanes, at).reshape(taps, phases.lanes)
        found.update({int(channel): packed[:, lane] for lane, channel in enumerate(channels)})
    for channel, weight in enumerate(operator.weight):
        np.testing.assert_array_equal(found[channel], weight.ravel())


@pytest.mark.slow
@pytest.mark.parametrize("target", ["arm64", "x86-64"])
def test_blobs_are_aligned_and_named_by_what_they_hold(target: str) -> None:
    network = compiled(target)
    for name, blob in network.blobs.items():
        assert len(blob) % BLOB_ALIGNMENT == 0
        assert name == f"weights_{hashlib.sha256(blob).hexdigest()[:16]}"
    assert {variant.weights for variant in network.variants} == set(network.blobs)
    assert len(network.units) == len(network.kernels) == len(small_program().operators)
    assert [variant.step_symbol for variant in network.variants] == [
        f"rg_step_{variant.name}" for variant in TARGETS[target].variants_for("int8")
    ]


# -- the same every time -----------------------------------------------------------------------------------------------
DIGEST = """
import hashlib
import io
from compile.codegen.program_to_objects import compile_program
from compile.targets.table import TARGETS
from tests.support.shapes import small_program
for name in ("arm64", "x86-64"):
    network = compile_program(small_program(), TARGETS[name])
    for variant in network.variants:
        print(variant.name, hashlib.sha256(variant.object_bytes + network.blobs[variant.weights]).hexdigest())
"""


@pytest.mark.slow
def test_another_process_makes_the_same_bytes(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "12345", FOLDER_VARIABLE: OFF}
    done = subprocess.run(
        [sys.executable, "-c", DIGEST], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    expected = [
        f"{variant.name} {hashlib.sha256(variant.object_bytes + network.blobs[variant.weights]).hexdigest()}"
        for network in (compiled("arm64"), compiled("x86-64"))
        for variant in network.variants
    ]
    assert done.stdout.split("\n")[:-1] == expected


# -- names -------------------------------------------------------------------------------------------------------------
SET = "|".join(sorted(VARIANT_IDS, reverse=True))  # a name before what it begins with
GRAMMAR = re.compile(
    rf"""rg_
    (?: qs8_gemm \d+x\d+s\d+ (?:_add|_f32)? _m\d+n\d+ _k\d+n\d+
      | qs8_dwconv \d+x\d+s\d+ (?:_add|_q15|_q15_add)? _r\d+c\d+(?:x\d+)? _c\d+
      | qs8_(?:gate|pool|lookup|add) _\d+x\d+ _c\d+
      | s8_halo\d+ _\d+x\d+ _c\d+
      | u8_(?:table|line)_c\d+
    ) __ (?:{SET})""",
    re.VERBOSE,
)


@pytest.mark.slow
@pytest.mark.parametrize("isa", VARIANT_IDS)
def test_names_follow_one_grammar(isa: str) -> None:
    for program in (small_program(), shape_program(0.5, 64)):
        steps = schedule_network(program, plan_memory(program), find_instruction_set(isa)).steps
        names = [kernel.name for step in steps for kernel in (step.kernel, step.halo) if kernel is not None]
        assert [name for name in names if not GRAMMAR.fullmatch(name)] == []
        assert all(name.endswith(f"__{isa}") for name in names)


def test_names_say_what_a_layer_is() -> None:
    names = dict(zip([operator.name for operator in small_program().operators], compiled("arm64").kernels, strict=True))
    assert re.fullmatch(r"rg_qs8_gemm3x3s2_m\d+n\d+_k27n12__i8mm", names["stem"])
    assert re.fullmatch(r"rg_qs8_gemm1x1s1_f32_m1n\d+_k12n10__i8mm", names["classifier"])
    assert re.fullmatch(r"rg_qs8_dwconv3x3s1_q15_add_r\d+c16_c12__i8mm", names["spatial"])
    assert re.fullmatch(r"rg_qs8_dwconv5x5s2_q15_r\d+c\d+_c12__i8mm", names["down"])
