"""Jetson bundles that several tests share."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from compile.subject.request import Request
from compile.targets.precisions import INT8
from compile.tensorrt.pipeline import run


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
