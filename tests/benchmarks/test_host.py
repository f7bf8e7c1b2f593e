"""The host section of the performance page: each build against the right other one, and pages that keep the rest."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.first_inference import measure_first_inference
from benchmarks.host import HOST_SECTION, NETWORKS_SECTION
from benchmarks.pages.host import host_rows, render_host
from benchmarks.pages.summary import FIGURE, SUMMARY, render_summary, write_performance
from benchmarks.pool import POOL_SECTION
from benchmarks.shared import comparing
from benchmarks.shared.documents import write_section
from benchmarks.shared.goals import host_goal
from compile.bench.compare import Entry, Settings
from compile.bench.compare_page import fastest_other
from compile.bench.peers import Form, Peer
from compile.bench.peers.inputs import PeerInputs
from compile.bundle.manifest import check_bundle
from compile.storage.measurements import Measurements
from repghost.errors import RepGhostError, UsageError
from tests.support import ROOT


def result(name: str, precision: str, rounds: list[float], ours: bool = False) -> dict[str, Any]:
    median = float(np.median(rounds))
    times = {"min_ms": min(rounds), "median_ms": median, "p90_ms": max(rounds), "inferences": 9, "rounds_ms": rounds}
    agreement = {"pictures": 8, "with_ours": 8, "with_float": 7, "lowest_cosine": 0.99}
    labels = {"variant": "avx2" if ours else "", "version": "", "made_by": "a test", "runtime": name.split()[0]}
    return {"name": name, "precision": precision, "ours": ours, "agreement": agreement, **labels, **times}


def host_part() -> dict[str, Any]:
    results = [
        result("repghost int8 avx2", "int8", [1.0, 1.0, 2.0], ours=True),
        result("repghost fp32 avx2", "fp32", [2.0, 2.0, 4.0], ours=True),
        result("onnxruntime fp32", "fp32", [1.9, 1.9, 3.8]),
        result("openvino int8", "int8", [1.6, 1.6, 3.2]),
    ]
    run = {"threads": 1, "load_before": [0.5, 0, 0], "load_after": [0.7, 0, 0], "results": results}
    machine = {"core": "a core", "cores": 2, "flags": ["avx2", "fma"], "system": "Linux 6 x86_64", "clock": "unknown"}
    settings = {"rounds": 3, "inferences": 3, "warmup": 1}
    return {"networks": [{"width": 0.5, "machine": machine, "settings": settings, "runs": [run], "absent": []}]}


def test_a_build_is_compared_with_the_right_other_one() -> None:
    host = host_part()
    int8, fp32 = host_rows(host)
    assert (int8.other["name"], round(int8.ratio["median"], 3), int8.outcome.reached) == ("openvino int8", 0.625, True)
    assert (fp32.other["name"], fp32.outcome.reached) == ("onnxruntime fp32", False)
    assert fastest_other({"results": []}) is None


def test_a_plainer_instruction_set_is_not_judged_against_runtimes_that_use_a_better_one() -> None:
    host = host_part()
    results = host["networks"][0]["runs"][0]["results"]
    assert "plainer" not in render_host(host) and "avxvnni" not in render_host(host)
    best = {**result("repghost int8 vnni", "int8", [0.5, 0.5, 1.0], ours=True), "variant": "vnni"}
    results.insert(1, best)
    assert [(row.ours["variant"], row.outcome is None) for row in host_rows(host)][:2] == [
        ("avx2", True),
        ("vnni", False),
    ]
    assert "Those for plainer ones stand beside it." in render_host(host)
    results.append({**result("openvino int8 avx2", "int8", [2.0, 2.0, 4.0]), "variant": "avx2"})
    assert host_rows(host)[0].outcome is not None and host_rows(host)[0].other["variant"] == "avx2"
    page = render_host(host)
    assert "held to it by a switch of openvino" in page and "onnxruntime have no such switch" in page
    assert "Our avxvnni was not measured: this machine has no such instructions." in page
    assert "in each of 3 rounds every one" in page
    host["networks"][0]["settings"]["spread"] = 0.03
    assert "in each of 3 rounds (they end where the interval of our ratio to the fastest spans 3 % of it" in (
        render_host(host)
    )


def test_an_instruction_set_may_have_a_limit_of_its_own() -> None:
    goals = [host_goal("0.5x", "int8", variant) for variant in ("avxvnni", "vnni")]
    assert [goal and goal.limit for goal in goals] == [0.5, 0.65]
    assert host_goal("0.58x", "int8", "vnni") is None


def test_networks_are_converted_once_for_every_runtime(
    host_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted: list[str] = []

    def convert(peer: Peer, form: Form, inputs: PeerInputs, python: Path | None) -> Path:
        converted.append(f"{peer.name} {form.name} {inputs.folder.name}")
        if peer.name == "mnn":
            raise RepGhostError("it fails")
        return inputs.folder

    monkeypatch.setattr(comparing, "convert", convert)
    monkeypatch.setattr(comparing, "plainer_sets", lambda _: ("avx2",))
    monkeypatch.setattr(comparing, "limited_inputs", lambda inputs, _: replace(inputs, folder=inputs.folder / "avx2"))
    entries = [Entry(check_bundle(host_bundle))]
    folders = [
        comparing.prepare_peers(entries, Settings(), Measurements(tmp_path), print).inputs.folder for _ in range(2)
    ]
    assert folders[0] == folders[1] and (folders[0] / "inputs.npy").is_file()
    assert {"onnxruntime qdq peers", "openvino int8 avx2", "mnn int8 peers", "litert int8 peers"} <= set(converted)
    assert len(converted) == len(set(converted)) and "mnn int8 avx2" not in converted


@pytest.mark.slow
def test_the_first_answer_of_a_fresh_process_is_measured_and_shown(host_bundle: Path) -> None:
    found = measure_first_inference(check_bundle(host_bundle), processes=3)
    assert 0 < found["min_ms"] <= found["median_ms"] <= found["max_ms"] and found["processes"] == 3
    host = host_part()
    assert "first answer" not in render_host(host)
    host["networks"][0]["first_answer"] = {"int8": {"processes": 3, "min_ms": 1.0, "median_ms": 1.25, "max_ms": 2.0}}
    assert "first answer: int8 1.2 ms (median of 3 processes, at most 2.0)" in render_host(host)


def test_the_page_keeps_what_is_not_its_own(tmp_path: Path) -> None:
    write_section(tmp_path, HOST_SECTION, host_part())
    page, data = tmp_path / "performance.md", tmp_path / "performance.json"
    assert "**missed by 0.05**" in page.read_text() and "| reached |" in page.read_text()
    data.write_text(json.dumps({**json.loads(data.read_text()), "arm64": {"counts": [1]}}))
    page.write_text(page.read_text() + "\n## arm64\n\nby another command\n")
    write_section(tmp_path, HOST_SECTION, host_part())
    assert json.loads(data.read_text())["arm64"] == {"counts": [1]}
    assert page.read_text().endswith("## arm64\n\nby another command\n")
    assert page.read_text().count(HOST_SECTION.markers.begin) == 1
    page.write_text(f"# Performance\n\n{HOST_SECTION.markers.begin}\n")
    with pytest.raises(UsageError, match="lacks the line") as caught:
        write_section(tmp_path, HOST_SECTION, host_part())
    assert HOST_SECTION.markers.end in str(caught.value)


def test_others_that_were_limited_to_an_instruction_set_are_compared_with_ours_for_it() -> None:
    def row(name: str, variant: str, ms: float) -> dict[str, Any]:
        return {"name": name, "variant": variant, "ours": False, "precision": "int8", "rounds_ms": [ms]}

    run = {"results": [row("free", "", 1.0), row("limited", "avx2", 2.0)]}
    found = [fastest_other(run, variant=variant) for variant in ("avx2", "vnni", "")]
    assert [it and it["name"] for it in found] == ["limited", "free", "free"]


def test_a_network_without_a_goal_has_a_row_and_other_networks_have_a_section_of_their_own(tmp_path: Path) -> None:
    host = host_part()
    host["networks"].append({**host["networks"][0], "width": 0.58})
    assert [(row.network, row.outcome is None) for row in host_rows(host)][2:] == [("0.58x", True), ("0.58x", True)]
    assert "| 0.58x | 1 | int8 avx2 |" in render_host(host)
    other = {key: value for key, value in host["networks"][0].items() if key != "width"} | {"name": "resnet18"}
    write_section(tmp_path, HOST_SECTION, host)
    page = tmp_path / "performance.md"
    page.write_text(page.read_text() + "\n".join(["", NETWORKS_SECTION.markers.begin, NETWORKS_SECTION.markers.end]))
    write_section(tmp_path, NETWORKS_SECTION, {"networks": [other]})
    assert "| resnet18 | 1 | int8 avx2 | 1.000 | openvino int8 | 1.600 | 0.62 | 0.62 to 0.62 | 0.85 | reached |" in (
        page.read_text()
    )
    assert "| 0.58x | 1 |" in page.read_text()


def test_the_summary_stands_first_and_lacks_what_was_not_measured(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(SUMMARY.empty("Performance") + HOST_SECTION.markers.empty("Host"))
    write_performance(tmp_path, HOST_SECTION, host_part())
    assert "| 0.5x | 1.00 | 0.62 (openvino int8) | 2.00 | - | - | - | - |" in page.read_text()
    assert "| 2x | - | - | - | - | - | - | - |" in page.read_text()
    assert (tmp_path / FIGURE).read_text().count("our int8") == 1


def test_the_committed_page_is_made_from_the_committed_json() -> None:
    document = json.loads((ROOT / "docs/performance.json").read_text())
    page, markers = (ROOT / "docs/performance.md").read_text(), HOST_SECTION.markers
    assert f"{markers.begin}\n{HOST_SECTION.text(document['host'])}\n{markers.end}" in page
    pool = POOL_SECTION.markers
    assert f"{pool.begin}\n{POOL_SECTION.text(document['pool'])}\n{pool.end}" in page
    assert f"{SUMMARY.begin}\n{render_summary(document)}\n{SUMMARY.end}" in page
    assert "our int8" in (ROOT / "docs" / FIGURE).read_text()
    for marker in (NETWORKS_SECTION.markers.begin, NETWORKS_SECTION.markers.end):
        assert page.count(marker) == 1  # a place for what is not measured yet
