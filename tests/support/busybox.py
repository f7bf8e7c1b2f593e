"""Finding a static BusyBox, or fetching Debian's package of it without root: all that many boards have."""

from __future__ import annotations

import shutil
from pathlib import Path

from compile.machine.debian_packages import package_source
from compile.machine.emulator import TOOLS
from repghost.errors import ToolMissingError

PACKAGE = "busybox-static"
PROGRAMS = ("bin/busybox", "usr/bin/busybox")


def fetch_busybox(tools: Path = TOOLS) -> Path:
    """Return a BusyBox that needs no library; it is downloaded and unpacked below `tools` when it is not there.

    Raises:
        ToolMissingError: when this is no Debian or Ubuntu, or the package cannot be had.
    """
    if not any((tools / program).is_file() for program in PROGRAMS):
        with package_source(f"no static BusyBox was found; apt install {PACKAGE}.") as source:
            if not source.keep(PACKAGE, PROGRAMS, tools):
                raise ToolMissingError(f"apt-get has no package {PACKAGE}. Install it: apt install {PACKAGE}.")
    return next((tools / program).absolute() for program in PROGRAMS if (tools / program).is_file())


def leave_only_busybox(folder: Path, busybox: Path, applets: tuple[str, ...]) -> None:
    """Replace the programs of a board, but for its own uname, by BusyBox, whose other applets are there too."""
    program = folder / "busybox"
    shutil.copy(busybox, program)
    program.chmod(0o755)
    for name in applets:
        (folder / name).unlink(missing_ok=True)
        if name not in ("getconf", "ldd"):  # which it has not
            (folder / name).symlink_to(program)
