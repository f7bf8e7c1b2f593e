"""`repghost status`: what is deployed on a board."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click

from repghost.commands.options.ssh_options import SshOptions, ssh_options
from repghost.terminal import say

if TYPE_CHECKING:
    from compile.deploy.inventory import Inventory


@click.command("status", short_help="List the versions on a board.")
@click.argument("board", metavar="[USER@]BOARD[:FOLDER]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@ssh_options
def command(board: str, as_json: bool, ssh: SshOptions) -> None:
    """List the versions on a board, the oldest first; '*' marks the current one. Nothing is changed there."""
    from compile.deploy.inventory import take_inventory

    found = take_inventory(ssh.connect(board))
    say(*([json.dumps(found.to_dict())] if as_json else _lines(found)))


def _lines(found: Inventory) -> list[str]:
    lines = []
    for version in found.versions:
        mark = "*" if version.digest == found.current else " "
        day = time.strftime("%Y-%m-%d %H:%M", time.localtime(version.deployed))
        size = found.sizes_kb[version.digest] / 1024
        what = f"{version.model} {version.target} {version.precision}"
        lines.append(f"{mark} {version.digest[:12]}  {day}  {size:6.1f} MiB  {what}")
    listed = {version.digest for version in found.versions}
    if found.current is None:
        lines.append("no version is current")
    elif found.current not in listed:
        lines.append(f"* {found.current[:12]}  is current, but not in the history")
    lines += [f"  {digest[:12]}  a broken upload, {size} KiB" for digest, size in found.unfinished_kb.items()]
    if found.holder:
        lines.append(f"{found.holder} deploys now, or did when the board lost power")
    return lines
