"""Other networks on an emulated core: what a later run replaces, and the page that is made from the JSON."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import network_counts
from benchmarks.network_counts import SECTION, count_peer, with_counts
from benchmarks.pages.network_counts import render_network_counts
from compile.bench.peers import PEERS
from repghost.errors import ToolMissingError
from tests.support import ROOT

OURS = {"variant": "dot", "total": 9_000_000, "modelled_cycles": {"cortex-a76": 4e6, "cortex-a55": 8e6}}


def other(name: str, total: int, **cycles: float) -> dict[str, Any]:
    modelled = {core.replace("_", "-"): value for core, value in cycles.items()}
    return {"name": name, "version": "1", "total": total, "cosine": 1.0, "modelled_cycles": modelled}


def test_a_runtime_replaces_what_it_said_before_and_nothing_else() -> None:
    first = {"others": [other("ncnn fp32", 30_000_000)], "absent": [{"name": "ncnn fp16", "reason": "it crashed"}]}
    networks = with_counts([], "resnet18", OURS, {})
    networks = with_counts(networks, "mobilenetv2_100", OURS, first)
    networks = with_counts(networks, "mobilenetv2_100", OURS, {"others": [other("mnn int8", 20_000_000)], "absent": []})
    again = {"others": [other("ncnn fp32", 29_000_000), other("ncnn fp16", 15_000_000)], "absent": []}
    networks = with_counts(networks, "mobilenetv2_100", OURS, again)
    assert [network["name"] for network in networks] == ["mobilenetv2_100", "resnet18"]
    assert {it["name"]: it["total"] for it in networks[0]["others"]} == {
        "mnn int8": 20_000_000,
        "ncnn fp32": 29_000_000,
        "ncnn fp16": 15_000_000,
    }
    assert networks[0]["absent"] == [] and networks[1]["others"] == []


def test_the_page_compares_with_the_fewest_of_each_kind() -> None:
    others = [other("ncnn fp16", 20_000_000, cortex_a76=8e6, cortex_a55=32e6), other("mnn int8", 18_000_000)]
    network = {
        "name": "mobilenetv2_100",
        "ours": OURS,
        "others": others,
        "absent": [{"name": "litert", "reason": "no"}],
    }
    alone = {"name": "resnet18", "ours": OURS, "others": [], "absent": []}
    page = render_network_counts({"cpu": "cortex-a76", "emulator": "qemu", "networks": [network, alone]})
    assert "| mobilenetv2_100 | 9.0 | 20.0 | 18.0 | 0.50 | 0.50 / 0.25 |" in page
    assert "| resnet18 | 9.0 | - | - | - | - / - |" in page and "- litert: no" in page


def test_a_runtime_that_cannot_be_counted_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> dict[str, Any]:
        raise ToolMissingError("no wheel")

    counting: Any = SimpleNamespace(store=None)
    monkeypatch.setattr(network_counts, "count_others", fail)
    bundle: Any = None
    found = count_peer(bundle, PEERS["mnn"], counting, None, print)
    assert found == {"others": [], "absent": [{"name": "mnn", "reason": "no wheel"}]}


def test_the_committed_page_is_made_from_the_committed_json() -> None:
    document = json.loads(Path(ROOT / "docs/performance.json").read_text())
    section = SECTION.text(document[SECTION.key])
    assert f"{SECTION.markers.begin}\n{section}\n{SECTION.markers.end}" in (ROOT / "docs/performance.md").read_text()
