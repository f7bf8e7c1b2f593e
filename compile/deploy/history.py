"""Which versions were deployed on a board, the oldest first; one line each in its file `history`."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

from compile.bundle.manifest import Bundle
from compile.storage.files import DIGEST
from repghost.untrusted import parse_int

PLAIN = re.compile(r"[^A-Za-z0-9._@+-]")
WORD_CHARACTERS = 80
LATEST = 253402300799  # seconds since 1970: the last second of the year 9999


@dataclass(frozen=True)
class Version:
    """A version that was deployed."""

    digest: str  # the bundle digest
    deployed: int  # seconds since 1970, by the clock of the machine that deployed
    model: str
    target: str
    precision: str

    @property
    def what(self) -> str:
        """The network, the target and the precision."""
        return f"{self.model} {self.target} {self.precision}"

    def line(self) -> str:
        """Return the line of the history."""
        words = (self.digest, str(self.deployed), self.model, self.target, self.precision)
        return " ".join(PLAIN.sub("-", word)[:WORD_CHARACTERS] or "-" for word in words)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return dict(vars(self))


def version_of(bundle: Bundle) -> Version:
    """Return the version that deploying a bundle now makes."""
    manifest = bundle.manifest
    name = str(manifest["model"].get("name", ""))
    return Version(bundle.digest, int(time.time()), name, bundle.target_name, manifest["precision"])


def parse_version(line: str) -> Version | None:
    """Return the version in a line of the history, None when it is none."""
    words = line.split(" ")
    if len(words) != 5 or not DIGEST.fullmatch(words[0]):
        return None
    deployed = parse_int(words[1], high=LATEST)
    return None if deployed is None else Version(words[0], deployed, *(word[:WORD_CHARACTERS] for word in words[2:]))
