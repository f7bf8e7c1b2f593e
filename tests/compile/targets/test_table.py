from __future__ import annotations

import itertools
import platform
import re

import pytest

from compile.bundle.host_model import LoadedModel
from compile.ir.compiled_network import CompiledNetwork, CompiledVariant
from compile.machine.facts import cpu_flags
from compile.targets import table as targets
from compile.targets.forms import ELF
from compile.targets.precisions import FP16, PRECISIONS, Precision
from compile.targets.table import ALIASES, ARM64, ARMV7, JETSON, TARGETS, X86_64, Target, find_target, host_target
from repghost.errors import UsageError
from tests.support.fake_network import CLASSES, HEIGHT, WIDTH

BUILT = [target for target in TARGETS.values() if target.variants]  # those whose code is compiled here


@pytest.mark.parametrize("target", BUILT, ids=lambda target: target.name)
def test_rows_are_complete(target: Target) -> None:
    assert find_target(target.name) is target
    if target.form is ELF:
        assert target.zig_triple.partition(".")[0].partition("-")[2] == target.triple.partition("-")[2]
        assert target.oldest_glibc >= (2, 17) or "-musl" in target.runner_triple
    assert target.container is None or "-musl" in target.container.runner_triple
    names = [variant.name for variant in target.variants]
    assert len(set(names)) == len(names) > 0
    for variant in target.variants:
        description = target.tvm_target(variant)
        assert description["mtriple"] == target.triple
        assert target.variant(variant.name) is variant
        assert re.fullmatch(r"[a-z0-9]+", variant.name), "a C identifier is made of it"


def test_the_one_that_is_used_is_the_last_that_a_machine_has_all_for() -> None:
    def used(target: Target, flags: str, element: str = "int8") -> list[str]:
        return [variant.name for variant in target.only_used(frozenset(flags.split()), element).variants]

    assert used(ARM64, "fp asimd asimdrdm asimddp") == ["dot"]
    assert used(ARM64, "fp asimd") == used(ARM64, "fp asimd asimddp", "float32") == ["neon"]
    assert used(X86_64, "avx2 fma bmi2 avx512bw avx512vl") == ["avx2"]
    assert used(X86_64, "avx2 fma bmi2 avx512bw avx512vl avx512_vnni avx_vnni") == ["vnni"]
    assert used(X86_64, "avx2 fma bmi2 avx_vnni") == ["avxvnni"]
    assert used(X86_64, "avx2 fma bmi2 avx_vnni", "float32") == ["avx2"]
    for flags in ("", "sse2"):
        assert used(X86_64, flags) == ["avx2", "avxvnni", "vnni"]


def test_the_library_of_this_machine_uses_the_same(host: Target, host_files: dict[str, bytes]) -> None:
    whole = LoadedModel(host_files["model.so"], (HEIGHT, WIDTH, 3), CLASSES)
    assert [variant.name for variant in host.only_used(cpu_flags(), "int8").variants] == [whole.variant]


@pytest.mark.parametrize("target", BUILT, ids=lambda target: target.name)
def test_no_variant_needs_as_little_as_a_plainer_one(target: Target) -> None:
    for precision in PRECISIONS.values():
        needs = [set(variant.requires) for variant in target.variants_for(precision.element)]
        assert not [pair for pair in itertools.combinations(needs, 2) if pair[1] <= pair[0]]
    elements = {precision.element for precision in PRECISIONS.values()}
    assert {element for variant in target.variants for element in variant.elements} <= elements


def test_the_plainest_arm64_code_runs_on_every_core() -> None:
    assert ARM64.variants[0].requires == ()
    assert ARM64.tvm_target(ARM64.variants[0])["mattr"] == ["+neon"]


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("neon", ["+neon"]),
        ("dot", ["+neon", "+rdm", "+dotprod"]),
        ("i8mm", ["+neon", "+rdm", "+dotprod", "+i8mm"]),
        ("half", ["+neon", "+fullfp16"]),
    ],
)
def test_the_compiler_may_use_what_is_tested_for_and_no_more(name: str, flags: list[str]) -> None:
    assert ARM64.tvm_target(ARM64.variant(name))["mattr"] == flags


@pytest.mark.parametrize("target", BUILT, ids=lambda target: target.name)
@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=lambda precision: precision.name)
def test_a_target_computes_in_a_precision_or_says_which_targets_do(target: Target, precision: Precision) -> None:
    if target.variants[0] is ARM64.variants[0] or precision is not FP16:
        target.check_element(precision.name, precision.element)
        assert target.variants_for(precision.element)
        return
    with pytest.raises(
        UsageError, match=rf"'fp16' cannot be compiled for target '{target.name}'.*allowed: arm64, android, macos\."
    ):
        target.check_element(precision.name, precision.element)


def test_unknown_target_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match=r"unknown target 'amr64'.*Did you mean 'arm64'\?"):
        find_target("amr64")
    with pytest.raises(UsageError, match="unknown variant of target arm64 'sse'"):
        ARM64.variant("sse")


def test_jetson_has_no_instruction_sets_because_the_board_builds() -> None:
    assert find_target("jetson") is JETSON
    assert JETSON.variants == ()


@pytest.mark.parametrize(
    ("system", "machine", "expected"),
    [
        ("Linux", "x86_64", X86_64),
        ("Linux", "aarch64", ARM64),
        ("Linux", "armv7l", ARMV7),
        ("Linux", "armv6l", None),
        ("Darwin", "arm64", None),
        ("Windows", "AMD64", None),
    ],
)
def test_host(monkeypatch: pytest.MonkeyPatch, system: str, machine: str, expected: Target | None) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert host_target() is expected
    if expected is None:
        with pytest.raises(UsageError, match=re.escape(f"{system} on {machine}")):
            find_target("host")
    else:
        assert find_target("host") is expected


def test_kernel_names_are_understood() -> None:
    assert {find_target(alias).name for alias in ALIASES} == {"arm64", "armv7", "x86-64"}
    assert targets.HOST not in TARGETS


VARIANT = CompiledVariant("neon", b"", "rg_step_neon", "weights")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variants": ()}, "distinct names"),
        ({"variants": (VARIANT, VARIANT)}, "distinct names"),
        ({"blobs": {"other": b""}}, "read the weights"),
        ({"units": ()}, "at least one unit"),
        ({"units": (0,)}, "at least one unit"),
        ({"kernels": ("a", "b")}, "2 descriptions"),
        ({"workspace_bytes": -1}, "must not be negative"),
    ],
)
def test_an_impossible_network_is_refused(change: dict[str, object], message: str) -> None:
    good = {
        "variants": (VARIANT,),
        "blobs": {"weights": b"\1"},
        "units": (1,),
        "workspace_bytes": 0,
        "kernels": ("a",),
    }
    CompiledNetwork(**good)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=message):
        CompiledNetwork(**{**good, **change})  # type: ignore[arg-type]
