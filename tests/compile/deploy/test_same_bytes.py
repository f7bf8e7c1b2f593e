"""A bundle that is built twice, in two folders, by two processes, is the same file by file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from compile.bundle.manifest import FILES, MANIFEST
from tests.support import ROOT

BUILD = """
from dataclasses import replace
from pathlib import Path
from calib.integer.reference import run
from compile.codegen.program_to_objects import compile_program
from compile.bundle.manifest import write_bundle
from compile.targets.table import ARM64 as EVERY_VARIANT
from compile.link.toolchain import RUNNER_SOURCES, build_runner, link_model
from compile.bundle.vectors import Vectors, pack_vectors
from repghost.data.images.preprocess import Preprocess
from tests.support.fake_bundle import fake_sections
from tests.support.programs import random_images, random_program

ARM64 = replace(EVERY_VARIANT, variants=EVERY_VARIANT.variants[1:2])
program, images = random_program(size=32), random_images(2, 32, 32)
sides = {"height": 32, "width": 32, "channels": 3}
info = {"abi": 1, "input": sides, "classes": program.classes, "model": "random"}
files = {
    "model.so": link_model(compile_program(program, ARM64), ARM64, info),
    "repghost-run": build_runner(ARM64),
    "repghost.h": (RUNNER_SOURCES / "repghost.h").read_bytes(),
    "labels.txt": b"".join(b"%d\\n" % index for index in range(program.classes)),
    "vectors.bin": pack_vectors(Vectors(images, run(program, images))),
}
sections = {**fake_sections(ARM64), "program_digest": program.digest, "input": sides, "classes": program.classes,
            "preprocess": Preprocess(size=32, resize=32).to_dict()}
write_bundle(Path("bundle"), files, sections)
"""


def build(folder: Path, seed: str, zone: str) -> Path:
    temporary = folder / f"temporary of {seed}"
    temporary.mkdir(parents=True)
    changes = {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed, "TMPDIR": str(temporary), "TZ": zone}
    subprocess.run([sys.executable, "-c", BUILD], cwd=folder, env={**os.environ, **changes}, check=True)
    return folder / "bundle"


@pytest.mark.slow
def test_two_builds_in_two_folders_are_the_same_files(tmp_path: Path) -> None:
    first = build(tmp_path / "a", "1", "UTC")
    second = build(tmp_path / "another folder" / "b", "2", "Asia/Tokyo")
    assert {path.name for path in first.iterdir()} == FILES | {MANIFEST}
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name
        assert path.stat().st_mode == (second / path.name).stat().st_mode
