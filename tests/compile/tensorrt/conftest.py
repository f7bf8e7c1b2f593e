from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.jetson import Jetson
from tests.support.jetson_runs import Runs, runs

__all__ = ["runs"]  # a fixture

VERSIONS = {"5": "8.5.2", "6": "10.3.0", "7": "10.13.3"}


@pytest.fixture
def bundle(runs: Runs, tmp_path: Path) -> Callable[[str], Path]:
    """What copies the bundle of a JetPack, for a test to change."""
    return lambda jetpack: Path(shutil.copytree(runs.bundle(jetpack), tmp_path / f"bundle {jetpack}"))


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Callable[..., Jetson]]:
    """What makes a board of a JetPack."""

    def make(jetpack: str, version: str | None = None, **settings: Any) -> Jetson:
        jetson = Jetson(tmp_path / "board", jetpack, version or VERSIONS[jetpack], **settings)
        jetson.install()
        return jetson

    yield make
