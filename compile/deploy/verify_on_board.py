"""Verifying a bundle on the board itself: its runner checks every file and replays the recorded images there."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from compile.bundle.manifest import Bundle
from compile.deploy.copy import RUNNER, differing
from compile.deploy.ssh.connection import Connection, Reply
from repghost.errors import IntegrityError, UsageError
from repghost.terminal import escape
from repghost.untrusted import parse_json

VERIFY_LIMIT_S = 300.0
BUILD_LIMIT_S = 3600.0  # TensorRT times its kernels while it builds an engine
ENGINE_SCRIPTS = ("build.sh", "check.sh")  # of a bundle without a runner, in this order
PATIENCE_S = 30.0  # how much later than the board itself this side gives up
SIGNALS = {4: "an illegal instruction", 6: "an abort", 7: "a bus error", 9: "a kill", 11: "a segmentation fault"}
TIMED_OUT = 124  # the status of guarded.sh


@dataclass(frozen=True)
class BoardVerification:
    """What the board itself found."""

    variant: str  # the instruction set it chose
    pictures: int  # recorded images that gave the expected scores
    tolerance: float  # 0: to the bit

    def __str__(self) -> str:
        if not self.pictures:
            return f"the engine was built and checked there by the bundle's own scripts ({self.variant})"
        how = f"within {self.tolerance:.2g}" if self.tolerance else "to the bit"
        return f"{self.pictures} recorded pictures {how} with {self.variant}"


def verify_on_board(
    connection: Connection, bundle: Bundle, folder: str, tool: str, limit_s: float | None = None
) -> BoardVerification:
    """Verify a bundle on the board, with the programs it brings.

    Args:
        connection: to the board.
        bundle: what has to be there.
        folder: where it lies, below the board's folder.
        tool: the board's program for SHA-256, see `differing`.
        limit_s: seconds until a program of the bundle is ended.

    Raises:
        IntegrityError: when a byte or a score differs, or a program crashes, hangs or prints no result.
    """
    where = connection.address.destination
    runner = RUNNER in bundle.manifest["files"]
    first = [RUNNER] if runner else [*bundle.manifest["files"]]  # the runner checks every other file itself
    wrong = differing(connection, bundle, folder, first, tool)
    if wrong:
        raise IntegrityError(
            f"{', '.join(sorted(wrong))} on {where} was changed: it is not what the manifest says. Nothing of it was "
            "started. Deploy the bundle again."
        )
    if runner:
        return read_verification(run_runner(connection, folder, ["--verify"], limit_s or VERIFY_LIMIT_S), where)
    return _verify_engine(connection, folder, limit_s or BUILD_LIMIT_S)


def _verify_engine(connection: Connection, folder: str, limit_s: float) -> BoardVerification:
    """Build the engine on the board and check it there, with the scripts of the bundle."""
    for script in ENGINE_SCRIPTS:
        values = {"folder": folder, "program": script, "seconds": int(limit_s)}
        reply = connection.run("engine", values, limit_s=limit_s + PATIENCE_S)
        if reply.status:
            reason = why(reply, limit_s)
            raise IntegrityError(f"{script} failed on {connection.address.destination}: {reason}")
    return BoardVerification(variant="TensorRT", pictures=0, tolerance=0.0)


def run_runner(connection: Connection, folder: str, arguments: list[str], limit_s: float) -> dict[str, Any]:
    """Run the runner of a bundle on the board and return the last JSON object it printed.

    Raises:
        IntegrityError: when it failed, crashed, hung or printed no such object.
    """
    values = {"folder": folder, "words": shlex.join(arguments), "seconds": int(limit_s)}
    reply = connection.run("runner", values, limit_s=limit_s + PATIENCE_S)
    where = connection.address.destination
    if reply.status:
        raise IntegrityError(f"{RUNNER} {' '.join(arguments)} failed on {where}: {why(reply, limit_s)}")
    for line in reversed(reply.lines):
        try:
            value = parse_json(line, RUNNER)
        except UsageError:
            continue
        if isinstance(value, dict):
            return value
    raise IntegrityError(f"{RUNNER} {' '.join(arguments)} on {where} printed no result, but {reply.output[:100]!r}.")


def why(reply: Reply, limit_s: float) -> str:
    """Return why a program of a bundle failed on the board, as the end of a sentence."""
    if reply.status == TIMED_OUT:
        return f"it did not end within {limit_s:g} s and was stopped."
    if reply.status > 128:
        signal = reply.status - 128
        return f"it was ended by signal {signal} ({SIGNALS.get(signal, 'see kill -l')})."
    if reply.status in (126, 127):
        return (
            f"it cannot be started ({reply.problem[:200]}). The board needs glibc for 64-bit programs, and its folder "
            "must not be mounted with noexec."
        )
    return reply.problem[:500]


def read_verification(result: dict[str, Any], where: str) -> BoardVerification:
    """Return what the runner verified.

    Raises:
        IntegrityError: when it verified nothing.
    """
    images, tolerance = result.get("pictures"), result.get("tolerance")
    whole = type(images) is int and images > 0 and type(tolerance) in (int, float)
    if result.get("ok") is not True or result.get("mismatches") != 0 or not whole:
        raise IntegrityError(f"{RUNNER} on {where} did not prove the bundle, it says {str(result)[:200]}.")
    return BoardVerification(escape(result.get("variant"), 40), int(str(images)), float(str(tolerance)))
