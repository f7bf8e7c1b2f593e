"""`repghost doctor`: what this machine or a board has, what is missing, and how to get it."""

from __future__ import annotations

import json

import click

from repghost.commands.options.ssh_options import SshOptions, ssh_options
from repghost.terminal import say_page


@click.command("doctor", short_help="Say what is installed, what is missing and how to get it.")
@click.option("--on", metavar="[USER@]BOARD[:FOLDER]", help="Look at a board instead of this machine.")
@click.option(
    "--fetch/--no-fetch", default=False, help="Fetch an emulator for arm64 bundles (Debian, Ubuntu; no root)."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@ssh_options
def command(on: str | None, fetch: bool, as_json: bool, ssh: SshOptions) -> None:
    """Check everything that 'repghost compile' uses, or with --on whether a board can take a bundle.

    Exit code 4: something needed is missing; 5: the board cannot be reached.
    """
    from repghost.api.boards.diagnosis import doctor

    found = doctor(on, fetch=fetch, **vars(ssh))
    say_page(json.dumps(found.to_dict()["findings"]) if as_json else repr(found))
    found.check()
