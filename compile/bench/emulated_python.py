"""A target's Python with other runtimes' wheels, unpacked into a folder and run under emulation; nothing is installed.

Debian's packages give the interpreter, PyPI the wheels that a user of a board would install.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compile.machine.debian_packages import move_unless_there, package_source
from compile.machine.emulator import TOOLS, Emulator
from compile.targets.table import ARM64, ARMV7, COUNTED, EMULATED, Target
from repghost.errors import ToolMissingError
from repghost.files import temporary_folder
from repghost.processes import run_limited

# dpkg and tar come with them, a hundredth of the download; libgomp1 is what MNN and ncnn share their work with.
PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6", "libgomp1", "zlib1g")
LIBRARIES = ("usr/lib/{0}", "lib/{0}", "usr/lib/{0}/blas", "usr/lib/{0}/lapack")  # the last two of Debian's numpy


@dataclass(frozen=True)
class Wheels:
    """The runtimes that the package index has for a target, and what they need."""

    names: tuple[str, ...]  # as pip takes them
    machine: str  # in the names of wheels' platforms
    debian: tuple[str, ...] = ()  # what they need and the index does not have
    options: tuple[str, ...] = ()  # of pip

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platforms that pip may take wheels of."""
        minors = (17, 24, 27, 28, 31, 34, 35)
        return f"manylinux2014_{self.machine}", *(f"manylinux_2_{minor}_{self.machine}" for minor in minors)

    def has(self, package: str) -> bool:
        """Tell whether a package is one of them, whatever its version."""
        return any(package == re.split("[<=>]", name)[0] for name in self.names)


# ONNX Runtime 1.32 asks for the caches of the cores while it is loaded, and crashes under QEMU 7.2; 1.23 is the newest
# that was seen to run. Of 32-bit ARM the index has ncnn alone, and no numpy.
WHEELS = {
    ARM64.name: Wheels(("numpy", "MNN", "ncnn", "ai-edge-litert", "onnxruntime<1.24", "openvino"), "aarch64"),
    ARMV7.name: Wheels(("ncnn",), "armv7l", ("python3-numpy",), ("--no-deps",)),
}
INDEX_LIMIT = 1800  # seconds of downloading


@dataclass(frozen=True)
class EmulatedPython:
    """Two folders: the root of the interpreter, and the packages it imports."""

    root: Path
    packages: Path
    target: Target = COUNTED

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
        machine = Path((self.target.emulation or EMULATED).sysroot).name
        settings = {
            "PYTHONHOME": str(self.root / "usr"),
            "PYTHONPATH": f"{more}:{self.packages}",
            "PYTHONHASHSEED": "0",
            "LD_LIBRARY_PATH": ":".join(str(self.root / folder.format(machine)) for folder in LIBRARIES),
            "OMP_NUM_THREADS": "1",
        }
        words = [word for name, value in settings.items() for word in ("-E", f"{name}={value}")]
        return [str(emulator.program), "-L", str(self.root), "-cpu", cpu, *words, *options, str(self.program)]


def find_emulated_python(tools: Path = TOOLS, target: Target = COUNTED) -> EmulatedPython | None:
    """Return what was fetched before for a target; None when it was not."""
    found = _placed(tools, target)
    return found if found.packages.is_dir() and found.root.is_dir() else None


def fetch_emulated_python(tools: Path = TOOLS, target: Target = COUNTED) -> EmulatedPython:
    """Return a target's interpreter and runtimes, downloading them below `tools` where they are not there.

    Args:
        tools: the folder of fetched tools.
        target: a row of WHEELS.

    Raises:
        ToolMissingError: when this is no Debian, or packages or wheels cannot be had.
    """
    found = find_emulated_python(tools, target)
    if found:
        return found
    python, wheels = _placed(tools, target), WHEELS[target.name]
    packages, architecture = (*PACKAGES, *wheels.debian), (target.emulation or EMULATED).debian
    with package_source(f"other runtimes are counted with Debian's Python for {target.name}.") as source:
        if not source.keep_whole(packages, python.root, architecture):
            raise ToolMissingError(
                f"apt-get has no {architecture} packages of {', '.join(packages)}; they are Debian's."
            )
    fetch_wheels(python, wheels.names, python.packages)
    return python


def _placed(tools: Path, target: Target) -> EmulatedPython:
    place = (tools / f"{target.name}-python").absolute()
    return EmulatedPython(place / "root", place / "packages", target)


def fetch_wheels(python: EmulatedPython, wheels: Sequence[str], place: Path) -> None:
    """Unpack wheels and what they need into a folder, unless it is there.

    Args:
        python: the interpreter they are for.
        wheels: as pip takes them, e.g. "ncnn==1.0.20230223".
        place: the folder; it appears whole or not at all.

    Raises:
        ToolMissingError: when they cannot be had.
    """
    if place.is_dir():
        return
    version, of_target = python.program.name.removeprefix("python"), WHEELS[python.target.name]
    with temporary_folder(place) as folder:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder / "packages")]
        command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", version, *of_target.options]
        command += [word for platform in of_target.platforms for word in ("--platform", platform)]
        done = run_limited([*command, *wheels], INDEX_LIMIT, name="pip", advice="Check the network, then try again.")
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise ToolMissingError(
                f"pip cannot get the {python.target.name} wheels of {', '.join(wheels)}: {last[:300]}"
            )
        move_unless_there(folder / "packages", place)
