"""Switching back to an older version, which is verified on the board once more before it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compile.bundle.manifest import MANIFEST, Bundle, parse_manifest
from compile.deploy.copy import BUNDLES, refuse
from compile.deploy.history import Version
from compile.deploy.install import switch
from compile.deploy.inventory import take_inventory
from compile.deploy.lock import lock_board
from compile.deploy.probe import probe
from compile.deploy.ssh.address import BoardAddress
from compile.deploy.ssh.connection import Connection
from compile.deploy.verify_on_board import verify_on_board
from compile.storage.files import sha256
from repghost.errors import IntegrityError, UsageError, option
from repghost.terminal import Shown


@dataclass(frozen=True, repr=False)
class Rollback(Shown):
    """The version that is current again, and where."""

    version: Version
    address: BoardAddress

    def __repr__(self) -> str:
        return f"current on {self.address}: {self.version.digest[:12]} ({self.version.what})"

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return self.version.to_dict()


def rollback(connection: Connection, to: str | None = None, limit_s: float | None = None) -> Rollback:
    """Make an older version the current one again, after verifying it on the board.

    Args:
        connection: to the board.
        to: the beginning of a bundle digest; the version deployed before the current one by default.
        limit_s: seconds until its runner is ended.

    Raises:
        UsageError: when there is no such version.
        IntegrityError: when the board does not verify it.
    """
    with lock_board(connection) as token:
        chosen = _older(connection, to)
        tool, bundle = probe(connection).digest_tool, read_bundle(connection, chosen.digest)
        verify_on_board(connection, bundle, f"{BUNDLES}/{chosen.digest}", tool, limit_s)
        switch(connection, chosen.digest, None, token)
    return Rollback(chosen, connection.address)


def _older(connection: Connection, to: str | None) -> Version:
    found = take_inventory(connection)
    listed = ", ".join(version.digest[:12] for version in found.versions) or "none"
    if to is not None:
        matching = [version for version in found.versions if version.digest.startswith(to)]
        if len(matching) != 1:
            raise UsageError(f"{to!r} names {len(matching)} versions on {connection.address}; there are: {listed}.")
        return matching[0]
    digests = [version.digest for version in found.versions]
    at = digests.index(found.current) if found.current in digests else len(digests)
    if at == 0:
        raise UsageError(
            f"{connection.address} has no version older than the current one; there are: {listed}. Choose one with "
            f"{option('to')}, or deploy another bundle."
        )
    return found.versions[at - 1]


def read_bundle(connection: Connection, digest: str) -> Bundle:
    """Return what the manifest of a bundle on the board says; its files were not looked at.

    Raises:
        IntegrityError: when the manifest is not the one whose digest the folder has for a name.
    """
    reply = connection.run("read", {"folder": f"{BUNDLES}/{digest}", "name": MANIFEST})
    refuse(reply, connection.address.destination)
    if sha256(reply.output) != digest:
        raise IntegrityError(
            f"{MANIFEST} of version {digest[:12]} on {connection.address.destination} was changed. Choose another "
            f"version with {option('to')}, or deploy the bundle again."
        )
    return Bundle(Path(BUNDLES) / digest, parse_manifest(reply.output), digest)
