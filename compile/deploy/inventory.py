"""The bundles on a board: versions, unfinished uploads, and who deploys."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from compile.deploy.copy import BUNDLES
from compile.deploy.history import Version, parse_version
from compile.deploy.ssh.connection import Connection
from compile.storage.files import DIGEST
from repghost.errors import UsageError
from repghost.terminal import Shown, shell_command
from repghost.untrusted import parse_int


@dataclass(frozen=True, repr=False)
class Inventory(Shown):
    """What was found in the folder of a board.

    Attributes:
        current: digest of the running version.
        versions: in the order they were deployed, those that still lie there.
        sizes_kb: of each bundle, KiB.
        unfinished_kb: of each broken upload, KiB.
        holder: who deploys at this moment, as far as the lock says.
    """

    current: str | None
    versions: tuple[Version, ...]
    sizes_kb: dict[str, int]
    unfinished_kb: dict[str, int]
    holder: str

    def __repr__(self) -> str:
        lines = []
        for version in self.versions:
            mark = "*" if version.digest == self.current else " "
            day = time.strftime("%Y-%m-%d %H:%M", time.localtime(version.deployed))
            size = self.sizes_kb[version.digest] / 1024
            lines.append(f"{mark} {version.digest[:12]}  {day}  {size:6.1f} MiB  {version.what}")
        if self.current is None:
            lines.append("no version is current")
        elif self.current not in {version.digest for version in self.versions}:
            lines.append(f"* {self.current[:12]}  is current, but not in the history")
        lines += [f"  {digest[:12]}  a broken upload, {size} KiB" for digest, size in self.unfinished_kb.items()]
        if self.holder:
            lines.append(f"{self.holder} deploys now, or did when the board lost power")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {**vars(self), "versions": [version.to_dict() for version in self.versions]}


def take_inventory(connection: Connection) -> Inventory:
    """Return what lies on a board.

    Raises:
        UsageError: when nothing was ever deployed there.
    """
    reply = connection.run("inventory", {})
    if reply.status:
        raise UsageError(
            f"nothing was deployed to {connection.address}: {reply.problem[:200]}. Deploy a bundle: "
            f"{shell_command('repghost', 'deploy', 'BUNDLE', connection.address)}"
        )
    return parse_inventory(reply.lines)


def parse_inventory(lines: list[str]) -> Inventory:
    """Return the inventory in the output of its script; whatever does not look like a part of it is left out."""
    current, holder = None, ""
    versions: dict[str, Version] = {}
    sizes: dict[str, dict[str, int]] = {"bundles": {}, "incoming": {}}
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "current":
            digest = rest.removeprefix(f"{BUNDLES}/")
            current = digest if DIGEST.fullmatch(digest) else None
        elif word in sizes:
            text, _, name = rest.partition(" ")
            size = parse_int(text)
            if size is not None and DIGEST.fullmatch(name):
                sizes[word][name] = size
        elif word == "history":
            version = parse_version(rest)
            if version:
                versions.pop(version.digest, None)
                versions[version.digest] = version
        elif word == "lock":
            holder = " ".join(rest.split(" ")[3:4])[:100]
    there = tuple(version for digest, version in versions.items() if digest in sizes["bundles"])
    return Inventory(current, there, sizes["bundles"], sizes["incoming"], holder)
