"""Options of commands for boards and bundles: how a board is reached, and whose signature a bundle must have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from repghost.commands.options.gather import gather


@dataclass(frozen=True)
class SshOptions:
    """How boards are reached."""

    ssh_config: Path | None
    port: int | None
    connect_limit: int  # seconds


@dataclass(frozen=True)
class SignatureOptions:
    """Whose signature a bundle must have."""

    public_key: Path | None
    signature: Path | None


ssh_options = gather(
    "ssh",
    SshOptions,
    (
        click.option("--ssh-config", type=click.Path(path_type=Path), help="An ssh configuration.  [default: yours]"),
        click.option("--port", type=click.IntRange(1, 65535), help="Of the board's ssh server.  [default: ssh's own]"),
        click.option(
            "--connect-limit", default=8, show_default=True, type=click.IntRange(1, 600), help="Seconds to wait for it."
        ),
    ),
)
signature_options = gather(
    "demanded",
    SignatureOptions,
    (
        click.option(
            "--public-key",
            type=click.Path(path_type=Path),
            envvar="REPGHOST_PUBLIC_KEY",
            show_envvar=True,
            help="Demand a signature by this key (PEM).",
        ),
        click.option("--signature", type=click.Path(path_type=Path), help="The signature.  [default: BUNDLE.sig]"),
    ),
)
