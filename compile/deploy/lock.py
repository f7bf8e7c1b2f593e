"""One deployment at a time: a connection that holds the board's lock for as long as it stays open."""

from __future__ import annotations

import getpass
import os
import secrets
import selectors
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from compile.deploy.ssh.connection import Connection, framed
from compile.deploy.ssh.exchange import environment
from compile.deploy.ssh.reasons import storage_reason
from repghost.errors import DeviceUnreachableError

HOLD_LIMIT_S = 30.0  # until the board says whether it is free
RELEASE_LIMIT_S = 10.0


@contextmanager
def lock_board(connection: Connection) -> Iterator[str]:
    """Lock the board; yields the name of this deployment, which every script that changes something checks.

    The lock ends with the connection, however this program ends: nothing has to be cleaned up by hand.

    Raises:
        DeviceUnreachableError: when another deployment has the board, or its folder cannot be written.
    """
    token, frame = secrets.token_hex(8), secrets.token_hex(8)
    script = connection.script("hold", {"token": token, "who": _who()})
    with tempfile.TemporaryDirectory(prefix="repghost-ssh-") as folder:
        socket_path = Path(folder) / "s"  # short: the system allows about 100 characters
        command = connection.command(framed(script, frame))
        # What follows goes through this connection, which saves a key exchange for each command. Without the socket,
        # ssh opens connections of its own.
        command[1:1] = ["-o", "ControlMaster=yes", "-o", "ControlPersist=no", "-o", f"ControlPath={socket_path}"]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment())
        try:
            _wait_until_held(process, connection, frame)
            connection.shared = socket_path
            yield token
        finally:
            connection.shared = None
            _end(process)


def _who() -> str:
    """Return who deploys, for the message another one gets."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # an account without a name
        name = "somebody"
    return "".join(c if c.isalnum() or c in "@.-" else "-" for c in f"{name}@{socket.gethostname()}")[:100]


def _wait_until_held(process: subprocess.Popen[bytes], connection: Connection, frame: str) -> None:
    where, seen, deadline = connection.address.destination, b"", time.monotonic() + HOLD_LIMIT_S
    output = process.stdout
    if output is None:
        raise TypeError("the process was started without a pipe")
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            if not selector.select(timeout=deadline - time.monotonic()):
                break
            chunk = os.read(output.fileno(), 4096)
            seen += chunk
            _, mark, lines = seen.partition(f"\n<{frame}>\n".encode())
            for line in lines.decode("utf-8", "replace").splitlines(keepends=True):
                if line == "held\n":
                    return
                if line.startswith("problem ") and line.endswith("\n"):
                    raise _refused(where, line.removeprefix("problem ").strip())
            if not chunk:
                errors = process.stderr.read().decode("utf-8", "replace") if process.stderr else ""
                raise connection.failure(process.wait(), errors, began=bool(mark))
    raise DeviceUnreachableError(f"{where} did not say within {HOLD_LIMIT_S:g} s whether it is free. Try again.")


def _refused(where: str, problem: str) -> DeviceUnreachableError:
    if problem.startswith("busy"):
        return DeviceUnreachableError(f"{where} is {problem}. Wait until it is done, then try again.")
    return DeviceUnreachableError(f"{where} cannot be used: {problem}. {storage_reason(problem)}".strip())


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close the connection; the board removes the lock when its input ends."""
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
    try:
        process.wait(RELEASE_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
