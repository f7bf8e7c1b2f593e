"""docs/baselines.json: its schema, and that a figure in it is that of the build it stands beside."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks import other_networks
from benchmarks.other_networks import FILE, NETWORKS, command, quiet
from tests.support import ROOT

PLACES = {"arm64": "arm64", "host": "x86-64"}
DOCS = ROOT / "docs"
COUNTS = {"cortex-a72": 70, "cortex-a76": 30, "max": 20}


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
                    "verification": verification, "folder": f"{target}/{precision}",
                    "bundle_digest": f"{target} {precision}"}  # fmt: skip

        builds = []
        for precision in ("fp32", "int8"):
            latency = {"measured": True, "median_ms": len(folder.name) + (precision == "fp32")}
            builds += [build("arm64", precision, 3, {"measured": False}), build("x86-64", precision, 4, latency)]
        return {"builds": builds}

    def counted(bundle: str, cpu: Any, counting: Any) -> dict[str, Any]:
        total = COUNTS[cpu.name] * len(bundle)
        return {
            "variant": "dot",
            "whole": {"total": total, "modelled_cycles": {"cortex-a76": total // 2}, "lines_missed": {}},
        }

    counter = SimpleNamespace(emulator=SimpleNamespace(version=lambda: "qemu"))
    counting = SimpleNamespace(counter=counter, store=None)
    monkeypatch.setattr(other_networks, "start_counting", lambda output: counting)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0.5, 0.5))
    for name, stand_in in (("fresh_bundles", fresh), ("read_report", report), ("counted", counted)):
        monkeypatch.setattr(other_networks, name, stand_in)
    return requests


def test_each_network_is_built_counted_and_written(stand_ins: list[Any], tmp_path: Path) -> None:
    arguments = ["--output", str(tmp_path), "--docs", str(tmp_path), "--networks", "ghostnet_100,resnet18"]
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert [(request.model, request.host, folder) for request, folder in stand_ins] == [
        ("ghostnet_100", True, "ghostnet_100-224px-random"),
        ("resnet18", True, "resnet18-224px-random"),
    ]
    written = json.loads((tmp_path / FILE).read_text())
    check_schema(written)
    first, second = written["networks"]
    assert (first["family"], first["top1"], second["family"], second["top1"]) == ("GhostNet", 74.0, "ResNet", None)
    for network in (first, second):
        assert [build["precision"] for build in network["builds"]] == ["int8", "fp32"]
        length = len(f"{network['name']}-224px-random")
        for build in network["builds"]:
            assert build["host"]["median_ms"] == length + (build["precision"] == "fp32")
            counted = [count["instructions"] / length for count in build["arm64"]]
            assert counted == ([70, 30, 20] if build["precision"] == "int8" else [70, 30])
            assert build["bundles"] == {where: f"{name} {build['precision']}" for where, name in PLACES.items()}
            assert build["model_bytes"] == {"arm64": 12, "host": 16}


def test_networks_are_added_one_by_one_in_the_order_of_the_table(stand_ins: list[Any], tmp_path: Path) -> None:
    def run(names: str) -> list[str]:
        arguments = ["--output", str(tmp_path), "--docs", str(tmp_path), "--networks", names]
        CliRunner().invoke(command, arguments, catch_exceptions=False)
        return [network["name"] for network in json.loads((tmp_path / FILE).read_text())["networks"]]

    assert run("resnet18") == ["resnet18"]
    assert run("mobilenetv2_100,ghostnet_100") == ["ghostnet_100", "mobilenetv2_100", "resnet18"]
    assert run("resnet18") == ["ghostnet_100", "mobilenetv2_100", "resnet18"]
    assert len(stand_ins) == 4


@pytest.fixture
def without_latency(stand_ins: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Write a file of one network that was built on a busy machine; returns the bundles that are measured later."""
    measured: list[Path] = []

    def measure(path: Path) -> SimpleNamespace:
        measured.append(path)
        return SimpleNamespace(to_dict=lambda: {"median_ms": 1.5, "variant": "vnni"})

    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (9.0, 9.0, 9.0))
    arguments = ["--output", str(tmp_path), "--docs", str(tmp_path), "--networks", "resnet18"]
    CliRunner().invoke(command, arguments, catch_exceptions=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0.5, 0.5))
    monkeypatch.setattr(other_networks, "measure_latency", measure)
    digests = {"int8": "x86-64 int8", "fp32": "x86-64 fp32"}
    monkeypatch.setattr(other_networks, "check_bundle", lambda path: SimpleNamespace(digest=digests[path.name]))
    return measured


def fill(folder: Path, *options: str) -> list[dict[str, Any]]:
    """Measure what is missing and return what the file then says of the host, int8 first."""
    arguments = ["--latency-only", "--output", str(folder), "--docs", str(folder), *options]
    assert CliRunner().invoke(command, arguments, catch_exceptions=False).exit_code == 0
    return [build["host"] for build in json.loads((folder / FILE).read_text())["networks"][0]["builds"]]


def test_missing_latencies_are_filled_in_without_building(
    without_latency: list[Path], stand_ins: list[Any], tmp_path: Path
) -> None:
    built = len(stand_ins)
    hosts = fill(tmp_path)
    folder = tmp_path / "resnet18-224px-random/x86-64"
    assert (hosts[0]["median_ms"], hosts[0]["measured"]) == (1.5, True)
    assert without_latency == [folder / "int8", folder / "fp32"]
    assert len(stand_ins) == built
    fill(tmp_path)
    assert len(without_latency) == 2  # what is known is not measured again
    fill(tmp_path, "--again")
    assert len(without_latency) == 4


def test_latencies_are_not_filled_in_on_a_busy_machine(
    without_latency: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (2.1, 0.0, 0.0))
    hosts = fill(tmp_path)
    assert [host["measured"] for host in hosts] == [False, False]
    assert (hosts[0]["reason"], hosts[0]["command"]) == ("the load was 2.1 on 2 cores", "make baseline-latency")
    assert without_latency == []


def test_another_bundle_than_the_counted_one_is_not_measured(
    without_latency: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(other_networks, "check_bundle", lambda path: SimpleNamespace(digest="another"))
    hosts = fill(tmp_path)
    assert all("is not the bundle" in host["reason"] for host in hosts)
    assert without_latency == []


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
            keys = {"precision", "model_bytes", "workspace_bytes", "bundles", "host", "arm64", "verified"}
            assert set(build) == keys
            assert {"median_ms"} <= set(build["host"]) if build["host"]["measured"] else build["host"]["command"]
            for count in build["arm64"]:
                assert set(count) == {"cpu", "variant", "instructions", "modelled_cycles", "lines_missed"}


def test_the_committed_file_has_that_schema() -> None:
    value = json.loads((DOCS / FILE).read_text())
    check_schema(value)
    names = {network["name"] for network in value["networks"]}
    assert names <= {network.name for network in NETWORKS}
    assert all(build["verified"] for network in value["networks"] for build in network["builds"])
