"""`repghost rollback`: switch a board back to an older version."""

from __future__ import annotations

import json

import click

from repghost.commands.options.ssh_options import SshOptions, ssh_options
from repghost.terminal import say


@click.command("rollback", short_help="Switch a board back to an older version.")
@click.argument("board", metavar="[USER@]BOARD[:FOLDER]")
@click.option("--to", metavar="DIGEST", help="The beginning of a version's digest.  [default: the one before]")
@click.option("--verify-limit", type=click.IntRange(1), help="Seconds for its programs there.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@ssh_options
def command(board: str, to: str | None, verify_limit: int | None, as_json: bool, ssh: SshOptions) -> None:
    """Make the version that was deployed before the current one current again; the board proves it first.

    Going back twice goes back two versions; 'repghost status' lists them. Exit codes as of 'repghost deploy'.
    """
    from repghost.api.boards.deployment import rollback

    found = rollback(board, to=to, verify_limit=verify_limit, **vars(ssh))
    say(json.dumps(found.to_dict()) if as_json else repr(found))
