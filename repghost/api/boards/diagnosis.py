"""What this machine or a board has and lacks: `repghost.doctor`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from compile.doctor.board import diagnose_board
from compile.doctor.findings import MISSING, Finding
from compile.doctor.this_machine import diagnose
from compile.machine.emulator import fetch_emulator
from repghost.api.bundles import CONNECT_LIMIT_S, Ssh
from repghost.errors import DeviceUnreachableError, ToolMissingError
from repghost.terminal import Shown

BOARD = "board"  # the finding of one that was not reached


@dataclass(frozen=True, repr=False)
class Diagnosis(Shown):
    """What was looked for.

    Attributes:
        findings: one for each thing: its name, whether it is "ok", "absent" (optional) or "missing" (needed), what was
            found, and the command that mends it.
    """

    findings: tuple[Finding, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of what is needed and missing."""
        return tuple(finding.name for finding in self.findings if finding.mark == MISSING)

    def check(self) -> None:
        """Raise ToolMissingError where something is missing, DeviceUnreachableError where a board was not reached."""
        if BOARD in self.missing:
            raise DeviceUnreachableError("the board was not looked at.")
        if self.missing:
            raise ToolMissingError(f"needed and missing: {', '.join(self.missing)}.")

    def __repr__(self) -> str:
        lines = []
        for finding in self.findings:
            lines.append(f"{finding.mark:<8} {finding.name:<14} {finding.found}")
            lines += [f"{'':<23} {finding.remedy}"] if finding.remedy else []
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {"findings": [finding.to_dict() for finding in self.findings]}


def doctor(
    on: str | None = None,
    *,
    fetch: bool = False,
    ssh_config: str | os.PathLike[str] | None = None,
    port: int | None = None,
    connect_limit: int = CONNECT_LIMIT_S,
) -> Diagnosis:
    """Return what this machine, or a board, has of what bundles need, with the command that installs what is missing.

    Args:
        on: a board as [user@]host[:folder]; None: this machine.
        fetch: fetch an emulator for arm64 bundles first (Debian, Ubuntu; no root).
        ssh_config: an ssh configuration; None: yours.
        port: of the board's ssh server.
        connect_limit: seconds to wait for it.

    Raises:
        UsageError: when the board is not named as [user@]host[:folder].
        ToolMissingError: when ssh is not installed, or an emulator cannot be fetched.
    """
    if fetch:
        fetch_emulator()
    found = diagnose() if on is None else diagnose_board(Ssh(ssh_config, port, connect_limit).connect(on))
    return Diagnosis(tuple(found))
