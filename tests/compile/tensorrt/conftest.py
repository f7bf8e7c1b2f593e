from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from compile.subject.request import Request
from compile.targets.precisions import INT8
from compile.tensorrt.pipeline import run
from tests.support.jetson import Jetson

VERSIONS = {"5": "8.5.2", "6": "10.3.0", "7": "10.13.3"}


class Runs:
    """Bundles of one random network, one per JetPack, each made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reports: dict[str, dict[str, Any]] = {}

    def request(self, jetpack: str, **changes: Any) -> Request:
        values: dict[str, Any] = {"weights": "random", "size": 32, "output": self.folder, "jetpack": jetpack, **changes}
        return Request("jetson", (INT8,), **values)

    def report(self, jetpack: str) -> dict[str, Any]:
        if jetpack not in self.reports:
            self.reports[jetpack] = run(self.request(jetpack), lambda line: None)
            made = Path(self.reports[jetpack]["folder"]) / "jetson"
            shutil.copytree(made, self.folder / f"jetpack{jetpack}")
        return self.reports[jetpack]

    def bundle(self, jetpack: str) -> Path:
        """Return a bundle that must not be changed."""
        self.report(jetpack)
        return self.folder / f"jetpack{jetpack}"


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("jetson"))


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
