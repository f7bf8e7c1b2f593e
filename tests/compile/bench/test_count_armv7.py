"""Counting 32-bit ARM: classes by the assembler's word, and a bundle counted on a core of its own family."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from compile.bench.count import CPUS, DEFAULT_CPUS, CountRequest, count_bundle, cpus_of, run_counted
from compile.bench.counter_build import COUNTER_SOURCES, start_counter
from compile.bundle.manifest import write_bundle
from compile.bundle.vectors import Vectors, pack_vectors
from compile.link.toolchain import link_model
from compile.link.zig import run_zig
from compile.targets.table import ARM64, ARMV7, TARGETS, Target
from repghost.errors import ToolMissingError, UsageError
from tests.compile.bench.test_count import CLASS_NAMES
from tests.support.assembled import assembled
from tests.support.fake_bundle import fake_info, fake_sections
from tests.support.fake_network import CLASSES, expected_logits, fake_network, random_images

INSTRUCTIONS = {
    "float_fma": ["vmla.f32 q0, q1, q2", "vmls.f32 q0, q1, d4[1]", "vfma.f32 q0, q1, q2"],
    "float": ["vadd.f32 q0, q1, q2", "vmul.f32 q0, q1, q2", "vmul.f32 q0, q1, d4[0]", "vmax.f32 q0, q1, q2",
              "vabd.f32 q0, q1, q2", "vcvt.f32.s32 q0, q1", "vcvt.s32.f32 q0, q1", "vabs.f32 q0, q1",
              "vcge.f32 q0, q1, #0", "vceq.f32 q0, q1, q2"],
    "multiply": ["vmull.s8 q0, d2, d3", "vmlal.s8 q0, d2, d3", "vmlal.s16 q0, d2, d3[1]", "vmul.i16 q0, q1, q2",
                 "vmla.i32 q0, q1, d4[0]", "vqrdmulh.s16 q0, q1, q2", "vqrdmulh.s16 q0, q1, d4[1]"],
    "vector": ["vpadal.s16 q0, q1", "vpadd.i32 d0, d1, d2", "vadd.i32 q0, q1, q2", "vqadd.s16 q0, q1, q2",
               "vqmovn.s16 d0, q1", "vmovn.i32 d0, q1", "vmov.i32 q0, #0", "vmovl.s8 q0, d2", "vext.8 q0, q1, q2, #3",
               "vtbl.8 d0, {d1, d2, d3, d4}, d5", "vdup.32 q0, d2[1]", "vzip.8 q0, q1", "vand q0, q1, q2",
               "vshr.s32 q0, q1, #12", "vqrshrn.s16 d0, q1, #5", "vmax.s8 q0, q1, q2", "vaddw.s16 q0, q1, d4"],
    "scalar_float": ["vmul.f32 s0, s1, s2", "vdiv.f32 s0, s1, s2", "vmov r0, s1", "vmov d0, r0, r1", "vdup.32 q0, r1",
                     "vcvt.s32.f32 s0, s1", "vmrs r0, fpscr"],
    "vector_load": ["vld1.8 {d0, d1}, [r1]!", "vld1.32 {d0[]}, [r1]!", "vld3.8 {d0, d1, d2}, [r1]", "vldr d0, [r1, #8]",
                    "vldmia r1, {d0, d1}", "vld1.32 {d0[1]}, [r2]", "vpop {d8, d9}"],
    "vector_store": ["vst1.8 {d0}, [r1], r2", "vstmia r1, {d0, d1}", "vstr d0, [sp, #8]", "vst1.32 {d0[0]}, [r1]"],
    "load": ["ldr r0, [r1, #4]", "ldrb r0, [r1, r2]", "ldm r1, {r2, r3}", "pop {r4, pc}", "ldrd r0, r1, [r2]",
             "ldrh r0, [r1]", "ldrsb r0, [r1]", "ldrex r0, [r1]"],
    "store": ["str r0, [r1]", "strb r0, [r1]!", "push {r4, lr}", "strd r0, r1, [r2]", "strh r0, [r1]",
              "strex r0, r1, [r2]"],
    "integer": ["add r0, r1, r2", "mla r0, r1, r2, r3", "movw r0, #5", "subs r0, r0, #1", "cmp r0, r1", "sxtb r0, r1",
                "smmla r0, r1, r2, r3", "orr r0, r1, r2, lsl #3"],
    "branch": ["b .", "bne .", "bl .", "bx lr", "blx r1", "svc #0"],
}  # fmt: skip


@pytest.mark.slow
def test_every_instruction_is_of_its_class(host: Target, tmp_path: Path) -> None:
    lines = [line for group in INSTRUCTIONS.values() for line in group]
    target = ["-target", "arm-linux-gnueabihf", "-mcpu=cortex_a7"]
    words = assembled([".arch armv7-a", ".fpu neon-vfpv4", ".arm", *lines], target, tmp_path)
    flags = ["-target", host.zig_triple, "-O1", "-fno-sanitize=all", "-shared", "-fPIC"]
    rows = ['-DFAMILY_ROWS="classes_armv7.h"', str(COUNTER_SOURCES / "classes.c")]
    run_zig(["cc", *flags, *rows, "-o", "units.so"], cwd=tmp_path)
    library = ctypes.CDLL(str(tmp_path / "units.so"))
    found = {line: CLASS_NAMES[library.classify(word)] for line, word in zip(lines, words, strict=True)}
    assert found == {line: name for name, group in INSTRUCTIONS.items() for line in group}


def test_every_counted_target_has_cores_and_a_usual_one() -> None:
    for target in TARGETS.values():
        assert bool(cpus_of(target)) == target.counted == (target.name in DEFAULT_CPUS)
        assert not target.counted or CPUS[DEFAULT_CPUS[target.name]] in cpus_of(target)


@pytest.mark.slow
def test_a_bundle_is_counted_on_a_core_of_its_family(tmp_path: Path) -> None:
    images = random_images(1)
    files = {
        "model.so": link_model(fake_network(ARMV7), ARMV7, fake_info()),
        "vectors.bin": pack_vectors(Vectors(images, expected_logits(images))),
        **dict.fromkeys(("repghost-run", "repghost.h", "labels.txt"), b"class\n" * CLASSES),
    }
    bundle = write_bundle(tmp_path / "bundle", files, fake_sections(ARMV7))
    with pytest.raises(UsageError, match="is for armv7, which cortex-a76 is not counted for; allowed: cortex-a7, cor"):
        count_bundle(CountRequest(bundle.path, CPUS["cortex-a76"]))
    try:
        counter = start_counter(target=ARMV7)
    except ToolMissingError as error:
        pytest.skip(str(error))
    assert counter.llvm is None and ARM64.name in counter.why_not_modelled
    counted = [run_counted(bundle, counter, CPUS[name]) for name in ("cortex-a7", "cortex-a15", "cortex-a7")]
    assert [run.variant for run in counted] == ["neonv7"] * 3
    assert counted[0] == counted[2] and counted[0].whole.total > 500
