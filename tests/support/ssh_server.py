"""Finding OpenSSH's server, or fetching Debian's package of it without root. The tests of deployment use a real one.

They start it on the loopback interface with keys of their own, and stop it again; nothing else uses it.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from compile.machine.debian_packages import PackageSource, package_source
from compile.machine.emulator import TOOLS
from repghost.errors import ToolMissingError

PACKAGE = "openssh-server"
PROGRAM, HELPERS = "usr/sbin/sshd", "usr/lib/openssh"
INSTALL_HINT = "apt install openssh-server"
# Of the libraries the server is linked with, those that a small system may lack, and their packages.
LIBRARIES = {
    "libwrap.so.0": "libwrap0",
    "libgssapi_krb5.so.2": "libgssapi-krb5-2",
    "libkrb5.so.3": "libkrb5-3",
    "libk5crypto.so.3": "libk5crypto3",
    "libkrb5support.so.0": "libkrb5support0",
    "libkeyutils.so.1": "libkeyutils1",
    "libcom_err.so.2": "libcom-err2",
    "libaudit.so.1": "libaudit1",
    "libcap-ng.so.0": "libcap-ng0",
}


@dataclass(frozen=True)
class SshServer:
    """The program, and what it needs to run from a folder."""

    program: Path
    libraries: tuple[Path, ...]  # folders with libraries that this system may lack
    helpers: Path | None  # the folder of sshd-session and sshd-auth, which OpenSSH has since 9.8

    def environment(self) -> dict[str, str]:
        """Return the environment it starts in."""
        return {**os.environ, "LD_LIBRARY_PATH": ":".join(str(path) for path in self.libraries)}

    def missing(self) -> set[str]:
        """Return the libraries that are not found."""
        done = subprocess.run(
            ["ldd", str(self.program)], env=self.environment(), capture_output=True, text=True, timeout=60, check=False
        )
        return {line.split()[0] for line in done.stdout.splitlines() if "not found" in line}


def _library_folders(tools: Path) -> tuple[Path, ...]:
    triple = f"{platform.machine()}-linux-gnu"
    return tuple((tools / prefix / triple).absolute() for prefix in ("lib", "usr/lib"))


def find_ssh_server(tools: Path = TOOLS) -> SshServer | None:
    """Return a server that is installed, or was fetched before and is whole; None when there is none."""
    installed = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if installed:
        return SshServer(Path(installed), (), None)
    fetched = _unpacked(tools)
    return fetched if fetched and not fetched.missing() else None


def _unpacked(tools: Path) -> SshServer | None:
    program, helpers = tools / PROGRAM, tools / HELPERS
    if not program.is_file():
        return None
    return SshServer(program.absolute(), _library_folders(tools), helpers.absolute() if helpers.is_dir() else None)


def fetch_ssh_server(tools: Path = TOOLS) -> SshServer:
    """Return the installed server; where there is none, download the package and unpack it below `tools`.

    Raises:
        ToolMissingError: when this is no Debian or Ubuntu, or the package cannot be had.
    """
    found = find_ssh_server(tools)
    if found:
        return found
    with package_source(f"no sshd was found; {INSTALL_HINT}.") as source:
        source.keep(PACKAGE, (PROGRAM, HELPERS), tools)
        fetched = _unpacked(tools)
        if not fetched:
            raise ToolMissingError(f"apt-get has no package {PACKAGE}. Install it: {INSTALL_HINT}.")
        _fetch_libraries(source, fetched, tools)
    if fetched.missing():
        missing = ", ".join(sorted(fetched.missing()))
        raise ToolMissingError(f"{PACKAGE} was unpacked but lacks {missing}. Install it: {INSTALL_HINT}.")
    return fetched


def _fetch_libraries(source: PackageSource, server: SshServer, tools: Path) -> None:
    """Fetch the libraries that the server and its libraries lack."""
    tried: set[str] = set()
    while wanted := {name for name in server.missing() if name in LIBRARIES} - tried:
        for name in sorted(wanted):
            parts = [str(folder.relative_to(tools.absolute()) / name) for folder in _library_folders(tools)]
            source.keep(LIBRARIES[name], parts, tools)
        tried |= wanted
