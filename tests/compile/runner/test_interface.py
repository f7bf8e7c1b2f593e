"""The C interface as a stranger uses it: the header alone, the example, and the CMake file beside it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compile.bundle.host_model import ABI, ALIGNMENT, load
from compile.link.promises import API
from compile.link.toolchain import RUNNER_SOURCES
from compile.link.zig import run_zig
from compile.targets.table import Target
from tests.support.image_files import scene

EXAMPLE = RUNNER_SOURCES / "example"
HEADER = (RUNNER_SOURCES / "repghost.h").read_text()


def test_the_header_says_what_a_caller_must_know() -> None:
    assert f"#define RG_ABI {ABI}\n" in HEADER
    assert f"#define RG_WORKSPACE_ALIGNMENT {ALIGNMENT} " in HEADER
    for topic in ("Version:", "Errors:", "Threads:", "Rounding:", "Alignment:"):
        assert f" * {topic}" in HEADER
    declared = set(re.findall(r"\b(rg_\w+)\(", re.sub(r"/\*.*?\*/", "", HEADER, flags=re.DOTALL)))
    assert declared == set(API)
    numbers = [
        int(number) for number in re.findall(r"^  RG_\w+ = (\d+)", HEADER.split("enum rg_status {")[1], re.MULTILINE)
    ]
    assert numbers[:10] == list(range(10))


@pytest.mark.parametrize("language", ["-std=c99", "-std=c11", "-xc++"])
def test_the_header_stands_alone(language: str, tmp_path: Path) -> None:
    unit = tmp_path / "unit.c"
    unit.write_text('#include "repghost.h"\nint version(void) { return rg_abi() == RG_ABI; }\n')
    flags = [language, "-Wall", "-Wextra", "-Werror", "-pedantic", "-c", str(unit), "-o", str(tmp_path / "unit.o")]
    run_zig(["cc", f"-I{RUNNER_SOURCES}", *flags])


def answer(program: Path, image: Image.Image) -> str:
    pixels = np.asarray(image)
    command = [str(program), str(image.width), str(image.height)]
    done = subprocess.run(command, input=pixels.tobytes(), capture_output=True, timeout=60, check=True)
    return done.stdout.decode().strip()


def expected(bundle: Path, image: Image.Image) -> str:
    model = load(bundle)
    scores = model.logits(model.preprocess.apply(image)[None])[0]
    return f"class {scores.argmax()}, score {float(scores.max()):.9g}, on {model.variant}"


def test_the_example_gives_the_answer_of_python(host_bundle: Path, host: Target, tmp_path: Path) -> None:
    assert len((EXAMPLE / "example.c").read_text().splitlines()) <= 40
    flags = ["-O2", "-fno-sanitize=all", "-std=c11", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Werror"]
    library = [f"-I{host_bundle}", str(host_bundle / "model.so"), f"-Wl,-rpath,{host_bundle}"]
    program = tmp_path / "example"
    run_zig(["cc", "-target", host.zig_triple, *flags, str(EXAMPLE / "example.c"), *library, "-o", str(program)])
    for image in (scene(61, 33), scene(20, 45), scene(8, 8)):
        assert answer(program, image) == expected(host_bundle, image)
    done = subprocess.run([str(program), "5"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: example WIDTH HEIGHT < picture.rgb\n")


def test_cmake_builds_the_example(host_bundle: Path, host: Target, tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    cmake = shutil.which("cmake", path=path)
    if cmake is None or shutil.which("make") is None:
        pytest.skip("no cmake or no make; pip install cmake, apt install make")
    compiler = tmp_path / "cc"
    zig = f'"{sys.executable}" -m ziglang cc -target {host.zig_triple} -O2 -fno-sanitize=all'
    compiler.write_text(f'#!/bin/sh\nexec {zig} "$@"\n')
    compiler.chmod(0o755)
    options = [f"-DREPGHOST_BUNDLE={host_bundle}", f"-DCMAKE_C_COMPILER={compiler}", "-G", "Unix Makefiles"]
    for arguments in (
        ["-S", str(EXAMPLE), "-B", str(tmp_path / "build"), *options],
        ["--build", str(tmp_path / "build")],
    ):
        done = subprocess.run([cmake, *arguments], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    image = scene(61, 33)
    assert answer(tmp_path / "build/example", image) == expected(host_bundle, image)
