"""The members of an `ar` archive, as another program than ours takes them out."""

from __future__ import annotations

import tempfile
from pathlib import Path

from compile.link.zig import run_zig


def archive_members(data: bytes) -> dict[str, bytes]:
    """Return the content of each member by its name, in the order of the archive; `zig ar` unpacks it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "archive.a").write_bytes(data)
        names = run_zig(["ar", "t", "archive.a"], cwd=folder).splitlines()
        run_zig(["ar", "x", "archive.a"], cwd=folder)
        return {member: (folder / member).read_bytes() for member in names}
