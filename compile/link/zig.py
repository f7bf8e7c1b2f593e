"""Running zig, the C compiler and linker."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from repghost.errors import ToolMissingError, UsageError


def run_zig(arguments: Sequence[str], cwd: Path | None = None) -> str:
    """Run zig from the `ziglang` package and return what it printed.

    Raises:
        ToolMissingError: when the package is not installed.
        UsageError: when zig reports an error; the message holds its last lines.
    """
    command = [sys.executable, "-m", "ziglang", *arguments]
    with tempfile.TemporaryDirectory(prefix="repghost-zig-") as local_cache:
        environment = {**os.environ, "ZIG_LOCAL_CACHE_DIR": local_cache}
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return done.stdout
    if "No module named ziglang" in done.stderr:
        raise ToolMissingError("the linker is not installed; it comes from PyPI: pip install ziglang")
    tail = (done.stderr or done.stdout).strip().splitlines()[-20:]
    raise UsageError(f"zig {arguments[0]} failed with exit code {done.returncode}:", *tail)


def zig_version() -> str:
    """Return the version of the linker, which belongs to everything it makes."""
    return run_zig(["version"]).strip()
