"""LLVM's disassembler and its machine code analyzer: found, or fetched from Debian's packages without root.

One release prices everything, so that modelled cycles do not depend on what a machine has installed.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from compile.machine.debian_packages import package_source
from compile.machine.emulator import TOOLS
from repghost.errors import RepGhostError, ToolMissingError
from repghost.processes import run_limited

RELEASE = "19"  # the oldest with models of Cortex-A510, Neoverse N1 and N2 that Debian 12, 13 and Ubuntu 24.04 have
PACKAGE = f"llvm-{RELEASE}"
FOLDER = "llvm"
INSTALL_HINT = f"apt install {PACKAGE}"
LIMIT_S = 600.0  # of one program over the blocks of a network, which takes seconds


@dataclass(frozen=True)
class Llvm:
    """Two programs of one release."""

    disassembler: Path  # llvm-mc
    analyzer: Path  # llvm-mca
    libraries: tuple[Path, ...] = ()  # where a fetched one finds its shared libraries

    def run(self, program: Path, arguments: list[str]) -> str:
        """Return what a program printed.

        Raises:
            RepGhostError: when it failed.
            ToolMissingError: when it cannot be started.
        """
        environment = dict(os.environ)
        if self.libraries:
            environment["LD_LIBRARY_PATH"] = ":".join(map(str, self.libraries))
        advice = f"Install it again: {INSTALL_HINT}."
        try:
            done = run_limited(
                [str(program), *arguments], LIMIT_S, name=program.name, advice=advice, environment=environment
            )
        except OSError as error:
            raise ToolMissingError(f"cannot start {program}: {error.strerror}. {advice}") from error
        if done.returncode:
            words = done.stderr.strip().splitlines() or ["it said nothing"]
            raise RepGhostError(f"{program.name} ended with code {done.returncode}: {words[-1][:300]}")
        return done.stdout


def find_llvm(tools: Path = TOOLS) -> Llvm | None:
    """Return the installed programs, or those that were fetched before; None when there are none."""
    disassembler, analyzer = (shutil.which(f"{name}-{RELEASE}") for name in ("llvm-mc", "llvm-mca"))
    if disassembler and analyzer:
        return Llvm(Path(disassembler), Path(analyzer))
    root = (tools / FOLDER).absolute()
    programs = root / "usr/lib" / PACKAGE / "bin"
    if not (programs / "llvm-mca").is_file():
        return None
    libraries = {path.parent for path in root.glob("usr/lib/**/*.so*")}
    return Llvm(programs / "llvm-mc", programs / "llvm-mca", tuple(sorted(libraries)))


def fetch_llvm(tools: Path = TOOLS) -> Llvm:
    """Return LLVM's programs, downloading Debian's packages below `tools` where they are not there.

    Raises:
        ToolMissingError: when this is no Debian or Ubuntu, or the packages cannot be had.
    """
    found = find_llvm(tools)
    if found:
        return found
    with package_source(f"cycles are modelled by {PACKAGE} of Debian. Install it: {INSTALL_HINT}.") as source:
        if not source.keep_whole((PACKAGE,), tools / FOLDER):
            raise ToolMissingError(f"apt-get has no package {PACKAGE}. Install it: {INSTALL_HINT}.")
    found = find_llvm(tools)
    if not found:
        raise ToolMissingError(f"{PACKAGE} was unpacked into {tools / FOLDER} but has no llvm-mca.")
    return found
