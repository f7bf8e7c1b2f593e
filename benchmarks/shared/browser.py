"""Finding Chromium, or fetching Debian's package of it without root. The tests of the page open it in a real one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compile.machine.debian_packages import package_source
from compile.machine.emulator import TOOLS
from repghost.errors import ToolMissingError

PROGRAMS = ("chromium", "chromium-browser", "chromium-headless-shell")
PACKAGES, FONTS = ("chromium-headless-shell", "chromium"), "fonts-dejavu-core"
INSTALL_HINT = "apt install chromium"
FOLDER = "chromium"  # below the tools: a root of its own, since it brings more than a hundred packages
# The programs themselves; those in usr/bin are scripts that expect to be installed.
INNER = ("usr/lib/chromium/chromium-headless-shell", "usr/lib/chromium/headless_shell", "usr/lib/chromium/chromium")
FLAGS = (
    "--headless",
    "--no-sandbox",  # its sandbox needs what containers do not allow; only pages of our own are opened
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--enable-logging=stderr",
)
LIMIT = 180  # seconds


@dataclass(frozen=True)
class Browser:
    """The program, and the folder it was unpacked into, None where the system has it."""

    program: Path
    root: Path | None

    def run(self, arguments: Sequence[str], profile: Path) -> subprocess.CompletedProcess[str]:
        """Run it without a window and return what it wrote.

        Args:
            arguments: more of its flags, and the page.
            profile: a folder it may write into.

        Raises:
            subprocess.CalledProcessError: when it fails.
            subprocess.TimeoutExpired: when it hangs.
        """
        return subprocess.run(
            self.command(arguments, profile), env=self.environment(), capture_output=True, text=True, timeout=LIMIT,
            check=True,
        )  # fmt: skip

    def command(self, arguments: Sequence[str], profile: Path) -> list[str]:
        """Return the command that starts it; arguments as `run` takes them."""
        return [str(self.program), *FLAGS, f"--user-data-dir={profile}", *arguments]

    def environment(self) -> dict[str, str]:
        """Return the environment it needs."""
        if self.root is None:
            return dict(os.environ)
        folders = sorted({str(path.parent) for path in self.root.rglob("*.so*")})
        configuration = {"XDG_DATA_HOME": str(self.root / "usr/share"), "FONTCONFIG_PATH": str(self.root / "etc/fonts")}
        return {**os.environ, "LD_LIBRARY_PATH": ":".join(folders), **configuration}


def find_browser(tools: Path = TOOLS) -> Browser | None:
    """Return a browser that is installed, or was fetched before; None when there is none."""
    for name in PROGRAMS:
        installed = shutil.which(name)
        if installed:
            return Browser(Path(installed), None)
    root = (tools / FOLDER).absolute()
    return next((Browser(root / name, root) for name in INNER if os.access(root / name, os.X_OK)), None)


def fetch_browser(tools: Path = TOOLS) -> Browser:
    """Return the installed browser; where there is none, download the package and unpack it below `tools`.

    Raises:
        ToolMissingError: when this is no Debian or Ubuntu, or the package cannot be had.
    """
    found = find_browser(tools)
    if found:
        return found
    with package_source(f"no Chromium was found; {INSTALL_HINT}.") as source:
        if not any(source.keep_whole((package, FONTS), tools / FOLDER) for package in PACKAGES):
            raise ToolMissingError(f"apt-get has none of {', '.join(PACKAGES)}. Install it: {INSTALL_HINT}.")
    found = find_browser(tools)
    if not found:  # Ubuntu's package of this name is empty
        raise ToolMissingError(f"the packages hold no Chromium. Install it: {INSTALL_HINT}.")
    return found
