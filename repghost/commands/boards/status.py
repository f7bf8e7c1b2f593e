"""`repghost status`: what is deployed on a board."""

from __future__ import annotations

import json

import click

from repghost.commands.options.ssh_options import SshOptions, ssh_options
from repghost.terminal import say_page


@click.command("status", short_help="List the versions on a board.")
@click.argument("board", metavar="[USER@]BOARD[:FOLDER]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@ssh_options
def command(board: str, as_json: bool, ssh: SshOptions) -> None:
    """List the versions on a board, the oldest first; '*' marks the current one. Nothing is changed there."""
    from repghost.api.boards.deployment import status

    found = status(board, **vars(ssh))
    say_page(json.dumps(found.to_dict()) if as_json else repr(found))
