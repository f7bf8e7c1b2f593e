"""Whether `repghost train --recipe demo` gives the bundled network again: two checkpoints side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from repghost.checkpoints.checkpoint import Checkpoint, read_checkpoint
from repghost.errors import UsageError
from repghost.training.state.epoch_log import LOG_FILE


def compare_runs(run: Path, carried: Path) -> dict[str, Any]:
    """Return the test accuracy of a finished run beside that of the bundled checkpoint.

    Args:
        run: the folder of `repghost train --recipe demo`.
        carried: the bundled checkpoint, in assets/.

    Raises:
        UsageError: when one of them is absent, is of another recipe, or they were not evaluated on as many test images.
    """
    again, first = read_checkpoint(run / "model.safetensors"), read_checkpoint(carried)
    for checkpoint, path in ((again, run), (first, carried)):
        if checkpoint.metadata.get("recipe", {}).get("name") != "demo" or not checkpoint.metadata.get("test"):
            raise UsageError(
                f"{path}: not a network of `repghost train --recipe demo` that was evaluated on a test split."
            )
    tests = [checkpoint.metadata["test"] for checkpoint in (again, first)]
    if tests[0]["pictures"] != tests[1]["pictures"]:
        raise UsageError(
            f"{run} was evaluated on {tests[0]['pictures']} pictures, {carried} on {tests[1]['pictures']}."
        )
    lines = (run / LOG_FILE).read_text(encoding="utf-8").splitlines()
    return {
        "again": _figures(again),
        "carried": _figures(first),
        "points": 100 * (tests[0]["top1"] - tests[1]["top1"]),
        "seconds": sum(json.loads(line)["seconds"] for line in lines),
    }


def _figures(checkpoint: Checkpoint) -> dict[str, Any]:
    metadata = checkpoint.metadata
    return {
        "command": metadata["command"],
        "sha256": checkpoint.digest,
        "test": metadata["test"],
        "versions": metadata["versions"],
    }
