"""docs/baselines.json: its schema, and that a figure in it is that of the build it stands beside."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from compile import baselines
from compile.baselines import FILE, NETWORKS, Baseline, main, quiet

DOCS = Path(__file__).parents[2] / "docs"
COUNTS = {"cortex-a72": 70, "cortex-a76": 30}


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Replace building and counting; returns the requests that were made."""
    requests: list[Any] = []

    def fresh(request: Any, folder: str, cache: Any, say: Any) -> list[str]:
        requests.append((request, folder))
        return [folder, folder]

    def report(folder: Path) -> dict[str, Any]:
        def build(target: str, precision: str, size: int, latency: dict[str, Any]) -> dict[str, Any]:
            sizes = {"files": {"model.so": size * len(precision)}, "workspace": 5}
            verification = {"verified": True}
            return {"target": target, "precision": precision, "sizes": sizes, "latency": latency,
                    "verification": verification}  # fmt: skip

        builds = []
        for precision in ("fp32", "int8"):
            latency = {"measured": True, "median_ms": len(folder.name) + (precision == "fp32")}
            builds += [build("arm64", precision, 3, {"measured": False}), build("x86-64", precision, 4, latency)]
        return {"builds": builds}

    def counted(bundle: str, cpu: Any, counting: Any) -> dict[str, Any]:
        total = COUNTS[cpu.name] * len(bundle)
        return {"variant": "dot", "whole": {"total": total, "modelled_cycles": {"a76": total // 2}}}

    monkeypatch.setattr(baselines, "find_counting_emulator", lambda: SimpleNamespace(version=lambda: "qemu"))
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0.5, 0.5))
    monkeypatch.setattr(baselines, "build_counter", lambda emulator, cache: {})
    for name, stand_in in (("fresh_bundles", fresh), ("read_report", report), ("counted", counted)):
        monkeypatch.setattr(baselines, name, stand_in)
    return requests


def test_each_network_is_built_counted_and_written(stand_ins: list[Any], tmp_path: Path) -> None:
    arguments = ["--output", str(tmp_path), "--docs", str(tmp_path), "--networks", "ghostnet_100,resnet18"]
    done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert [(request.model, request.host, folder) for request, folder in stand_ins] == [
        ("ghostnet_100", True, "ghostnet_100-224px-random"),
        ("resnet18", True, "resnet18-224px-random"),
    ]
    written = json.loads((tmp_path / FILE).read_text())
    check_schema(written)
    first, second = written["networks"]
    assert (first["family"], first["top1"], second["family"], second["top1"]) == ("GhostNet", 74.0, "resnet18", None)
    for network in (first, second):
        assert [build["precision"] for build in network["builds"]] == ["int8", "fp32"]
        length = len(f"{network['name']}-224px-random")
        for build in network["builds"]:
            assert build["host"]["median_ms"] == length + (build["precision"] == "fp32")
            assert [count["instructions"] for count in build["arm64"]] == [70 * length, 30 * length]
            assert build["model_bytes"] == {"arm64": 12, "host": 16}


def test_a_busy_machine_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    latency = {"measured": True, "median_ms": 1.0}
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    for load, measured in ((0.1, True), (3.0, True), (3.5, False), (35.0, False)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 9.0, 9.0))
        assert quiet(latency)["measured"] is measured
    assert quiet(latency)["reason"] == "35 programs ran on 2 cores"


def check_schema(value: dict[str, Any]) -> None:
    assert set(value) == {"format", "version", "date", "size", "machine", "emulator", "networks"}
    for network in value["networks"]:
        assert set(network) == {"name", "family", "top1", "builds"}
        for build in network["builds"]:
            assert set(build) == {"precision", "model_bytes", "workspace_bytes", "host", "arm64", "verified"}
            assert {"median_ms"} <= set(build["host"]) if build["host"]["measured"] else build["host"]["command"]
            for count in build["arm64"]:
                assert set(count) == {"cpu", "variant", "instructions", "modelled_cycles"}


def test_the_committed_file_has_that_schema() -> None:
    value = json.loads((DOCS / FILE).read_text())
    check_schema(value)
    names = {network["name"] for network in value["networks"]}
    assert names <= {network.name for network in NETWORKS}
    assert all(build["verified"] for network in value["networks"] for build in network["builds"])


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_every_network_of_the_table_is_one_that_is_tested(network: Baseline) -> None:
    from compile.baseline import BASELINES

    assert network.name in BASELINES
