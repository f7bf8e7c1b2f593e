"""A Python for arm64 with other runtimes' wheels, unpacked into a folder and run under emulation; nothing is installed.

Debian's packages give the interpreter, PyPI the wheels that a user of a board would install.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compile.machine.debian_packages import move_unless_there, package_source
from compile.machine.emulator import TOOLS, Emulator
from repghost.errors import ToolMissingError
from repghost.files import temporary_folder
from repghost.processes import run_limited

FOLDER = "arm64-python"
# dpkg and tar come with them, a hundredth of the download; libgomp1 is what MNN and ncnn share their work with.
PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6", "libgomp1", "zlib1g")
LIBRARIES = ("usr/lib/aarch64-linux-gnu", "lib/aarch64-linux-gnu")
# Runtimes that have wheels for Linux on arm64. ONNX Runtime 1.32 asks for the caches of the cores while it is loaded,
# and crashes under QEMU 7.2; 1.23 is the newest that was seen to run.
WHEELS = ("numpy", "MNN", "ncnn", "ai-edge-litert", "onnxruntime<1.24", "openvino")
PLATFORMS = ("manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in (17, 24, 27, 28, 31, 34, 35)))
INDEX_LIMIT = 1800  # seconds of downloading


@dataclass(frozen=True)
class Arm64Python:
    """Two folders: the root of the interpreter, and the packages it imports."""

    root: Path
    packages: Path

    @property
    def program(self) -> Path:
        """The interpreter."""
        return next(path for path in sorted((self.root / "usr/bin").glob("python3.*")) if path.suffix[1:].isdigit())

    def command(self, emulator: Emulator, cpu: str, more: Path, options: list[str]) -> list[str]:
        """Return the words to put before the arguments of Python.

        Args:
            emulator: what runs it.
            cpu: the core to emulate.
            more: a further folder to import from.
            options: of the emulator.
        """
        settings = {
            "PYTHONHOME": str(self.root / "usr"),
            "PYTHONPATH": f"{more}:{self.packages}",
            "PYTHONHASHSEED": "0",
            "LD_LIBRARY_PATH": ":".join(str(self.root / folder) for folder in LIBRARIES),
            "OMP_NUM_THREADS": "1",
        }
        words = [word for name, value in settings.items() for word in ("-E", f"{name}={value}")]
        return [str(emulator.program), "-L", str(self.root), "-cpu", cpu, *words, *options, str(self.program)]


def find_arm64_python(tools: Path = TOOLS) -> Arm64Python | None:
    """Return what was fetched before; None when it was not."""
    place = (tools / FOLDER).absolute()
    found = Arm64Python(place / "root", place / "packages")
    return found if found.packages.is_dir() and found.root.is_dir() else None


def fetch_arm64_python(tools: Path = TOOLS) -> Arm64Python:
    """Return the interpreter and the runtimes, downloading them below `tools` where they are not there.

    Raises:
        ToolMissingError: when this is no Debian, or packages or wheels cannot be had.
    """
    found = find_arm64_python(tools)
    if found:
        return found
    place = (tools / FOLDER).absolute()
    with package_source("other runtimes are counted with Debian's Python for arm64.") as source:
        if not source.keep_whole(PACKAGES, place / "root", "arm64"):
            raise ToolMissingError(f"apt-get has no arm64 packages of {', '.join(PACKAGES)}; they are Debian's.")
    python = Arm64Python(place / "root", place / "packages")
    fetch_wheels(python, WHEELS, python.packages)
    return python


def fetch_wheels(python: Arm64Python, wheels: Sequence[str], place: Path) -> None:
    """Unpack arm64 wheels and what they need into a folder, unless it is there.

    Args:
        python: the interpreter they are for.
        wheels: as pip takes them, e.g. "ncnn==1.0.20230223".
        place: the folder; it appears whole or not at all.

    Raises:
        ToolMissingError: when they cannot be had.
    """
    if place.is_dir():
        return
    version = python.program.name.removeprefix("python")
    with temporary_folder(place) as folder:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder / "packages")]
        command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", version]
        command += [word for platform in PLATFORMS for word in ("--platform", platform)]
        done = run_limited([*command, *wheels], INDEX_LIMIT, name="pip", advice="Check the network, then try again.")
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise ToolMissingError(f"pip cannot get the arm64 wheels of {', '.join(wheels)}: {last[:300]}")
        move_unless_there(folder / "packages", place)
