"""Which versions were deployed on a board, the oldest first; one line each in its file `history`."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

from compile.bundle.manifest import Bundle
from compile.storage.files import DIGEST

PLAIN = re.compile(r"[^A-Za-z0-9._@+-]")


@dataclass(frozen=True)
class Version:
    """A version that was deployed."""

    digest: str  # the bundle digest
    deployed: int  # seconds since 1970, by the clock of the machine that deployed
    model: str
    target: str
    precision: str

    def line(self) -> str:
        """Return the line of the history."""
        words = (self.digest, str(self.deployed), self.model, self.target, self.precision)
        return " ".join(PLAIN.sub("-", word)[:80] or "-" for word in words)

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
    if len(words) != 5 or not DIGEST.fullmatch(words[0]) or not words[1].isdigit() or len(words[1]) > 12:
        return None
    return Version(words[0], int(words[1]), *words[2:])
