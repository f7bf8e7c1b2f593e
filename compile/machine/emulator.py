"""Finding qemu-aarch64 and an arm64 C library, or fetching Debian's packages of both without root.

Only the runner needs the C library: it is an ordinary dynamic program, as it will be on a device.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compile.machine.debian_packages import package_source
from repghost.errors import ToolMissingError

PROGRAMS = ("qemu-aarch64", "qemu-aarch64-static")
EMULATOR_PACKAGES = ("qemu-user-static", "qemu-user")  # Debian 12 and Ubuntu before 25.04; Debian 13 and later
LIBRARY_PACKAGE = "libc6-arm64-cross"
LOADER = "lib/ld-linux-aarch64.so.1"
SYSTEM_SYSROOTS = (Path("/usr/aarch64-linux-gnu"), Path("/"))  # "/" on a system with arm64 as a foreign architecture
KEPT = (*(f"usr/bin/{name}" for name in PROGRAMS), "usr/aarch64-linux-gnu")  # qemu's package has 60 more programs
TOOLS = Path("build/tools")
INSTALL_HINT = "apt install qemu-user libc6-arm64-cross (Debian 12, Ubuntu: qemu-user-static)"


@dataclass(frozen=True)
class Emulator:
    """A program that runs arm64 programs, and where it finds their C library."""

    program: Path
    sysroot: Path

    def command(self, cpu: str) -> list[str]:
        """Return the words to put before an arm64 command line.

        Args:
            cpu: the core to emulate, e.g. "cortex-a53".
        """
        return [str(self.program), "-L", str(self.sysroot), "-cpu", cpu]

    def version(self) -> str:
        """Return qemu's own version line."""
        done = subprocess.run([str(self.program), "--version"], capture_output=True, text=True, check=False)
        return done.stdout.splitlines()[0] if done.stdout else "unknown"


def _programs(tools: Path) -> Iterator[Path]:
    for name in PROGRAMS:
        found = shutil.which(name)
        if found:
            yield Path(found)
        yield tools / "usr/bin" / name


def find_emulator(tools: Path = TOOLS) -> Emulator | None:
    """Return an emulator that is installed, or was fetched before; None when a part is missing.

    Args:
        tools: the folder that `fetch_emulator` fills.
    """
    return next(iter(find_emulators(tools)), None)


def find_emulators(tools: Path = TOOLS) -> list[Emulator]:
    """Return every emulator that is installed or was fetched before, the preferred one first; see `find_emulator`."""
    sysroots = (*SYSTEM_SYSROOTS, tools / "usr/aarch64-linux-gnu")
    sysroot = next((path for path in sysroots if (path / LOADER).exists()), None)
    programs = [path.absolute() for path in _programs(tools) if os.access(path, os.X_OK)]
    return [Emulator(program, sysroot.absolute()) for program in programs] if sysroot else []


def fetch_emulator(tools: Path = TOOLS) -> Emulator:
    """Return the installed emulator; where there is none, download Debian's or Ubuntu's packages and unpack them.

    Nothing is installed: the packages are unpacked below `tools`, and no root is needed.

    Raises:
        ToolMissingError: when this is no Debian or Ubuntu, or the packages cannot be had.
    """
    found = find_emulator(tools)
    if found:
        return found
    with package_source(f"no qemu-aarch64 was found. {_by_hand()}") as source:
        if not any(source.keep(package, KEPT, tools) for package in EMULATOR_PACKAGES):
            raise ToolMissingError(f"apt-get has none of the packages {', '.join(EMULATOR_PACKAGES)}. {_by_hand()}")
        if not source.keep(LIBRARY_PACKAGE, KEPT, tools):
            raise ToolMissingError(f"apt-get has no package {LIBRARY_PACKAGE}. {_by_hand()}")
    found = find_emulator(tools)
    if not found:
        raise ToolMissingError(f"the packages were unpacked into {tools} but hold no {PROGRAMS[0]}. {_by_hand()}")
    return found


def _by_hand() -> str:
    return f"Install it: {INSTALL_HINT}."
