"""Fuzzers of the runner: tests/fuzz holds a harness for each reader of foreign bytes, and its corpus.

`make fuzz` runs them all; what they find grows in build/fuzz. They need clang with libFuzzer and its sanitizers.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from compile.link.toolchain import RUNNER_SOURCES
from tests.support import ROOT

FOLDER = ROOT / "tests" / "fuzz"
HARNESSES = tuple(sorted(path.stem for path in FOLDER.glob("*.c")))
SANITIZERS = ("-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all")
# Unoptimized, because Wuffs then is compiled in seconds, and runs two thirds as fast.
FLAGS = ("-std=gnu11", "-D_GNU_SOURCE", "-g", "-O0", "-w", *SANITIZERS, f"-I{RUNNER_SOURCES}", f"-I{FOLDER}")
LIMITS = ("-timeout=20", "-rss_limit_mb=1024", "-max_len=8192")  # seconds and megabytes of one input, bytes
LAST_LINES = 40
BUILD_SECONDS, START_SECONDS, END_SECONDS = 600, 120, 30  # on a busy machine


@cache
def missing_tool() -> str | None:
    """Return why no fuzzer can be built here, or None."""
    clang = shutil.which("clang")
    if clang is None:
        return "no clang; on Debian: apt install clang"
    with tempfile.TemporaryDirectory() as folder:
        unit = Path(folder) / "unit.c"
        unit.write_text("int LLVMFuzzerTestOneInput(const char *data, long size) { return data && !size; }\n")
        command = [clang, *SANITIZERS, str(unit), "-o", str(unit.with_suffix(""))]
        if subprocess.run(command, capture_output=True, timeout=BUILD_SECONDS, check=False).returncode:
            return "clang has no libFuzzer; on Debian: apt install libclang-rt-dev"
    return None


def fuzz(name: str, seconds: int, folder: Path, seed: int = 0) -> str:
    """Build a harness, replay its corpus, and look for new inputs.

    Args:
        name: one of `HARNESSES`.
        seconds: how long new inputs are tried.
        folder: where the program, what it found and the input that broke it are kept.
        seed: of the chance that makes inputs; 0 for another one each time.

    Returns:
        what was found wrong, or nothing.
    """
    work = (folder / name).resolve()
    found = work / "found"
    found.mkdir(parents=True, exist_ok=True)
    build = ["clang", *FLAGS, str(FOLDER / f"{name}.c"), "-o", str(work / name)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    if done.returncode:
        return f"{name} cannot be built:\n{done.stderr}"
    options = [f"-max_total_time={seconds}", f"-seed={seed}", *LIMITS, f"-artifact_prefix={work}/"]
    # A child of `timeout`, for the memory that -rss_limit_mb limits counts that of the process that was replaced.
    limit = seconds + START_SECONDS
    command = [
        "timeout",
        "-s",
        "KILL",
        str(limit),
        str(work / name),
        *options,
        str(found),
        str(FOLDER / "corpus" / name),
    ]
    environment = {**os.environ, "ASAN_OPTIONS": "quarantine_size_mb=16"}
    with (work / "log").open("w+", errors="replace") as log:
        code = subprocess.run(
            command, cwd=work, env=environment, stdout=log, stderr=log, timeout=limit + END_SECONDS, check=False
        ).returncode
        log.seek(0)
        lines = log.read().splitlines()
    return "" if code == 0 else "\n".join([f"{name} ended with {code}, see {work}", *lines[-LAST_LINES:]])


def main() -> int:
    """Run all harnesses; the exit code is 1 when one found something."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=20, help="for each harness")
    parser.add_argument("--jobs", type=int, default=2, help="how many run side by side")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "fuzz")
    arguments = parser.parse_args()
    reason = missing_tool()
    if reason:
        print(f"fuzzing the runner is skipped: {reason}")
        return 0
    with ThreadPoolExecutor(arguments.jobs) as pool:
        problems = list(pool.map(lambda name: fuzz(name, arguments.seconds, arguments.output), HARNESSES))
    for name, problem in zip(HARNESSES, problems, strict=True):
        print(problem or f"{name}: nothing found in {arguments.seconds} s")
    return int(any(problems))


if __name__ == "__main__":
    sys.exit(main())
