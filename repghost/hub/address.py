"""How a repository of the hub, and a file in it, is written: hf://USER/NAME[@REVISION][/PATH]."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from repghost.errors import UsageError

SCHEME = "hf:/"  # a pathlib.Path of an address has lost its second slash
FORM = "hf://USER/NAME[@REVISION][/PATH]"
SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}")  # of a path: no dot first, so neither . nor ..
DEPTH = 6  # folders in a path
COMMIT = re.compile(r"[0-9a-f]{40}")
_ADDRESS = re.compile(
    r"hf://?(?P<user>[A-Za-z0-9][\w.-]{0,95})/(?P<name>\w[\w.-]{0,95})(?:@(?P<revision>\w[\w.-]{0,99}))?(?:/(?P<path>.*))?",
    re.ASCII,
)


@dataclass(frozen=True)
class Address:
    """A repository of the hub, or something in it.

    Attributes:
        repository: USER/NAME.
        revision: a branch, a tag or a commit; None for the newest state.
        path: of a file or a folder; "" for the repository itself.
    """

    repository: str
    revision: str | None = None
    path: str = ""

    def __str__(self) -> str:
        revision, path = (f"@{self.revision}" if self.revision else ""), (f"/{self.path}" if self.path else "")
        return f"hf://{self.repository}{revision}{path}"

    @property
    def is_pinned(self) -> bool:
        """Whether it names a commit, which nobody can change."""
        return self.revision is not None and COMMIT.fullmatch(self.revision) is not None

    def at(self, commit: str) -> Address:
        """Return the address at a commit."""
        return replace(self, revision=commit)


def is_address(source: object) -> bool:
    """Return whether a name or a path is an address of the hub."""
    return str(source).startswith(SCHEME)


def parse_address(source: object) -> Address:
    """Return the parts of an address, as text or as the pathlib.Path that was made of it.

    Raises:
        UsageError: when it is written in another way, or a part of its path could lead elsewhere.
    """
    found = _ADDRESS.fullmatch(str(source))
    path = (found["path"] or "").rstrip("/") if found else ""
    if found is None or (path and not is_plain(path)):
        raise UsageError(f"{str(source)!r} is no address of the hub; one is written {FORM}, e.g. hf://me/birds.")
    return Address(f"{found['user']}/{found['name']}", found["revision"], path)


def is_plain(path: str) -> bool:
    """Return whether a path of a repository can be a path here: plain names, not too deep, nothing hidden."""
    parts = path.split("/")
    return len(parts) <= DEPTH and all(SEGMENT.fullmatch(part) for part in parts)
