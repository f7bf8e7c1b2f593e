"""`repghost deploy`: a bundle to a board, proven there before it replaces what runs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from repghost.commands.options.ssh_options import connect, public_key_option, ssh_options


@click.command("deploy", short_help="Copy a bundle to a board, prove it there, switch to it.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("board", metavar="[USER@]BOARD[:FOLDER]")
@click.option("--accept-unmeasured", is_flag=True, help="Also without a passing accuracy record.")
@click.option("--max-drop", default=2.0, show_default=True, type=float, help="Points of top-1 it may have lost.")
@click.option("--keep", default=3, show_default=True, type=click.IntRange(1, 1000), help="Versions to keep there.")
@click.option("--verify-limit", type=click.IntRange(1), help="Seconds for its proof.  [default: 300; an engine: 3600]")
@public_key_option
@click.option("--signature", type=click.Path(path_type=Path), help="The signature.  [default: BUNDLE.sig]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@ssh_options
def command(
    bundle: Path,
    board: str,
    accept_unmeasured: bool,
    max_drop: float,
    keep: int,
    verify_limit: int | None,
    public_key: Path | None,
    signature: Path | None,
    as_json: bool,
    ssh_config: Path | None,
    port: int | None,
    connect_limit: int,
) -> None:
    """Copy BUNDLE to a board over ssh, let the board prove it, and make it the current version there.

    FOLDER is 'repghost' in the home of the account by default; FOLDER/current is the bundle to use. It changes in one
    step, and only after the board itself has checked every file and replayed the recorded images.

    Exit codes: 2 it does not fit the board, 3 no passing accuracy record, 4 a program is missing, 5 the board cannot
    be reached or cannot store it, 6 it was changed or the board did not prove it.
    """
    from compile.deploy.install import DeploySettings, deploy

    settings = DeploySettings(accept_unmeasured, max_drop, keep, verify_limit, public_key, signature)
    connection = connect(board, ssh_config, port, connect_limit)
    result = deploy(bundle, connection, settings, (lambda line: None) if as_json else click.echo)
    if as_json:
        click.echo(json.dumps(result.to_dict()))
        return
    there = f"{connection.address.folder}/current/repghost-run"
    click.echo(f"deployed: bundle {result.bundle.digest[:12]} to {connection.address}")
    click.echo(f"  ssh {connection.address.destination} {there} --info")
    click.echo(f"  repghost status {connection.address}   # and 'repghost rollback' to go back")
