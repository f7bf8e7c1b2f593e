"""Commands that train in one process or several, run and waited for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT

SMALL = [
    *("--recipe", "imagenet", "--width", "0.25", "--img-size", "32", "--interpolation", "bilinear"),
    *("--epochs", "2", "--warmup-epochs", "1", "--lr", "0.05", "--amp-dtype", "off"),
    *("-j", "0", "--device", "cpu", "--threads", "1"),
]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def single(data: Path, output: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "repghost.cli", "train", "--data", str(data), "-o", str(output), *SMALL, *more]


def finish(command: list[str], timeout: float = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment(), check=False)
