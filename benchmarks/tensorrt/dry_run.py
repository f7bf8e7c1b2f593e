"""The dry run of torch-tensorrt's converters, in an interpreter of its own: its pins exclude other packages."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from compile.storage.files import sha256
from compile.storage.stage_cache import ROOT, StageCache
from repghost.errors import RepGhostError, ToolMissingError

TIME_LIMIT_S = 3600.0
SOURCES = ("dry_run_worker.py", "torch_converters.py", "torch_network.py")


def cached_dry_run(python: Path, size: int, cache: StageCache) -> dict[str, Any]:
    """Return the same as `dry_run`, from the cache where nothing changed (arguments and errors as there)."""
    sources = {name: sha256((Path(__file__).parent / name).read_bytes()) for name in SOURCES}
    key = {"python": str(python), "size": size, "sources": sources}
    files, _ = cache.get("dry-run", key, lambda: {"result.json": json.dumps(dry_run(python, size)).encode()})
    result: dict[str, Any] = json.loads(files["result.json"])
    return result


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
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False)
    except OSError as error:
        raise ToolMissingError(f"cannot start {python}: {error.strerror}.") from error
    except subprocess.TimeoutExpired:
        raise RepGhostError(f"the dry run did not end within {TIME_LIMIT_S:g} s.") from None
    if "ModuleNotFoundError" in done.stderr and done.returncode:
        raise ToolMissingError(f"{python} lacks packages: pip install 'repghost-deploy[torch-tensorrt-rtx]' there.")
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise RepGhostError(f"the dry run ended with code {done.returncode}: {done.stderr.strip()[-500:]}")
    result: dict[str, Any] = json.loads(lines[-1])
    return result
