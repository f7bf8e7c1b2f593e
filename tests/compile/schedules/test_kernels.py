"""Every compiled kernel gives the integers of the reference, for every remainder of its tiles and for every extreme."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compile.intrin.dot import Dot
from compile.intrin.i8mm import I8mm
from compile.ir import tir
from compile.machine.facts import cpu_flags
from compile.schedules import Context, Scheduled
from compile.schedules.base import KernelFrame
from compile.schedules.int8 import depthwise_dot
from compile.storage.kernel_store import FOLDER_VARIABLE
from compile.targets.features import AVX2, AVX512VNNI, AVXVNNI
from compile.targets.table import ARM64, X86_64, Target, Variant
from repghost.errors import ToolMissingError
from tests.support import kernel_harness
from tests.support.kernel_cases import covering, interleaved_cases
from tests.support.kernel_families import FAMILIES
from tests.support.kernel_harness import EVERY, KERNEL_TARGETS, Case, own_cases, run_cases

VARIANTS = [(target, variant) for target in KERNEL_TARGETS for variant in target.variants_for("int8")]
# Without products the kernels of plain NEON run, and a matrix product is no better for a depthwise layer.
SHARED = {
    (variant, family)
    for variant in ("dot", "i8mm", "avxvnni", "relaxed")
    for family in ("elementwise", "movement", "maps", "wide maps")
} | {
    ("avxvnni", "depthwise"),
    ("i8mm", "depthwise"),
}


def runs_here(target: Target, variant: Variant) -> Variant:
    """Return a variant whose code this machine runs and that has the kernels of another one.

    AVX-512 has the instructions of AVX-VNNI in an encoding of its own: the same kernels are compiled to them.
    """
    if target is not X86_64 or variant.name != "avxvnni" or AVXVNNI.is_on(cpu_flags()):
        return variant
    return replace(variant, requires=(AVX2, replace(AVX512VNNI, mattr=("+avx512vl", "+avx512vnni"))))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("target", "variant"), VARIANTS, ids=[variant.name for _, variant in VARIANTS])
def test_kernels_equal_the_reference(target: Target, variant: Variant, family: str) -> None:
    cases = own_cases(FAMILIES[family](), target, variant)[:: EVERY.get(variant.name, 1)]
    assert bool(cases) == ((variant.name, family) not in SHARED)
    try:
        failures = run_cases(cases, target, runs_here(target, variant))
    except ToolMissingError as error:
        pytest.skip(str(error))
    assert not failures, f"{len(failures)} of {len(cases)} cases fail:\n" + "\n".join(failures)


@pytest.mark.slow
def test_smmla_equals_the_reference_wherever_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which layers use smmla is a matter of cost; here all that can do, so that no estimate hides a mistake."""
    monkeypatch.setattr(I8mm, "prefers", lambda self, smmla_cost, sdot_cost: True)
    cases = [*FAMILIES["gemm"]()[::2], *FAMILIES["dense"]()[::4]]
    try:
        failures = run_cases(cases, ARM64, ARM64.variant(I8mm.name))
    except ToolMissingError as error:
        pytest.skip(str(error))
    assert not failures, "\n".join(failures)


@pytest.mark.slow
def test_interleaved_depthwise_equals_the_reference_wherever_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it pays is an estimate too. So small maps would be one strip of rows each."""
    taken = []
    monkeypatch.setattr(depthwise_dot, "STRIP_BYTES", 2 << 10)
    monkeypatch.setattr(depthwise_dot, "pays", lambda *shape: taken.append(shape) or True)
    cases = interleaved_cases()
    try:
        failures = run_cases(cases, ARM64, ARM64.variant(Dot.name))
    except ToolMissingError as error:
        pytest.skip(str(error))
    assert not failures, "\n".join(failures)
    assert len(taken) > len(cases) * 0.8


# -- the grid and the harness themselves -------------------------------------------------------------------------------
def test_rows_cover_every_pair() -> None:
    axes = {"a": (1, 2, 3), "b": "xy", "c": (True, False), "d": range(5)}
    rows = covering(axes, 0)
    for first, second in itertools.combinations(axes, 2):
        pairs = {(row[first], row[second]) for row in rows}
        assert pairs == set(itertools.product(axes[first], axes[second]))
    assert len(rows) < 25 < 3 * 2 * 2 * 5
    assert rows == covering(axes, 0)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_grid_compares_something(family: str) -> None:
    """Where inputs and weights are random the answers vary, and most of them are not limited by a bound."""
    varied = []
    for case in FAMILIES[family]():
        answers = case.expected().astype(np.float64).ravel()
        if len(answers) >= 8 and "random input" in case.name and "bounds none" in case.name:
            varied.append(np.mean((answers > answers.min()) & (answers < answers.max())))
    assert (np.median(varied) if varied else 1.0) > 0.5
    assert varied or family in ("logits", "movement")  # a movement makes no numbers


@pytest.mark.slow
def test_the_reference_gives_what_was_worked_out_by_hand() -> None:
    known = [case for cases in FAMILIES.values() for case in cases() if case.answer is not None]
    assert known
    for case in known:
        np.testing.assert_array_equal(case.expected(), case.answer, err_msg=case.name)


def test_names_of_cases_are_distinct() -> None:
    for family, cases in FAMILIES.items():
        names = [case.name for case in cases()]
        assert len(set(names)) == len(names), family


class _Wrong(Case):
    """A case whose answer is off by one in one place."""

    def expected(self) -> Any:
        answer = super().expected().copy()
        answer[-1, -1, -1] += 1
        return answer


@pytest.fixture
def host_variant(host: Target) -> Variant:
    return host.variants[0]


@pytest.mark.slow
def test_one_wrong_answer_is_found_and_named(host: Target, host_variant: Variant) -> None:
    case = FAMILIES["gemm"]()[0]
    wrong = _Wrong(case.name, case.operator, case.tensors, case.image, case.halos)
    failures = run_cases([case, wrong, case], host, host_variant)
    output = case.operator.output
    place = f"y[{output.height - 1}, {output.width - 1}, {output.channels - 1}]"
    assert len(failures) == 1
    assert failures[0].startswith(f"{case.name}: 1 bytes differ, first {place} of")


def test_what_a_run_compiled_the_next_one_takes(
    host: Target, host_variant: Variant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = FAMILIES["elementwise"]()[:2]
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assert run_cases([first], host, host_variant) == []
    monkeypatch.setattr(kernel_harness, "object_of", lambda module: pytest.fail("compiled again"))
    assert run_cases([first], host, host_variant) == []
    with pytest.raises(pytest.fail.Exception, match="compiled again"):
        run_cases([second], host, host_variant)


@pytest.mark.parametrize(
    ("offset", "message"),
    [(0, "bytes differ"), (1 << 16, "reads or writes outside its memory"), (-1, "writes before its memory")],
)
def test_a_stray_store_is_found(
    host: Target, host_variant: Variant, offset: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = kernel_harness.schedule

    def with_stray_store(operator: Any, context: Context) -> Scheduled:
        answer = schedule(operator, context)
        place = context.place(operator.input)
        frame = KernelFrame("stray", len(answer.offsets), len(answer.scalars))
        at = offset or place.offset + place.origin
        flipped = tir.bitwise_xor(frame.workspace.load(at), tir.const(-1, "int8"))
        frame.kernel.store(frame.workspace, at, flipped)
        return replace(answer, function=frame.kernel.finish(), constants=b"")

    monkeypatch.setattr(kernel_harness, "schedule", with_stray_store)
    case = FAMILIES["elementwise"]()[0]
    (failure,) = run_cases([case], host, host_variant)
    assert message in failure


def test_results_of_other_cases_survive_a_fault(
    host: Target, host_variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [replace(case, name=f"case {index}") for index, case in enumerate(FAMILIES["logits"]()[:3])]
    schedule = kernel_harness.schedule

    def faulty(operator: Any, context: Context) -> Scheduled:
        answer = schedule(operator, context)
        if operator is not cases[1].operator:
            return answer
        frame = KernelFrame("faulty", len(answer.offsets), len(answer.scalars))
        frame.kernel.store(frame.logits, 1 << 20, tir.const(1.0, "float32"))
        return replace(answer, function=frame.kernel.finish())

    monkeypatch.setattr(kernel_harness, "schedule", faulty)
    failures = run_cases(cases, host, host_variant)
    assert failures == [f"case 1: {kernel_harness.STATUS[1]} (forwards)"]
