"""`repghost deploy`: copy a bundle to a board and verify it there before it replaces the current one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from repghost.commands.options.ssh_options import SignatureOptions, SshOptions, signature_options, ssh_options
from repghost.terminal import say, say_progress, shell_command


@click.command("deploy", short_help="Copy a bundle to a board, prove it there, switch to it.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("board", metavar="[USER@]BOARD[:FOLDER]")
@click.option("--accept-unmeasured", is_flag=True, help="Also without a passing accuracy record.")
@click.option("--max-drop", default=2.0, show_default=True, type=float,
              help="Points of top-1 it may have lost.")  # fmt: skip
@click.option("--keep", default=3, show_default=True, type=click.IntRange(1, 1000), help="Versions to keep there.")
@click.option(
    "--verify-limit", type=click.IntRange(1),
    help="Seconds for its proof.  [default: 300; an engine: 3600]",
)  # fmt: skip
@signature_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@ssh_options
def command(
    bundle: Path, board: str, demanded: SignatureOptions, as_json: bool, ssh: SshOptions, **settings: Any
) -> None:
    """Copy BUNDLE to a board over ssh, let the board prove it, and make it the current version there.

    BUNDLE may be the folder of a run, e.g. build/NET: of its bundles that fit the board and pass the accuracy gate the
    fastest is taken, as known for that board or measured there for two seconds each, and it is said why.

    FOLDER is 'repghost' in the home of the account by default; FOLDER/current is the bundle to use. It changes in one
    step, and only after the board itself has checked every file and replayed the recorded pictures.

    Exit codes: 2 it does not fit the board or the board lacks something, 3 no passing accuracy record, 4 ssh is
    missing, 5 the board cannot be reached or cannot store it, 6 it was changed or the board did not prove it.
    """
    from repghost.api.boards.deployment import deploy

    tell: Callable[[str], None] = (lambda line: None) if as_json else say_progress
    result = deploy(bundle, board, say=tell, **settings, **vars(demanded), **vars(ssh))
    if as_json:
        click.echo(json.dumps(result.to_dict()))
        return
    address = result.address
    say(f"deployed: bundle {result.bundle.digest[:12]} to {address}")
    say(f"  {address.command(f'{address.folder}/current/repghost-run', '--info')}")
    say(f"  {shell_command('repghost', 'status', address)}   # and 'repghost rollback' to go back")
