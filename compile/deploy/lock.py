"""One deployment at a time: a connection that holds the board's lock for as long as it stays open."""

from __future__ import annotations

import getpass
import os
import secrets
import selectors
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from compile.deploy.ssh.connection import Connection, Reply, framed
from compile.deploy.ssh.exchange import CHUNK_BYTES, environment
from compile.deploy.ssh.reasons import storage_reason
from compile.storage.plain_folders import plain_temporary_folder
from repghost.errors import DeviceUnreachableError
from repghost.processes import end

HOLD_LIMIT_S = 30.0  # until the board says whether it is free
RELEASE_LIMIT_S = 10.0
ANSWER_BYTES = 1 << 20  # of what a login shell may print before the board answers


@contextmanager
def lock_board(connection: Connection) -> Iterator[str]:
    """Lock the board; yields the name of this deployment, which every script that changes something checks.

    The lock ends with the connection, however this program ends: nothing has to be cleaned up by hand.

    Raises:
        DeviceUnreachableError: when another deployment has the board, or its folder cannot be written.
        UsageError: when the board lacks what a deployment needs.
    """
    token, frame = secrets.token_hex(8), secrets.token_hex(8)
    script = connection.script("hold", {"token": token, "who": _who()})
    command = connection.command(framed(script, frame))
    with plain_temporary_folder("repghost-ssh-") as folder:
        # What follows goes through this connection, which saves a key exchange for each command. Without the socket,
        # ssh opens connections of its own.
        socket_path = folder / "s" if folder else None
        if socket_path:
            command[1:1] = ["-o", "ControlMaster=yes", "-o", "ControlPersist=no", "-o", f"ControlPath={socket_path}"]
        pipe = subprocess.PIPE
        process, patience_s = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment()), 0.0
        try:
            _wait_until_held(process, connection, frame)
            patience_s = RELEASE_LIMIT_S  # the board removes the lock when its input ends
            connection.shared = socket_path
            yield token
        finally:
            connection.shared = None
            end(process, patience_s)


def _who() -> str:
    """Return who deploys, for the message another one gets."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # an account without a name
        name = "somebody"
    return "".join(c if c.isalnum() or c in "@.-" else "-" for c in f"{name}@{socket.gethostname()}")[:100]


def _wait_until_held(process: subprocess.Popen[bytes], connection: Connection, frame: str) -> None:
    """Return once the board says that it is held; one that says nothing of the kind in time is given up."""
    if process.stdout is None or process.stderr is None:
        raise TypeError("the process was started without pipes")
    mark, deadline = f"\n<{frame}>\n".encode(), time.monotonic() + HOLD_LIMIT_S
    output, errors = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, output)
        selector.register(process.stderr, selectors.EVENT_READ, errors)
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                chunk = os.read(key.fd, CHUNK_BYTES)
                key.data.extend(chunk)
                if not chunk or len(key.data) > ANSWER_BYTES:
                    selector.unregister(key.fileobj)
            if _is_held(bytes(output.partition(mark)[2]), connection.address.destination):
                return
    try:
        code = process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise DeviceUnreachableError(
            f"{connection.address.destination} did not say within {HOLD_LIMIT_S:g} s whether it is free. Try again; if "
            "that happens again, restart the board."
        ) from None
    raise connection.failure(code, errors.decode("utf-8", "replace"), began=mark in output)


def _is_held(answer: bytes, where: str) -> bool:
    """Return whether the whole lines of an answer say that the board is held.

    Raises:
        RepGhostError: when they say why not.
    """
    reply = Reply(1, answer[: answer.rfind(b"\n") + 1], "")
    for line in reply.lines:
        if line == "held":
            return True
        if line.startswith("problem "):
            raise _refused(where, line.removeprefix("problem ").strip())
    reply.refuse_lacks(where)
    return False


def _refused(where: str, problem: str) -> DeviceUnreachableError:
    if problem.startswith("busy"):
        return DeviceUnreachableError(f"{where} is {problem}. Wait until it is done, then try again.")
    return DeviceUnreachableError(f"{where} cannot be used: {problem}. {storage_reason(problem)}".strip())
