"""Options that several commands share: how a board is reached, whose signature a bundle must have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from compile.deploy.ssh.connection import Connection


def ssh_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --ssh-config, --port and --connect-limit to a command."""
    options = (
        click.option("--ssh-config", type=click.Path(path_type=Path), help="An ssh configuration.  [default: yours]"),
        click.option("--port", type=click.IntRange(1, 65535), help="Of the board's ssh server.  [default: ssh's own]"),
        click.option(
            "--connect-limit", default=8, show_default=True, type=click.IntRange(1, 600), help="Seconds to wait for it."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


public_key_option = click.option(
    "--public-key",
    type=click.Path(path_type=Path),
    envvar="REPGHOST_PUBLIC_KEY",
    show_envvar=True,
    help="Demand a signature by this key (PEM).",
)


def connect(board: str, ssh_config: Path | None, port: int | None, connect_limit: int) -> Connection:
    """Return the connection to a board that a command line names.

    Raises:
        UsageError: when the board is not named as [user@]host[:folder].
        ToolMissingError: when ssh is not installed.
    """
    from compile.deploy.ssh.address import parse_address
    from compile.deploy.ssh.connection import Connection, SshSettings

    return Connection(parse_address(board), SshSettings(ssh_config, port, connect_limit))
