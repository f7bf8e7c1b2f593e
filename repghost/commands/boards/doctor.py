"""`repghost doctor`: what this machine or a board has, what is missing, and how to get it."""

from __future__ import annotations

import json

import click

from repghost.commands.options.ssh_options import SshOptions, ssh_options
from repghost.terminal import say


@click.command("doctor", short_help="Say what is installed, what is missing and how to get it.")
@click.option("--on", "board", metavar="[USER@]BOARD[:FOLDER]", help="Look at a board instead of this machine.")
@click.option("--fetch", is_flag=True, help="Fetch an emulator for arm64 bundles (Debian, Ubuntu; no root).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@ssh_options
def command(board: str | None, fetch: bool, as_json: bool, ssh: SshOptions) -> None:
    """Check everything that 'make compile' uses, or with --on whether a board can take a bundle.

    Exit code 4: something needed is missing; 5: the board cannot be reached.
    """
    from repghost.errors import DeviceUnreachableError, ToolMissingError

    if fetch:
        from compile.machine.emulator import fetch_emulator

        fetch_emulator()
    if board is not None:
        from compile.doctor.board import diagnose_board

        findings = diagnose_board(ssh.connect(board))
    else:
        from compile.doctor.this_machine import diagnose

        findings = diagnose()
    if as_json:
        click.echo(json.dumps([finding.to_dict() for finding in findings]))
    else:
        for finding in findings:
            say(f"{finding.mark:<8} {finding.name:<14} {finding.found}")
            if finding.remedy:
                say(f"{'':<23} {finding.remedy}")
    missing = [finding.name for finding in findings if finding.mark == "missing"]
    if "board" in missing:
        raise DeviceUnreachableError("the board was not looked at.")
    if missing:
        raise ToolMissingError(f"needed and missing: {', '.join(missing)}.")
