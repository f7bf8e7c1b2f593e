"""The options of `repghost bench` as one value, and what every way to measure needs of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repghost.commands.options.ssh_options import SshOptions
from repghost.errors import UsageError, unknown_value
from repghost.terminal import say
from repghost.untrusted import parse_int


@dataclass(frozen=True)
class BenchRequest:
    """The arguments and options of the command, each under its own name."""

    bundles: tuple[Path, ...]
    against: str | None
    precision: str | None
    variants: tuple[str, ...]
    threads: str
    rounds: int
    inferences: int
    warmup: int
    weights: Path | None
    python: Path | None
    json_file: Path | None
    per_layer: bool
    keep: Path | None
    count: bool
    cpu: str | None
    seconds: int | None
    cores: str | None
    boards: str | None
    ssh: SshOptions

    def only_bundle(self, option: str) -> Path:
        """Return the bundle of an option that measures one.

        Raises:
            UsageError: when there are none, several, or several instruction sets.
        """
        if len(self.bundles) != 1 or len(self.variants) > 1:
            raise UsageError(f"{option} takes one bundle and at most one instruction set at a time.")
        return self.bundles[0]

    @property
    def only_variant(self) -> str | None:
        """The instruction set of an option that measures one; None: the best."""
        return self.variants[0] if self.variants else None

    @property
    def interpreter(self) -> Path | None:
        """The Python that has the other runtimes, as a path that holds in every folder.

        Raises:
            UsageError: when there is no such file.
        """
        if self.python is not None and not self.python.is_file():
            raise UsageError(f"{self.python} is no file; give an interpreter, e.g. peers/bin/python.")
        return None if self.python is None else self.python.absolute()

    def write(self, result: Mapping[str, Any]) -> None:
        """Write a result where --json says, if it does."""
        from repghost.files import write_text_atomically

        if self.json_file is not None:
            write_text_atomically(self.json_file, json.dumps(result, indent=2) + "\n")


def tell(line: str) -> None:
    """Print a line of progress to stderr."""
    say(line, err=True)


def parse_threads(text: str) -> tuple[int, ...]:
    """Return the numbers of a comma-separated list.

    Raises:
        UsageError: for anything but whole numbers from 1 to 64.
    """
    numbers = [parse_int(part.strip(), 1, 64) for part in text.split(",")]
    found = [number for number in numbers if number is not None]
    if len(found) < len(numbers):
        raise UsageError(f"--threads takes whole numbers from 1 to 64, e.g. 1,2, not {text!r:.80}.")
    return tuple(dict.fromkeys(found))


def parse_precision_names(text: str | None) -> tuple[str, ...]:
    """Return the precisions named in a comma-separated list; none for None.

    Raises:
        UsageError: for a name no runtime has.
    """
    from compile.bench.peers import PEERS

    known = dict.fromkeys(form.precision for peer in PEERS.values() for form in peer.forms)
    names = tuple(part.strip() for part in (text or "").split(",") if part.strip())
    for name in names:
        if name not in known:
            raise unknown_value("precision", name, known)
    return names
