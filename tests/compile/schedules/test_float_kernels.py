"""Every compiled float kernel gives the numbers of the reference, in float32 and in half precision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from compile.intrin.base import GemmShape
from compile.intrin.half import Half
from compile.intrin.neon import Neon
from compile.ir.float_program import FloatConv2d, FloatInput, FloatProgram, FloatTensor
from compile.ir.float_reference import run_float
from compile.schedules.float.input import find_float_lines
from compile.schedules.float.panels import is_cut, runs
from compile.targets.table import ARM64, Target, Variant
from repghost.data.images.preprocess import Preprocess
from repghost.errors import ToolMissingError, UsageError
from repghost.graph.operators import UNBOUNDED
from tests.support.float_cases import FLOAT_FAMILIES, ODD_TABLE
from tests.support.float_harness import FloatCase, run_float_cases
from tests.support.float_map_cases import MAP_FAMILIES
from tests.support.kernel_harness import EVERY, KERNEL_TARGETS

FAMILIES = {**FLOAT_FAMILIES, **MAP_FAMILIES}
VARIANTS = [
    (target, variant, element)
    for target in KERNEL_TARGETS
    for element in ("float32", "float16")
    for variant in target.variants_for(element)
]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("target", "variant", "element"), VARIANTS, ids=[variant.name for _, variant, _ in VARIANTS])
def test_kernels_equal_the_reference(target: Target, variant: Variant, element: str, family: str) -> None:
    cases = FAMILIES[family](element)[:: EVERY.get(variant.name, 1)]
    try:
        failures = run_float_cases(cases, target, variant)
    except ToolMissingError as error:
        pytest.skip(str(error))
    assert not failures, f"{len(failures)} of {len(cases)} cases fail:\n" + "\n".join(failures)


@pytest.mark.parametrize("cpu", ["cortex-a53", "cortex-a72"])
def test_a_core_without_half_precision_refuses(cpu: str) -> None:
    variant = replace(ARM64.variant("half"), emulated_cpu=cpu)
    with pytest.raises(ToolMissingError, match=r"has no half instructions|no qemu-aarch64"):
        run_float_cases(FAMILIES["small"]("float16")[:1], ARM64, variant)


class _Wrong(FloatCase):
    """A case whose answer is off by one in one place."""

    def expected(self) -> Any:
        answer = super().expected().copy()
        answer[-1, -1, -1] += 1
        return answer


def test_the_harness_finds_one_wrong_number() -> None:
    target, variant = ARM64, ARM64.variant("half")
    cases = [case for name in FAMILIES for case in FAMILIES[name]("float16")[:2]]
    wrong = [_Wrong(c.name, c.operator, c.tensors, c.image, c.halo, c.tolerance) for c in cases]
    try:
        failures = run_float_cases(wrong, target, variant)
    except ToolMissingError as error:
        pytest.skip(str(error))
    assert len(failures) == len(wrong)


@pytest.mark.parametrize("length", [4, 8, 12, 24, 28, 36, 48, 100, 196, 516, 1280])
@pytest.mark.parametrize("segments", [1, 3])
def test_runs_cover_a_sum_in_short_equal_parts(length: int, segments: int) -> None:
    shape = GemmShape(segments, length, 0, 0)
    assert runs(Neon(), shape) == [(0, length, 1)]
    found = [(first + part * size, size) for first, size, count in runs(Half(), shape) for part in range(count)]
    assert [start for start, _ in found] == list(np.cumsum([0, *(size for _, size in found)]))[:-1]
    assert sum(size for _, size in found) == length
    assert is_cut(Half(), shape) == (segments * length > Half.products_in_half)
    if is_cut(Half(), shape):
        assert all(size <= Half.products_in_half for _, size in found)
        assert len(found) == -(-length // Half.products_in_half)


@pytest.mark.parametrize(("element", "near"), [("float32", 1e-6), ("float16", 2e-3)])
def test_a_normalization_is_a_line_and_another_table_is_not(element: str, near: float) -> None:
    table = Preprocess(size=32, resize=32).table()
    lines = find_float_lines(table, element)
    assert lines is not None
    found = np.arange(256)[:, None] * lines.factor.astype(np.float64) + lines.start
    assert np.abs(found.T - table).max() < near
    assert find_float_lines(ODD_TABLE, element) is None


def test_values_beyond_half_precision_are_refused_by_name() -> None:
    x, y = FloatTensor("input", 1, 1, 3, "float16"), FloatTensor("scores", 1, 1, 2, "float16")
    weight = np.full((2, 1, 1, 3), 300, np.float32)
    layer = FloatConv2d(
        "middle", x, FloatTensor("middle", 1, 1, 2, "float16"), weight, weight[:, 0, 0, 0], (1, 1), (0, 0), UNBOUNDED
    )
    last = FloatConv2d(
        "scores", layer.output, y, weight[:, :, :, :2], weight[:, 0, 0, 0], (1, 1), (0, 0), UNBOUNDED, logits=True
    )
    tables = np.broadcast_to(np.arange(256, dtype=np.float32), (3, 256))
    program = FloatProgram((FloatInput("input", x, tables), layer, last), 1, 1, 2, "", "float16")
    assert run_float(program, np.full((1, 1, 1, 3), 1, np.uint8)).shape == (1, 2)
    with pytest.raises(UsageError, match=r"'middle' reaches 22\d+, but float16 ends at 65504.*precision='fp32'"):
        run_float(program, np.full((1, 1, 1, 3), 255, np.uint8))
    heavy = replace(layer, weight=weight * 300)
    with pytest.raises(UsageError, match=r"'middle\.weight' reaches 90000"):
        run_float(replace(program, operators=(program.operators[0], heavy, last)), np.zeros((1, 1, 1, 3), np.uint8))
