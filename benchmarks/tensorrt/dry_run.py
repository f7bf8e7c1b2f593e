"""The dry run of torch-tensorrt's converters, in an interpreter of its own: its pins exclude other packages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from compile.storage.files import sha256
from compile.storage.measurements import Measurements
from compile.storage.stage_cache import ROOT
from repghost.errors import RepGhostError, ToolMissingError, install_command
from repghost.processes import run_limited

TIME_LIMIT_S = 3600.0
SOURCES = (Path(__file__).with_name("dry_run_worker.py"), *sorted((ROOT / "compile/tensorrt/torch").glob("*.py")))


def dry_run_once(python: Path, size: int, store: Measurements) -> dict[str, Any]:
    """Return the result of `dry_run`, made once for the same sources; arguments and errors as there."""
    sources = {path.name: sha256(path.read_bytes()) for path in SOURCES}
    key = {"python": str(python), "size": size, "sources": sources}
    return dict(store.record("dry-run", key, lambda: dry_run(python, size)))


def dry_run(python: Path, size: int) -> dict[str, Any]:
    """Return which operators torch-tensorrt converts and what its builder makes of them.

    Args:
        python: an interpreter with the extra [torch-tensorrt-rtx].
        size: pixels.

    Raises:
        ToolMissingError: when it cannot be started or lacks the packages.
        RepGhostError: when the run failed.
    """
    command = [str(python), "-m", "benchmarks.tensorrt.dry_run_worker", str(size)]
    try:
        advice = "Try again when the machine has less to do."
        done = run_limited(command, TIME_LIMIT_S, name="the dry run", advice=advice, folder=ROOT)
    except OSError as error:
        raise ToolMissingError(f"cannot start {python}: {error.strerror}.") from error
    if "ModuleNotFoundError" in done.stderr and done.returncode:
        raise ToolMissingError(f"{python} lacks packages; there: {install_command('torch-tensorrt-rtx')}")
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise RepGhostError(f"the dry run ended with code {done.returncode}: {done.stderr.strip()[-500:]}")
    result: dict[str, Any] = json.loads(lines[-1])
    return result
