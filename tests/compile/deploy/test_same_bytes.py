"""A bundle that is built twice, in two folders, by two processes, is the same file by file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from calib.integer.reference import run
from compile.bundle.manifest import FILES, MANIFEST, write_bundle
from compile.bundle.vectors import Vectors, pack_vectors
from compile.link.stored_runner import stored_runner
from compile.link.toolchain import RUNNER_SOURCES, build_runner, link_model
from compile.targets.table import ARM64, Target
from repghost.data.images.preprocess import Preprocess
from tests.support import ROOT
from tests.support.fake_bundle import fake_sections
from tests.support.programs import random_images, random_program


def write(folder: Path, runner: Callable[[Target], bytes]) -> None:
    """Compile a network for one instruction set and write its bundle."""
    from compile.codegen.program_to_objects import compile_program  # loads TVM

    target = replace(ARM64, variants=ARM64.variants[1:2])
    program, images = random_program(size=32), random_images(2, 32, 32)
    sides = {"height": 32, "width": 32, "channels": 3}
    info = {"abi": 1, "input": sides, "classes": program.classes, "model": "random"}
    files = {
        "model.so": link_model(compile_program(program, target), target, info),
        "repghost-run": runner(ARM64),
        "repghost.h": (RUNNER_SOURCES / "repghost.h").read_bytes(),
        "labels.txt": b"".join(b"%d\n" % index for index in range(program.classes)),
        "vectors.bin": pack_vectors(Vectors(images, run(program, images))),
    }
    sections = {
        **fake_sections(target),
        "program_digest": program.digest,
        "input": sides,
        "classes": program.classes,
        "preprocess": Preprocess(size=32, resize=32).to_dict(),
    }
    write_bundle(folder, files, sections)


@pytest.mark.slow
def test_two_builds_in_two_folders_are_the_same_files(tmp_path: Path) -> None:
    """One here, with a runner that an earlier test has built, and one in a process with other surroundings."""
    first, second = tmp_path / "bundle", tmp_path / "another folder"
    write(first, stored_runner)
    (second / "temporary").mkdir(parents=True)
    changes = {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "2", "TMPDIR": str(second / "temporary"), "TZ": "Asia/Tokyo"}
    command = [sys.executable, "-m", "tests.compile.deploy.test_same_bytes"]
    subprocess.run(command, cwd=second, env={**os.environ, **changes}, check=True)
    assert {path.name for path in first.iterdir()} == FILES | {MANIFEST}
    for path in first.iterdir():
        assert path.read_bytes() == (second / "bundle" / path.name).read_bytes(), path.name
        assert path.stat().st_mode == (second / "bundle" / path.name).stat().st_mode


if __name__ == "__main__":
    write(Path("bundle"), build_runner)
