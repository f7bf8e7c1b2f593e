"""The steps of a deployment: probe the board, lock it, copy, verify there, switch in one step, remove old versions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compile.bundle.manifest import Bundle, check_bundle
from compile.bundle.signing import verify_signature
from compile.deploy.copy import BUNDLES, INCOMING, begin, refuse, send
from compile.deploy.fit import check_fit
from compile.deploy.gate import DROP_LIMIT_POINTS, check_gate
from compile.deploy.history import Version, version_of
from compile.deploy.inventory import take_inventory
from compile.deploy.lock import lock_board
from compile.deploy.probe import BoardFacts, probe
from compile.deploy.ssh.address import BoardAddress
from compile.deploy.ssh.connection import Connection
from compile.deploy.verify_on_board import BoardVerification, verify_on_board
from repghost.errors import IntegrityError
from repghost.terminal import Shown

KEEP = 3  # versions that stay on a board


@dataclass(frozen=True)
class DeploySettings:
    """What a deployment demands of bundle and board, and its time limit."""

    accept_unmeasured: bool = False  # deploy without a passing accuracy record
    max_drop_points: float = DROP_LIMIT_POINTS
    keep: int = KEEP
    verify_limit_s: float | None = None  # of each program of the bundle on the board
    public_key: Path | None = None  # whose signature the bundle must have
    signature: Path | None = None  # beside the bundle by default


@dataclass(frozen=True, repr=False)
class Deployment(Shown):
    """The result of a deployment."""

    bundle: Bundle
    facts: BoardFacts
    proof: BoardVerification
    accuracy: str
    replaced: str | None  # the digest that was current before
    address: BoardAddress
    why: str = ""  # why this bundle of a run's folder; "" where it was given itself

    def __repr__(self) -> str:
        chosen = f"; {self.bundle.path} because it is {self.why}" if self.why else ""
        return f"deployed: bundle {self.bundle.digest[:12]} to {self.address}; {self.proof}; {self.accuracy}{chosen}"

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "bundle_digest": self.bundle.digest,
            "bundle": str(self.bundle.path),
            "why": self.why,
            "replaced": self.replaced,
            "accuracy": self.accuracy,
            "proof": dict(vars(self.proof)),
            "board": self.facts.to_dict(),
        }


def deploy(
    path: Path,
    connection: Connection,
    settings: DeploySettings = DeploySettings(),
    say: Callable[[str], None] = lambda line: None,
) -> Deployment:
    """Bring a bundle to a board and make it the current version, if it is verified there.

    Args:
        path: the folder of the bundle.
        connection: to the board.
        settings: what is demanded of bundle and board.
        say: is told each stage.

    Raises:
        UsageError: when there is no bundle, or it does not fit the board.
        AccuracyGateError: when it has no passing accuracy record.
        ToolMissingError: when a program is missing here or there.
        DeviceUnreachableError: when the board cannot be reached, is busy or cannot store the bundle.
        IntegrityError: when the bundle was changed, its signature does not match, or the board does not verify it.
    """
    bundle = check_bundle(path)
    check_signature(bundle, settings)
    accuracy = "not demanded" if settings.accept_unmeasured else check_gate(bundle, settings.max_drop_points)
    say(f"check    bundle {bundle.digest[:12]}, accuracy: {accuracy}")
    facts = probe(connection)
    check_fit(bundle, facts, connection.address.destination)
    say(f"look     {describe(facts)}")
    with lock_board(connection) as token:
        folder = place(bundle, connection, facts, token, say)
        proof = verify_on_board(connection, bundle, folder, facts.digest_tool, settings.verify_limit_s)
        say(f"prove    {proof}")
        if folder != f"{BUNDLES}/{bundle.digest}":
            refuse(connection.run("publish", {"digest": bundle.digest, "token": token}), connection.address.destination)
        switch(connection, bundle.digest, version_of(bundle), token)
        say(f"switch   {connection.address}/current is this bundle now")
        prune(connection, bundle.digest, settings.keep, token)
    replaced = facts.current.removeprefix(f"{BUNDLES}/") or None
    return Deployment(bundle, facts, proof, accuracy, replaced, connection.address)


def describe(facts: BoardFacts) -> str:
    """Return a board in one line."""
    parts = [facts.board or facts.core, facts.machine, f"{facts.cores} cores" if facts.cores else "", facts.libc]
    parts += [f"governor {facts.governor}" if facts.governor else ""]
    parts += [f"{facts.free_kb / 1024:.0f} MiB free" if facts.free_kb is not None else ""]
    return ", ".join(part for part in parts if part)


def check_signature(bundle: Bundle, settings: DeploySettings) -> None:
    """Check the signature of a bundle when a key is configured."""
    if settings.public_key is not None:
        verify_signature(bundle, settings.public_key, settings.signature)


def place(bundle: Bundle, connection: Connection, facts: BoardFacts, token: str, say: Callable[[str], None]) -> str:
    """Bring the bundle's files to the board; returns the folder they lie in, below the board's."""
    upload = begin(connection, bundle, token)
    if upload.complete:
        say("copy     it is there already")
        return f"{BUNDLES}/{bundle.digest}"
    send(connection, bundle, upload, token, facts.digest_tool, lambda line: say(f"copy     {line}"))
    return f"{INCOMING}/{bundle.digest}"


def switch(connection: Connection, digest: str, version: Version | None, token: str) -> None:
    """Make a bundle the current one, in one step.

    Raises:
        IntegrityError: when the board then says that another one is.
    """
    reply = connection.run("switch", {"digest": digest, "line": version.line() if version else "", "token": token})
    refuse(reply, connection.address.destination)
    if f"{BUNDLES}/{digest}" not in reply.lines:
        raise IntegrityError(f"{connection.address} says that {reply.output[-100:]!r} is current, not {digest}.")


def prune(connection: Connection, digest: str, keep: int, token: str) -> None:
    """Remove all but the newest versions; the current one always stays."""
    newest = [version.digest for version in take_inventory(connection).versions[-keep:]]
    connection.run("prune", {"keep": "\n".join([*newest, digest]), "token": token})
