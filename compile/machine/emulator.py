"""Find qemu and the C library of another architecture, or fetch Debian's packages of both without root.

Only the runner needs the C library: it is an ordinary dynamic program, as it will be on a device.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compile.machine.debian_packages import package_source
from compile.targets.table import EMULATED, Emulation
from repghost.errors import ToolMissingError
from repghost.processes import TOOL_LIMIT_S, run_limited

EMULATOR_PACKAGES = ("qemu-user-static", "qemu-user")  # Debian 12 and Ubuntu before 25.04; Debian 13 and later
TOOLS = Path("build/tools")


def install_hint(emulation: Emulation = EMULATED) -> str:
    """Return the command that installs an emulator and the C library of its architecture."""
    return f"apt install qemu-user {emulation.library_package} (Debian 12, Ubuntu: qemu-user-static)"


@dataclass(frozen=True)
class Emulator:
    """A program that runs those of another architecture, and where it finds their C library."""

    program: Path
    sysroot: Path

    def command(self, cpu: str) -> list[str]:
        """Return the words to put before a command line.

        Args:
            cpu: the core to emulate, e.g. "cortex-a53".
        """
        return [str(self.program), "-L", str(self.sysroot), "-cpu", cpu]

    def version(self) -> str:
        """Return qemu's own version line."""
        advice = "Install it again: apt install qemu-user."
        done = run_limited([str(self.program), "--version"], TOOL_LIMIT_S, name=str(self.program), advice=advice)
        return done.stdout.splitlines()[0] if done.stdout else "unknown"


def _programs(tools: Path, emulation: Emulation) -> Iterator[Path]:
    for name in emulation.programs:
        found = shutil.which(name)
        if found:
            yield Path(found)
        yield tools / "usr/bin" / name


def find_emulator(tools: Path = TOOLS, emulation: Emulation = EMULATED) -> Emulator | None:
    """Return an emulator that is installed, or was fetched before; None when a part is missing.

    Args:
        tools: the folder that `fetch_emulator` fills.
        emulation: of which architecture.
    """
    return next(iter(find_emulators(tools, emulation)), None)


def find_emulators(tools: Path = TOOLS, emulation: Emulation = EMULATED) -> list[Emulator]:
    """Return every emulator that is installed or was fetched before, the preferred one first; see `find_emulator`."""
    sysroot = _sysroot(tools, emulation)
    return [Emulator(program, sysroot) for program in _present(tools, emulation)] if sysroot else []


def _present(tools: Path, emulation: Emulation) -> list[Path]:
    return [path.absolute() for path in _programs(tools, emulation) if os.access(path, os.X_OK)]


def _sysroot(tools: Path, emulation: Emulation) -> Path | None:
    """Return the folder that the C library is in: "/" on a system that has the architecture as a foreign one."""
    places = (Path("/") / emulation.sysroot, Path("/"), tools / emulation.sysroot)
    return next((path.absolute() for path in places if (path / emulation.loader).exists()), None)


def fetch_emulator(tools: Path = TOOLS, emulation: Emulation = EMULATED) -> Emulator:
    """Return the installed emulator; what it lacks is downloaded from Debian's or Ubuntu's packages and unpacked.

    Nothing is installed: the packages are unpacked below `tools`, and no root is needed.

    Raises:
        ToolMissingError: when this is no Debian or Ubuntu, or the packages cannot be had.
    """
    found = find_emulator(tools, emulation)
    if found:
        return found
    program, library = emulation.programs[0], emulation.library_package
    by_hand = f"Install it: {install_hint(emulation)}."
    kept = (*(f"usr/bin/{name}" for name in emulation.programs), emulation.sysroot)  # qemu's has 60 more programs
    with package_source(f"no {program} was found. {by_hand}") as source:
        missing = not _present(tools, emulation)
        if missing and not any(source.keep(package, kept, tools) for package in EMULATOR_PACKAGES):
            raise ToolMissingError(f"apt-get has none of the packages {', '.join(EMULATOR_PACKAGES)}. {by_hand}")
        if not _sysroot(tools, emulation) and not source.keep(library, kept, tools):
            raise ToolMissingError(f"apt-get has no package {library}. {by_hand}")
    found = find_emulator(tools, emulation)
    if not found:
        raise ToolMissingError(f"the packages were unpacked into {tools} but hold no {program}. {by_hand}")
    return found
