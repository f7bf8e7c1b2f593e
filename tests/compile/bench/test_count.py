"""Counting executed instructions: classes by the assembler's word, prices by hand, counts that only code changes."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from compile.bench import count, profile
from compile.bench.count import CPUS, Counted, CountRequest, CountRun, count_bundle, count_result, find_cpu, run_counted
from compile.bench.count_page import render_count
from compile.bench.count_threads import SharedCount, count_threads
from compile.bench.counter_build import (
    COUNTER_SOURCES,
    InstructionCounter,
    build_counter,
    find_counting_emulator,
    plugin_interface,
)
from compile.bench.cycles_page import render_cycles
from compile.bundle.manifest import check_bundle, write_bundle
from compile.cycles.llvm import find_llvm
from compile.cycles.stretch import Stretch
from compile.link.toolchain import link_model
from compile.link.zig import run_zig
from compile.machine.emulator import Emulator
from compile.machine.execute import UnsupportedVariantError
from compile.storage.stage_cache import StageCache
from compile.targets.table import ARM64, EMULATED, Target
from repghost.api import explanation
from repghost.api.explanation import explain
from repghost.cli import cli
from repghost.errors import IntegrityError, ToolMissingError, UsageError
from tests.compile.bench.test_profile import LAYERS
from tests.support.assembled import assembled
from tests.support.fake_bundle import fake_files, fake_info, fake_sections
from tests.support.fake_network import CLASSES, HEIGHT, fake_network

# What the assembler takes, and what the counter has to say about it.
INSTRUCTIONS = {
    "dot": ["sdot v0.4s, v1.16b, v2.16b", "udot v0.2s, v1.8b, v2.8b", "sdot v0.4s, v1.16b, v2.4b[1]",
            "usdot v0.4s, v1.16b, v2.16b", "sudot v0.4s, v1.16b, v2.4b[3]", "bfdot v0.4s, v1.8h, v2.8h"],
    "matrix": ["smmla v0.4s, v1.16b, v2.16b", "ummla v0.4s, v1.16b, v2.16b", "usmmla v0.4s, v1.16b, v2.16b",
               "bfmmla v0.4s, v1.8h, v2.8h"],
    "float_fma": ["fmla v0.4s, v1.4s, v2.4s", "fmls v0.2d, v1.2d, v2.2d", "fmla v0.4s, v1.4s, v2.s[3]",
                  "fmla v0.8h, v1.8h, v2.8h", "fmls v0.8h, v1.8h, v2.8h", "fmla v0.8h, v1.8h, v2.h[7]",
                  "fmlal v0.4s, v1.4h, v2.4h", "fmlal2 v0.4s, v1.4h, v2.h[2]", "fmlal2 v0.4s, v1.4h, v2.4h",
                  "bfmlalb v0.4s, v1.8h, v2.h[1]"],
    "float": ["fadd v0.4s, v1.4s, v2.4s", "fmul v0.8h, v1.8h, v2.8h", "fmul v0.4s, v1.4s, v2.s[0]",
              "fmax v0.8h, v1.8h, v2.8h", "fmaxnm v0.4s, v1.4s, v2.4s", "scvtf v0.4s, v1.4s", "fcvtns v0.4s, v1.4s",
              "fcvtl v0.4s, v1.4h", "fcvtn2 v0.8h, v1.4s", "fabs v0.8h, v1.8h", "frintn v0.4s, v1.4s",
              "fmaxnmv s0, v1.4s", "fcmgt v0.4s, v1.4s, #0.0", "fneg v0.4s, v1.4s"],
    "multiply": ["mul v0.8h, v1.8h, v2.8h", "mla v0.8h, v1.8h, v2.8h", "mls v0.4s, v1.4s, v2.s[1]",
                 "smull v0.8h, v1.8b, v2.8b", "smlal2 v0.8h, v1.16b, v2.16b", "smlal v0.4s, v1.4h, v2.h[3]",
                 "sqrdmulh v0.8h, v1.8h, v2.8h", "sqrdmlah v0.8h, v1.8h, v2.8h", "mul v0.8h, v1.8h, v2.h[1]",
                 "pmull v0.8h, v1.8b, v2.8b"],
    "vector": ["add v0.16b, v1.16b, v2.16b", "sqxtn v0.8b, v1.8h", "sqxtn2 v0.16b, v1.8h", "xtn v0.8b, v1.8h",
               "addp v0.4s, v1.4s, v2.4s", "saddlp v0.4s, v1.8h", "sadalp v0.4s, v1.8h", "saddw v0.4s, v1.4s, v2.4h",
               "zip1 v0.16b, v1.16b, v2.16b", "ext v0.16b, v1.16b, v2.16b, #3", "tbl v0.16b, {v1.16b, v2.16b}, v3.16b",
               "dup v0.4s, v1.s[1]", "ins v0.s[1], v1.s[0]", "movi v0.4s, #1", "sqrshrn v0.8b, v1.8h, #3",
               "sshll v0.8h, v1.8b, #0", "smax v0.16b, v1.16b, v2.16b", "orr v0.16b, v1.16b, v2.16b",
               "sqadd v0.8h, v1.8h, v2.8h", "addv b0, v1.16b", "uzp1 v0.8h, v1.8h, v2.8h", "cmgt v0.16b, v1.16b, #0",
               "shll v0.8h, v1.8b, #8", "sqadd h0, h1, h2"],
    "scalar_float": ["fmul s0, s1, s2", "fmadd s0, s1, s2, s3", "fcvt s0, h1", "fmov w0, s1", "scvtf s0, w1"],
    "scalable": ["add z0.s, z1.s, z2.s"],
    "vector_load": ["ldr q0, [x1, #16]", "ldr s0, [x1]", "ldur q0, [x1, #-3]", "ldp q0, q1, [x2]", "ldr d0, [x1, x2]",
                    "ld1 {v0.16b}, [x1], #16", "ld4 {v0.16b, v1.16b, v2.16b, v3.16b}, [x1]", "ld1r {v0.4s}, [x1]",
                    "ld1 {v0.s}[1], [x2]", "ldr q0, [x1], #16"],
    "vector_store": ["str q0, [x1, #16]", "stp q0, q1, [x2]", "st1 {v0.16b, v1.16b}, [x1]", "stur d0, [x1, #1]",
                     "st1 {v0.h}[2], [x1]"],
    "load": ["ldr x0, [x1]", "ldrsw x0, [x1, #4]", "ldp x0, x1, [sp, #16]", "ldxr w0, [x1]", "ldrb w0, [x1, x2]"],
    "store": ["str x0, [x1]", "stp x29, x30, [sp, #-16]!", "strb w0, [x1]", "stlr w0, [x1]"],
    "integer": ["add x0, x1, x2", "add x0, x1, #4", "subs x0, x0, #1", "madd x0, x1, x2, x3", "csel x0, x1, x2, eq",
                "adrp x0, .", "lsl x0, x1, #3", "movz x0, #5"],
    "branch": ["b .", "b.ne .", "cbnz x0, .", "ret", "blr x1", "nop", "svc #0", "tbz x0, #3, ."],
}  # fmt: skip


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[int]]:
    """Every instruction of the table as the assembler writes it."""
    lines = [line for group in INSTRUCTIONS.values() for line in group]
    code = [".arch armv8.6-a+sve+bf16+i8mm+fp16+fp16fml", *lines]
    found = iter(assembled(code, ["-target", "aarch64-linux-gnu"], tmp_path_factory.mktemp("words")))
    return {name: [next(found) for _ in group] for name, group in INSTRUCTIONS.items()}


@pytest.fixture(scope="module")
def library(host: Target, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    path = tmp_path_factory.mktemp("units") / "units.so"
    units = [str(COUNTER_SOURCES / unit) for unit in ("classes.c", "reuse.c")]
    flags = ["-target", host.zig_triple, "-O1", "-fno-sanitize=all", "-shared", "-fPIC"]
    run_zig(["cc", *flags, *units, "-o", str(path)])
    return ctypes.CDLL(str(path))


CLASS_NAMES = ("dot", "matrix", "float_fma", "float", "multiply", "vector", "scalar_float", "scalable", "vector_load",
               "vector_store", "load", "store", "integer", "branch", "other")  # fmt: skip


def test_every_instruction_is_of_its_class(words: dict[str, list[int]], library: ctypes.CDLL) -> None:
    wrong = [
        f"{text}: {CLASS_NAMES[library.classify(ctypes.c_uint32(word))]} instead of {name}"
        for name, group in words.items()
        for text, word in zip(INSTRUCTIONS[name], group, strict=True)
        if CLASS_NAMES[library.classify(ctypes.c_uint32(word))] != name
    ]
    assert not wrong, "\n".join(wrong)


def missed(library: ctypes.CDLL, lines: list[int]) -> list[int]:
    """Return by how much the misses of each capacity grow while lines are touched."""
    misses = (ctypes.c_uint64 * 11).in_dll(library, "reuse_misses")
    before = list(misses)
    for line in lines:
        library.reuse_touch(ctypes.c_uint64(64 * line))
    return [int(now - then) for now, then in zip(misses, before, strict=True)]


def test_lines_miss_where_the_caches_of_a_slow_model_miss(library: ctypes.CDLL) -> None:
    random = np.random.default_rng(0)
    lines = np.concatenate([np.arange(700), np.arange(700), random.integers(0, 3000, 3000), np.arange(200)]).tolist()
    start = 1 << 30  # no other test touches these
    got = missed(library, [start + line for line in lines])
    for index, capacity in enumerate((256, 512, 1024, 2048, 4096)):
        cache: dict[int, None] = {}
        expected = 0
        for line in lines:
            expected += line not in cache
            cache.pop(line, None)
            cache[line] = None
            if len(cache) > capacity:
                del cache[next(iter(cache))]
        assert got[index] == expected, capacity
    assert got[5:] == [len(set(lines))] * 6  # larger than all that is touched: the first use alone


@pytest.mark.parametrize(
    ("line", "interface"),
    [("qemu-aarch64 version 7.2.22 (Debian 1:7.2+dfsg)", 1), ("qemu-aarch64 version 8.2.2", 1),
     ("qemu-aarch64 version 9.0.1", 2), ("qemu-aarch64 version 9.2.0", 3), ("qemu-aarch64 version 10.0.2 (Debian)", 3)],
)  # fmt: skip
def test_the_interface_follows_the_version(line: str, interface: int) -> None:
    assert plugin_interface(line) == interface


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(ToolMissingError, match="does not say which version"):
        plugin_interface("unknown")


@pytest.mark.parametrize("interface", [1, 3])
def test_the_plugin_compiles_for_every_interface(interface: int, tmp_path: Path) -> None:
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", f"-DPLUGIN_INTERFACE={interface}", "-c"]
    run_zig(["cc", *flags, str(COUNTER_SOURCES / "counter.c"), "-o", "counter.o"], cwd=tmp_path)


def test_an_emulator_without_plugins_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = tmp_path / "qemu-aarch64-static"
    plain.write_text("#!/bin/sh\necho '-cpu model'\n")
    plain.chmod(0o755)
    monkeypatch.setattr("compile.bench.counter_build.find_emulators", lambda *_: [Emulator(plain, tmp_path)])
    with pytest.raises(ToolMissingError, match="was built without plugins") as caught:
        find_counting_emulator()
    assert caught.value.exit_code == 4
    monkeypatch.setattr("compile.bench.counter_build.find_emulators", lambda *_: [])
    with pytest.raises(ToolMissingError, match="no qemu-aarch64 with an arm64 C library"):
        find_counting_emulator()


@pytest.fixture(scope="module")
def counting() -> Emulator:
    try:
        return find_counting_emulator()
    except ToolMissingError as error:
        pytest.skip(str(error))


@pytest.fixture
def tools(counting: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands keep what they build in a folder of the test, which has the emulator alone."""
    folder = tmp_path / "build" / "tools"
    found = {EMULATED.sysroot: counting.sysroot, f"usr/bin/{EMULATED.programs[0]}": counting.program}
    for place, target in found.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).symlink_to(target)
    monkeypatch.setattr(count, "TOOLS", folder)


@pytest.fixture(scope="module")
def counter(counting: Emulator, tmp_path_factory: pytest.TempPathFactory) -> InstructionCounter:
    cache = StageCache(tmp_path_factory.mktemp("counter"))
    return InstructionCounter(counting, build_counter(counting, cache), find_llvm(), "no LLVM here", cache)


@pytest.mark.slow
def test_counts_are_exact_and_follow_the_core(arm64_bundle: Path, counter: InstructionCounter) -> None:
    bundle = check_bundle(arm64_bundle)
    first, again, plain = (
        run_counted(bundle, counter, CPUS[name]) for name in ("cortex-a76", "cortex-a76", "cortex-a72")
    )
    assert first == again
    assert (first.variant, plain.variant) == ("dot", "neon")
    assert first.whole.total > 500 and first.steps == () and first.workspace_bytes > 0
    # A row of 24 products and a sum of 8 rows for each score: the loops cannot run fewer branches than rows.
    assert first.whole.stretch.instructions["branch"] >= HEIGHT + CLASSES
    chosen = run_counted(bundle, counter, CPUS["cortex-a76"], "neon")
    assert chosen.variant == "neon"
    with pytest.raises(UnsupportedVariantError):
        run_counted(bundle, counter, CPUS["cortex-a72"], "i8mm")
    with pytest.raises(UsageError, match="Did you mean 'neon'"):
        run_counted(bundle, counter, CPUS["cortex-a76"], "noen")


@pytest.mark.slow
def test_the_steps_add_up(arm64_bundle: Path, counter: InstructionCounter, tmp_path: Path) -> None:
    bundle = check_bundle(arm64_bundle)
    model = link_model(fake_network(ARM64), ARM64, fake_info(), profiling=True)
    files = {name: bundle.read(name) for name in bundle.manifest["files"]}
    made = write_bundle(tmp_path / "bundle", {**files, "model.so": model}, fake_sections(ARM64))
    run = run_counted(made, counter, CPUS["cortex-a76"])
    assert len(run.steps) == 2
    # The loop over the steps is not in them, and each call of one checks its arguments.
    assert sum(step.total for step in run.steps) == pytest.approx(run.whole.total, abs=400)
    assert run.steps[0].total > run.steps[1].total / 10


def test_the_longest_way_takes_the_largest_piece_of_every_step() -> None:
    shared = SharedCount(3, "dot", ((5, 7, 6), (4, 1)), alone=2)
    assert (shared.total, shared.longest, shared.by_thread) == (25, 2 + 7 + 4, (11, 8, 6))


@pytest.mark.slow
def test_threads_share_all_instructions_of_an_inference(arm64_bundle: Path, counter: InstructionCounter) -> None:
    bundle, cpu = check_bundle(arm64_bundle), CPUS["cortex-a76"]
    whole, (one, two) = run_counted(bundle, counter, cpu), (count_threads(bundle, counter, cpu, it) for it in (1, 2))
    assert (one.steps, one.alone) == ((), one.total) and one.total == pytest.approx(whole.whole.total, abs=100)
    assert two == count_threads(bundle, counter, cpu, 2) and two.steps and all(len(step) == 2 for step in two.steps)
    assert one.total < two.total < 2 * one.total  # a network this small is mostly calls
    assert two.total / 2 <= two.longest < two.total == sum(two.by_thread)


@pytest.mark.slow
def test_more_steps_than_layers_are_refused(arm64_bundle: Path, counter: InstructionCounter) -> None:
    nothing = Counted(Stretch({"dot": 1}), {})
    with pytest.raises(IntegrityError, match="1 steps were counted"):
        count_result(check_bundle(arm64_bundle), counter, CPUS["max"], CountRun("dot", 0, nothing, (nothing,)))


@pytest.mark.slow
@pytest.mark.usefixtures("tools")
def test_the_whole_command(arm64_bundle: Path, tmp_path: Path) -> None:
    output = tmp_path / "count.json"
    done = CliRunner().invoke(cli, ["bench", str(arm64_bundle), "--count", "--cpu", "max", "--json", str(output)])
    assert done.exit_code == 0, done.output
    assert (
        "executed instructions (emulated" in done.output and "modelled cycles" in done.output
    ) or "cycles are not modelled" in done.output
    result = json.loads(output.read_text())
    assert result["variant"] == "i8mm" and result["layers"] == []
    assert f"{result['whole']['total']:,}" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "--cpu", "cortex-a67"], "Did you mean 'cortex-a7'"),
        (["--cpu", "max"], "--cpu max belongs to --count"),
        (["--count", "--keep", "x"], "--keep-bundle belongs to --per-layer"),
        (["--count", "--variant", "dot", "--variant", "neon"], "one instruction set at a time"),
    ],
)
def test_wrong_usage_is_refused(arm64_bundle: Path, arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(cli, ["bench", str(arm64_bundle), *arguments])
    assert done.exit_code == 2 and message in done.output


def test_other_targets_are_refused(host_bundle: Path) -> None:
    if check_bundle(host_bundle).target_name == ARM64.name:
        pytest.skip("a host bundle is an arm64 bundle here")
    with pytest.raises(UsageError, match="bundles for: arm64, armv7"):
        count_bundle(CountRequest(host_bundle, find_cpu("max")))


def test_layers_are_shown_with_their_sums() -> None:
    layer = {
        "name": "a", "operator": "Conv2d", "input": [1, 1, 1], "output": [2, 3, 4], "macs": 300, "kernel": "k",
        "total": 100, "instructions": {"dot": 100}, "modelled_cycles": {"cortex-a76": 50.0, "cortex-a55": 200.0},
        "cycles_spent_on": {"cortex-a76": {"V": 50.0}, "cortex-a55": {"results": 150.0, "Ld": 50.0}},
        "lines_missed": {"32768": 10, "2097152": 1},
    }  # fmt: skip
    result = {
        "model": "m", "precision": "int8", "size": 8, "cpu": "max", "variant": "dot", "emulator": "qemu",
        "model_bytes": 1, "workspace_bytes": 2, "layers": [layer, {**layer, "name": "b", "total": 300}],
        "whole": {**layer, "total": 400, "instructions": {"dot": 400}},
    }  # fmt: skip
    text = render_count(result)
    assert "75.0%" in text and "2x3x4" in text
    assert "Cortex-A55: 0.00 M, 75% of them waiting for earlier results" in text and "Raspberry Pi 5" in text
    shown = render_cycles(result, "cortex-a55")
    wanted = ["a", "Conv2d", "100", "200", "50.0%", "50", "4.00", "results", "75%,"]
    assert any(line.split()[:9] == wanted for line in shown.splitlines())
    assert any(line.split()[:5] == ["Conv2d", "2", "600", "400", "100.0%"] for line in text.splitlines())


@pytest.mark.slow
@pytest.mark.usefixtures("tools")
def test_a_core_is_explained_layer_by_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command on the hand-written network: program and compiler are stood in for, nothing else."""
    if find_llvm() is None:
        pytest.skip("llvm-mca of this release is not installed")
    path = tmp_path / "run" / "arm64" / "int8"
    write_bundle(path, fake_files(ARM64), {**fake_sections(ARM64), "layers": LAYERS})
    monkeypatch.setattr(profile, "read_program", lambda *_: None)
    monkeypatch.setattr(profile, "compile_all", lambda *_, **__: ([fake_network(ARM64)], 0))
    found = explain(path, core="cortex-a55")
    assert found.count is not None and len(found.count["layers"]) == 2
    assert "on a Cortex-A55: instruction set dot" in repr(found) and "results" in repr(found)
    for layer in found.count["layers"]:
        assert sum(layer["cycles_spent_on"]["cortex-a55"].values()) == pytest.approx(
            layer["modelled_cycles"]["cortex-a55"], abs=1
        )
    shown = CliRunner().invoke(cli, ["explain", str(path), "--core", "cortex-a72", "--json"])
    assert shown.exit_code == 0 and json.loads(shown.output)["variant"] == "neon"


@pytest.mark.parametrize(
    ("core", "error", "message"),
    [
        ("cortex-a555", UsageError, "Did you mean 'cortex-a55'"),
        ("cortex-a55", ToolMissingError, "cycles cannot be modelled: apt has no llvm"),
    ],
)
def test_a_core_that_cannot_be_explained_is_refused(
    core: str, error: type[Exception], message: str, arm64_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = {"whole": {"modelled_cycles": {}}, "not_modelled": "apt has no llvm"}
    monkeypatch.setattr(explanation, "count_bundle", lambda *_: result)
    with pytest.raises(error, match=message):
        explain(arm64_bundle, core=core)
    with pytest.raises(UsageError, match="core='cortex-a55' needs the folder of an arm64 bundle"):
        explain(arm64_bundle / "model.so", core="cortex-a55")
