"""A stand-in for a board: a real OpenSSH server on the loopback interface, with an account, tools and files of its own.

An arm64 stand-in starts arm64 programs with qemu-aarch64. It needs no root; where the tests run as root, the server
runs under another number, so that permissions count.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from compile.deploy.ssh.address import parse_address
from compile.deploy.ssh.connection import Connection, SshSettings
from compile.link.zig import run_zig
from compile.machine.emulator import Emulator
from compile.targets.table import EMULATED, host_target
from tests.support.ssh_server import SshServer

UNPRIVILEGED = 54321  # the number of the account when the tests run as root
SOURCE = Path(__file__).with_name("standin.c")
# Every program that the scripts of compile/deploy/scripts may call; the stand-in has no other.
TOOLS = (
    *(
        "cat",
        "chmod",
        "df",
        "dirname",
        "du",
        "getconf",
        "grep",
        "head",
        "ldd",
        "ln",
        "mkdir",
        "mv",
        "nproc",
        "readlink",
    ),
    *("rm", "sed", "sh", "sha256sum", "sleep", "sync", "tail", "tr", "uname", "wc"),
)
CPUINFO = """\
processor\t: 0
Features\t: fp asimd aes asimdrdm asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0b
"""


def run(*words: str | Path, **options: object) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True, timeout=60, **options)  # type: ignore[call-overload]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Standin:
    """A running stand-in; `stop` ends it."""

    base: Path  # everything lies in here
    machine: str
    port: int
    process: subprocess.Popen[bytes]
    counter: int = field(default=0)

    @property
    def home(self) -> Path:
        return self.base / "home"

    @property
    def bin(self) -> Path:
        return self.base / "bin"

    def profile(self, text: str) -> None:
        """Let the login shell run `text` before every command."""
        (self.base / "profile").write_text(text)

    def tool(self, name: str, text: str | None) -> None:
        """Replace a program of the board by a script, or remove it."""
        (self.bin / name).unlink(missing_ok=True)
        if text is not None:
            (self.bin / name).write_text(f"#!/bin/sh\n{text}\n")
            (self.bin / name).chmod(0o755)

    def reset(self) -> None:
        """Give the board its own profile and tools back."""
        self.profile("")
        for old in self.bin.iterdir():
            old.unlink()
        fill_tools(self.bin, self.machine)

    def config(self, name: str = "config", extra: Sequence[str] = (), **changes: str) -> Path:
        """Write an ssh configuration that reaches the board as 'board', with other values for some of its keys."""
        values = {
            "HostName": "127.0.0.1",
            "Port": str(self.port),
            "User": "board",
            "IdentityFile": f'"{self.base / "client_key"}"',
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": f'"{self.base / "known_hosts"}"',
            "GlobalKnownHostsFile": "/dev/null",
            **changes,
        }
        path = self.base / name
        path.write_text(
            "\n".join(["Host board", *(f"  {key} {value}" for key, value in values.items()), *extra]) + "\n"
        )
        return path

    def connection(self, folder: str = "repghost", config: Path | None = None, **settings: int) -> Connection:
        return Connection(parse_address(f"board:{folder}"), SshSettings(config or self.config(), **settings))

    def new_folder(self) -> str:
        """Return the name of a folder that was not used before."""
        self.counter += 1
        return f"app{self.counter}"

    def current(self, folder: str) -> str | None:
        """Return the digest that runs."""
        link = self.home / folder / "current"
        return str(link.readlink()).removeprefix("bundles/") if link.is_symlink() else None

    def give(self, path: Path) -> None:
        """Make a file or folder that the test wrote one of the account."""
        for found in (path, *path.rglob("*")):
            if os.geteuid() == 0:
                os.chown(found, UNPRIVILEGED, UNPRIVILEGED, follow_symlinks=False)

    def running(self) -> list[int]:
        """Return the numbers of everything that runs on the board besides the server."""
        found, wanted = [], [self.process.pid]
        parents = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # a process that ended meanwhile
                parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        while wanted:
            parent = wanted.pop()
            children = [number for number, its_parent in parents.items() if its_parent == parent]
            found += children
            wanted += children
        return found

    def restart(self, boot: str) -> None:
        """End everything at once, as a loss of power does; the board is up again at once, and says another start."""
        self.tool("cat", f'case $* in *boot_id) echo {boot} ;; *) exec {shutil.which("cat")} "$@" ;; esac')
        running = self.running()
        for end in (signal.SIGSTOP, signal.SIGKILL):  # none may tidy up because another one ended before
            for number in running:
                with suppress(ProcessLookupError):
                    os.kill(number, end)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)


def fill_tools(folder: Path, machine: str) -> None:
    for name in TOOLS:
        found = shutil.which(name)
        if found:
            (folder / name).symlink_to(found)
    (folder / "uname").unlink()
    (folder / "uname").write_text(f'#!/bin/sh\n[ "$1" = -m ] && echo {machine} || exec {shutil.which("uname")} "$@"\n')
    (folder / "uname").chmod(0o755)


def start(base: Path, server: SshServer, machine: str, emulator: Emulator | None) -> Standin:
    """Start a stand-in in an empty folder that every account can reach."""
    for name in ("home", "bin", "files/proc", "server"):
        (base / name).mkdir(parents=True)
    fill_tools(base / "bin", machine)
    (base / "profile").write_text("")
    for key in ("host_key", "client_key"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "stand-in", "-f", base / key)
    shutil.copy(base / "client_key.pub", base / "authorized_keys")
    target = host_target()
    assert target is not None
    flags = ["-target", target.zig_triple, "-shared", "-fPIC", "-O1", "-fno-sanitize=all"]
    run_zig(["cc", *flags, "-o", str(base / "standin.so"), str(SOURCE), "-ldl"])
    variables = {"BOARD_USER": "board", "BOARD_HOME": str(base / "home"), "BOARD_SHELL": str(base / "shell")}
    if machine == "aarch64" and emulator is not None:
        variables |= {"BOARD_FILES": str(base / "files"), **_copy_emulator(base, emulator)}
        (base / "files/proc/cpuinfo").write_text(CPUINFO)
    _write_shell(base, variables)
    port = free_port()
    (base / "known_hosts").write_text(f"[127.0.0.1]:{port} {(base / 'host_key.pub').read_text()}")
    _write_server_config(base, server, port)
    process = _start_server(base, server, variables)
    board = Standin(base, machine, port, process)
    _wait_for(board)
    return board


def _copy_emulator(base: Path, emulator: Emulator) -> dict[str, str]:
    """Copy what the account needs of the emulator: the folder it lies in may be closed to other accounts."""
    program, sysroot = base / "server/qemu-aarch64", base / "server/sysroot"
    shutil.copy(emulator.program, program)
    (sysroot / "lib").mkdir(parents=True)
    for name in (Path(EMULATED.loader).name, "libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0"):
        shutil.copy(emulator.sysroot / "lib" / name, sysroot / "lib" / name)
    return {"BOARD_QEMU": str(program), "BOARD_SYSROOT": str(sysroot), "BOARD_CPU": "cortex-a76"}


def _write_shell(base: Path, variables: dict[str, str]) -> None:
    lines = ["#!/bin/sh", f"PATH={base / 'bin'}", f"LD_PRELOAD={base / 'standin.so'}", "export PATH LD_PRELOAD"]
    lines += [f"{name}={value}\nexport {name}" for name, value in variables.items()]
    (base / "shell").write_text("\n".join([*lines, f". {base / 'profile'}", 'exec /bin/sh "$@"', ""]))
    (base / "shell").chmod(0o755)


def _write_server_config(base: Path, server: SshServer, port: int) -> None:
    program = shutil.copy(server.program, base / "server/sshd")
    options = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": base / "host_key",
        "AuthorizedKeysFile": base / "authorized_keys",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "StrictModes": "no",
        "PidFile": "none",
        "PrintMotd": "no",
        "MaxStartups": "100",
        "LogLevel": "VERBOSE",
    }
    if server.helpers is not None:
        for option, name in (("SshdSessionPath", "sshd-session"), ("SshdAuthPath", "sshd-auth")):
            if (server.helpers / name).is_file():
                options[option] = shutil.copy(server.helpers / name, base / "server" / name)
    Path(program).chmod(0o755)
    (base / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in options.items()))


def _start_server(base: Path, server: SshServer, variables: dict[str, str]) -> subprocess.Popen[bytes]:
    account: dict[str, object] = {}
    if os.geteuid() == 0:
        account = {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": []}
        base.chmod(0o755)
        for path in (base, *base.rglob("*")):
            if path.name not in ("client_key",):
                os.chown(path, UNPRIVILEGED, UNPRIVILEGED, follow_symlinks=False)
    libraries = [
        shutil.copytree(folder, base / f"libraries{i}") for i, folder in enumerate(server.libraries) if folder.is_dir()
    ]
    environment = {
        "PATH": "/usr/bin:/bin",
        "LD_PRELOAD": str(base / "standin.so"),
        "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
        **variables,
    }
    command = [str(base / "server/sshd"), "-D", "-f", str(base / "sshd_config"), "-E", str(base / "log")]
    return subprocess.Popen(command, env=environment, cwd="/", **account)  # type: ignore[call-overload]


def _wait_for(board: Standin) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and board.process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", board.port), timeout=1) as connection:
                if connection.recv(4) == b"SSH-":
                    return
        except OSError:
            time.sleep(0.05)
    log = board.base / "log"
    raise RuntimeError(f"the ssh server did not start: {log.read_text() if log.exists() else board.process.poll()}")
