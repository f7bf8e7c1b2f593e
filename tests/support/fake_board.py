"""A board that lives in this process: it answers each script of a deployment as a board does, with faults put in."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from compile.bundle.manifest import Bundle
from compile.deploy import install, measure, rollback
from compile.deploy.history import version_of
from compile.deploy.ssh import connection as connection_module
from compile.deploy.ssh.connection import Connection
from compile.deploy.ssh.exchange import Exchanged
from compile.storage.files import sha256
from compile.targets.table import ALIASES

Fault = Callable[[bytes], bytes]  # from what an honest board prints to what this one does
VERIFIED = {"ok": True, "pictures": 12, "mismatches": 0, "tolerance": 0, "variant": "avx2"}
MEASURED = {"min_ms": 1.0, "median_ms": 1.5, "p90_ms": 2.0, "runs": 3, "variant": "avx2", "throttled": None}


def files_of(bundle: Bundle) -> dict[str, bytes]:
    """Every file of a bundle by its name."""
    return {path.name: path.read_bytes() for path in bundle.path.iterdir()}


@dataclass
class FakeBoard:
    """What lies on the board, and the faults of its answers."""

    machine: str  # as `uname -m` says
    deployed: list[Bundle]  # the last one is current
    faults: Mapping[str, list[Fault]] = field(default_factory=dict)  # by the name of the script
    code: int = 0  # how ssh ends
    asked: list[str] = field(default_factory=list)  # the scripts that ran

    def __post_init__(self) -> None:
        self.folders = {f"bundles/{bundle.digest}": files_of(bundle) for bundle in self.deployed}
        self.current = f"bundles/{self.deployed[-1].digest}"

    def exchange(self, command: list[str], content: bytes, limit_s: float, most_bytes: int) -> Exchanged:
        """Answer one command, in place of ssh."""
        head, _, script, *_ = command[-1].split("\n")
        token = head.rpartition(" ")[2]
        name, values = json.loads(script)
        self.asked.append(name)
        printed = getattr(self, f"_{name}")(content=content, **values)
        whole = b"\n<%s>\n%s\n</%s 0>\n" % (token.encode(), printed, token.encode())
        for fault in self.faults.get(name, []):
            whole = fault(whole)
        return Exchanged(self.code, whole, b"")

    def _probe(self, **_: Any) -> bytes:
        loaders = "/lib/ld-linux-aarch64.so.1 /lib64/ld-linux-x86-64.so.2"
        features = "fp asimd" if ALIASES[self.machine] == "arm64" else "avx2 fma bmi2"
        lines = [
            f"machine {self.machine}", "system Linux 6.6", "boot 1", "bits 64", "libc glibc 2.36", f"loaders {loaders}",
            "cores 4", f"features {features}", "core 0x41 0xd0b", "board Pi", "governor ondemand", "clock_khz 1500000",
            "top_clock_khz 2400000", "temperature_millicelsius 51250", "free_kb 500000", "writable yes",
            "digest_tool sha256sum", f"current {self.current}",
        ]  # fmt: skip
        return "\n".join(lines).encode()

    def _inventory(self, **_: Any) -> bytes:
        lines = [f"current {self.current}", *(f"{folder.replace('/', ' 9 ', 1)}" for folder in self.folders)]
        lines += [f"incoming 7 {'b' * 64}", *(f"history {version_of(bundle).line()}" for bundle in self.deployed)]
        return "\n".join([*lines, "lock 12 boot 0123456789abcdef x@y 34"]).encode()

    def _begin(self, digest: str, names: str, **_: Any) -> bytes:
        self.folders[f"incoming/{digest}"] = {names.split("\n")[0]: b""}
        return b"have 0 " + names.split("\n")[0].encode()

    def _append(self, digest: str, name: str, offset: int, content: bytes, **_: Any) -> bytes:
        folder = self.folders[f"incoming/{digest}"]
        folder[name] = folder.get(name, b"")[:offset] + content
        return f"size {len(folder[name])}".encode()

    def _digests(self, folder: str, names: str, **_: Any) -> bytes:
        files = self.folders.get(folder, {})
        return "\n".join(f"sha256 {sha256(files.get(name, b''))} {name}" for name in names.split("\n")).encode()

    def _read(self, folder: str, name: str, **_: Any) -> bytes:
        return self.folders.get(folder, {}).get(name, b"")

    def _runner(self, words: str, **_: Any) -> bytes:
        return json.dumps(VERIFIED if "--verify" in shlex.split(words) else MEASURED).encode()

    def _publish(self, digest: str, **_: Any) -> bytes:
        self.folders[f"bundles/{digest}"] = self.folders.pop(f"incoming/{digest}")
        return b""

    def _switch(self, digest: str, **_: Any) -> bytes:
        self.current = f"bundles/{digest}"
        return self.current.encode()

    def _prune(self, **_: Any) -> bytes:
        return b"removed nothing"

    def _discard(self, digest: str, **_: Any) -> bytes:
        self.folders.pop(f"incoming/{digest}", None)
        return b""


@contextmanager
def in_place_of_ssh(board: FakeBoard) -> Iterator[None]:
    """Let every connection end at `board`, with the lock in hand."""

    @contextmanager
    def held(_: Connection) -> Iterator[str]:
        yield "0" * 16

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection_module, "exchange", board.exchange)
        patch.setattr(connection_module, "remote_word", lambda script: script)
        patch.setattr(Connection, "script", lambda _, name, values: json.dumps([name, values]))
        for module in (install, measure, rollback):
            patch.setattr(module, "lock_board", held)
        yield
