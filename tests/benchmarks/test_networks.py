"""docs/networks.json: what a row says of a network that is imported, of one that is refused, and its page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks import networks
from benchmarks.networks import FILE, NETWORKS, PAGE, command
from benchmarks.pages.networks import render_networks
from repghost.errors import UsageError
from tests.support import ROOT

NAMES = "timm:test_efficientnet,timm:test_convnext"


def run(folder: Path, *more: str) -> dict[str, Any]:
    arguments = ["--output", str(folder), "--docs", str(folder), "--networks", NAMES, "--size", "32", *more]
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    value: dict[str, Any] = json.loads((folder / FILE).read_text())
    assert (folder / PAGE).read_text() == render_networks(value)
    return value


def test_import_only(tmp_path: Path) -> None:
    imported, refused = run(tmp_path, "--import-only")["networks"]
    assert imported["operators"]["Classifier"] == 1 and imported["functions"]["SiLU"] > 5
    assert 0 < imported["difference"] < 1e-5 and imported["error"] is None and imported["builds"] == []
    assert "LayerNormalization" in refused["error"] and refused["difference"] is None
    page = (tmp_path / PAGE).read_text()
    assert "1 of 2 are imported, 0 are compiled" in page and "not run" in page


@pytest.mark.slow
def test_builds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    requests: list[Any] = []
    report = {"builds": [{"target": target, "verification": {"verified": True}} for target in ("arm64", "x86-64")]}
    monkeypatch.setattr(networks, "fresh_bundles", lambda request, *_: requests.append(request))
    monkeypatch.setattr(networks, "read_report", lambda folder: report)
    built, _ = run(tmp_path)["networks"]
    assert [request.model for request in requests] == ["timm:test_efficientnet"]
    assert [build["target"] for build in built["builds"]] == ["arm64", "x86-64"]
    assert "1 are compiled and verified" in (tmp_path / PAGE).read_text()

    def fails(*_: object) -> None:
        raise UsageError("layer 'x' cannot be computed in integers.")

    monkeypatch.setattr(networks, "fresh_bundles", fails)
    built, _ = run(tmp_path)["networks"]
    assert built["error"] == "layer 'x' cannot be computed in integers." and built["difference"] is not None


def test_the_list_has_every_network_that_must_work() -> None:
    assert len(NETWORKS) == len({*NETWORKS}) >= 31


@pytest.mark.skipif(not (ROOT / "docs" / FILE).exists(), reason="not written yet")
def test_the_committed_page_is_that_of_the_committed_json() -> None:
    value = json.loads((ROOT / "docs" / FILE).read_text())
    assert (ROOT / "docs" / PAGE).read_text() == render_networks(value)
